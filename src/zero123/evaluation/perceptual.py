"""LPIPS, the perceptual distance, in its three networks; weights only from files given by path, never fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from zero123.models.weights import WeightsError, build_component, read_checkpoint

Net = Literal["alex", "vgg", "squeeze"]

BACKBONES: dict[Net, str] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
"""What torchvision calls each network; its weight files begin so."""

TAPS: dict[Net, dict[int, int]] = {
    "alex": {1: 64, 4: 192, 7: 384, 9: 256, 11: 256},
    "vgg": {3: 64, 8: 128, 15: 256, 22: 512, 29: 512},
    "squeeze": {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512},
}
"""After which layers features are compared, and how many channels they have there."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_ENDINGS = (".safetensors", ".pth", ".pt")


class Fire(nn.Module):
    """SqueezeNet's block: few channels by 1x1, then many by 1x1 beside 3x3 (Iandola et al., 2016, arXiv:1602.07360)."""

    def __init__(self, width: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, few, 1)
        self.expand1x1 = nn.Conv2d(few, many, 1)
        self.expand3x3 = nn.Conv2d(few, many, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, 2 * many, H, W)."""
        x = self.squeeze(x).relu()
        return torch.cat((self.expand1x1(x).relu(), self.expand3x3(x).relu()), dim=1)


def _alex() -> list[nn.Module]:
    """AlexNet in its one-column form (Krizhevsky, 2014, arXiv:1404.5997)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for width, out in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
    return layers


def _vgg() -> list[nn.Module]:
    """VGG-16 up to the last convolution (Simonyan and Zisserman, 2014, arXiv:1409.1556)."""
    layers: list[nn.Module] = []
    width = 3
    for out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
            width = out
    return layers


def _squeeze() -> list[nn.Module]:
    """SqueezeNet 1.1."""
    pools = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pools[0], Fire(64, 16, 64), Fire(128, 16, 64)]
    layers += [pools[1], Fire(128, 32, 128), Fire(256, 32, 128), pools[2], Fire(256, 48, 192), Fire(384, 48, 192)]
    return [*layers, Fire(384, 64, 256), Fire(512, 64, 256)]


_LAYERS: dict[Net, Callable[[], list[nn.Module]]] = {"alex": _alex, "vgg": _vgg, "squeeze": _squeeze}


class Lpips(nn.Module):
    """Learned perceptual distance, version 0.1 (Zhang et al., 2018, arXiv:1801.03924); without weights, random ones.

    Equation 1 there: features of both pictures after chosen layers, scaled to length 1 at each place; squared
    differences, weighted by channel, averaged over places, summed over layers.

    Args:
        net: "alex" (EscherNet, Stable Virtual Camera), "vgg" (SyncDreamer) or "squeeze" (Free3D);
            figures of different networks must never stand in one column.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        if net not in _LAYERS:
            raise ValueError(f"net must be one of {', '.join(_LAYERS)}, got {net!r}")
        self.taps = TAPS[net]
        self.features = nn.Sequential(*_LAYERS[net]())
        self.linear = nn.ParameterList([nn.Parameter(torch.rand(1, c, 1, 1)) for c in self.taps.values()])

    @classmethod
    def load(cls, net: Net, backbone: str | Path, linear: str | Path, device: torch.device | str = "cpu") -> Lpips:
        """The metric with weights from files; nothing in them is executed.

        Args:
            net: which network.
            backbone: torchvision's ImageNet weights of the network (`features.*`; the classifier is not read).
            linear: the channel weights of version 0.1 (`lin0.model.1.weight` and on), as the `lpips` package has them.
            device: where it shall run.

        Raises:
            WeightsError: a file is missing, damaged, a bare pickle, or of another network.
        """
        state = {k: t for k, t in read_checkpoint(backbone).items() if k.startswith("features.")}
        if not state:
            raise WeightsError(f"{backbone}: holds no tensors features.*; expected torchvision's {BACKBONES[net]}")
        old = {f"linear.{k}": f"lin{k}.model.1.weight" for k in range(len(TAPS[net]))}
        stored = read_checkpoint(linear)
        state |= {key: stored[name] for key, name in old.items() if name in stored}
        if len(stored) != len(old):
            raise WeightsError(
                f"{linear}: must hold {len(old)} tensors lin*.model.1.weight, holds {len(stored)} tensors"
            )
        built = build_component(
            cls, {"net": net}, state, f"LPIPS {net}", device=device, named=lambda key: old.get(key, key)
        )
        return cast(Lpips, built)

    @torch.no_grad()
    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """Distances, (B,), of pictures (B, 3, H, W) in [0, 1], 32 pixels or more; 0 for equal ones, lower is better.

        They are scored at the size they come in: figures at 256² and 128² are not comparable.
        """
        distance = image.new_zeros(len(image))
        for weight, a, b in zip(self.linear, self._unit_features(image), self._unit_features(truth), strict=True):
            distance = distance + ((a - b).square() * weight).sum(1).flatten(1).mean(1)
        return distance

    def _unit_features(self, image: Tensor) -> list[Tensor]:
        shift, scale = (image.new_tensor(v)[:, None, None] for v in (_SHIFT, _SCALE))
        x, found = (image * 2 - 1 - shift) / scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return found


def lpips_in(folder: str | Path, device: torch.device | str = "cpu") -> dict[str, Lpips]:
    """Every LPIPS whose two files are in a folder, as "lpips_alex", "lpips_vgg", "lpips_squeeze".

    The backbone's file begins as torchvision's does (`alexnet-owt-7be5be79.pth`, `vgg16.safetensors`, ...), the channel
    weights' is named as the `lpips` package has it (`alex.pth`, `vgg.safetensors`, ...).

    Raises:
        WeightsError: there is none, with the names of the files that are missing; or one that is there is damaged.
    """
    folder = Path(folder)
    found = {net: (_file(folder, BACKBONES[net]), _file(folder, net, exact=True)) for net in get_args(Net)}
    ready = {n: (b, w) for n, (b, w) in found.items() if b is not None and w is not None}
    if not ready:
        raise WeightsError(f"{folder}: {missing_files(folder)}")
    return {f"lpips_{net}": Lpips.load(net, *files, device=device) for net, files in ready.items()}


def missing_files(folder: str | Path) -> str:
    """One line that says which files LPIPS lacks in a folder; empty where all three networks are complete."""
    folder, lines = Path(folder), []
    for net, backbone in BACKBONES.items():
        wanted = {f"{backbone}*.safetensors or .pth": _file(folder, backbone)}
        wanted[f"{net}.safetensors or .pth"] = _file(folder, net, exact=True)
        if lacking := [name for name, file in wanted.items() if file is None]:
            lines.append(f"LPIPS {net} needs {' and '.join(lacking)}")
    hint = " (torchvision's ImageNet weights, and the lpips package's v0.1 channel weights)"
    return "; ".join(lines) + hint if lines else ""


def _file(folder: Path, stem: str, exact: bool = False) -> Path | None:
    """The first weight file of a name, safetensors before others."""
    files = [f for f in sorted(folder.glob(f"{stem}{'' if exact else '*'}.*")) if f.suffix in _ENDINGS]
    return min(files, key=lambda f: _ENDINGS.index(f.suffix)) if files else None
