"""The Inception network of December 2015 whose features FID is defined by; weights only from a file given by path.

Szegedy et al., 2015 (arXiv:1512.00567), as TensorFlow's inception-2015-12-05 has it. It differs from the ImageNet
Inception of other libraries in its weights and in three details kept here: average pools do not count the padding, the
last block pools by maximum, and there are 1008 classes (the classifier is not read).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zero123.models.weights import WeightsError, build_component, read_checkpoint

Pool = Literal["average", "maximum"]


class Conv(NamedTuple):
    """One convolution of a block: its name in the files, channels out, kernel (height, width), stride.

    Strides of 1 keep the picture's size, strides of 2 take no padding.
    """

    name: str
    out: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = Sequence[Conv]
"""Convolutions one after another."""


class _Norm(nn.Module):
    """Batch normalisation with fixed statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=1e-3)


class _ConvNorm(nn.Module):
    """Convolution without bias, normalisation, rectifier."""

    def __init__(self, channels: int, conv: Conv, padded: bool = True) -> None:
        super().__init__()
        high, wide = conv.kernel if padded and conv.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, conv.out, conv.kernel, conv.stride, (high // 2, wide // 2), bias=False)
        self.bn = _Norm(conv.out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


class _Block(nn.Module):
    """Branches side by side, the last of them a pool; a branch may end in a fork of two convolutions.

    Args:
        width: channels in.
        branches: the convolutions; those of a fork, whose names end in "a" and "b", both take what comes before them.
        pooled: channels of the convolution after the pool; 0 for a pool of stride 2 without one.
        pool: which one.
    """

    def __init__(self, width: int, branches: Sequence[Branch], pooled: int, pool: Pool) -> None:
        super().__init__()
        self.branches = [[conv.name for conv in branch] for branch in branches]
        self.pooled, self.pool = pooled, pool
        for branch in branches:
            channels = width
            for conv in branch:
                self.add_module(conv.name, _ConvNorm(channels, conv))
                channels = channels if conv.name.endswith("a") else conv.out
        if pooled:
            self.branch_pool = _ConvNorm(width, Conv("branch_pool", pooled))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, all channels out, H', W')."""
        found = [part for names in self.branches for part in self._walk(names, x)]
        if not self.pooled:
            return torch.cat((*found, F.max_pool2d(x, 3, 2)), dim=1)
        around = F.max_pool2d(x, 3, 1, 1) if self.pool == "maximum" else _average(x)
        return torch.cat((*found, self.branch_pool(around)), dim=1)

    def _walk(self, names: Sequence[str], x: Tensor) -> list[Tensor]:
        fork = names[-1].endswith("b")
        for name in names[:-2] if fork else names:
            x = self.get_submodule(name)(x)
        return [self.get_submodule(name)(x) for name in names[-2:]] if fork else [x]


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _doubled(few: int, many: int, stride: int = 1) -> Branch:
    names = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    return [Conv(names[0], few), Conv(names[1], many, (3, 3)), Conv(names[2], many, (3, 3), stride)]


def _block_a(width: int, pooled: int) -> _Block:
    five = [Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))]
    return _Block(width, ([Conv("branch1x1", 64)], five, _doubled(64, 96)), pooled, "average")


def _block_b(width: int) -> _Block:
    return _Block(width, ([Conv("branch3x3", 384, (3, 3), 2)], _doubled(64, 96, 2)), 0, "maximum")


def _block_c(width: int, inner: int) -> _Block:
    """Convolutions of 1x7 and 7x1 in turn."""
    across, down = (1, 7), (7, 1)
    seven = [Conv("branch7x7_1", inner), Conv("branch7x7_2", inner, across), Conv("branch7x7_3", 192, down)]
    double = [Conv("branch7x7dbl_1", inner), Conv("branch7x7dbl_2", inner, down)]
    double += [Conv("branch7x7dbl_3", inner, across), Conv("branch7x7dbl_4", inner, down)]
    double += [Conv("branch7x7dbl_5", 192, across)]
    return _Block(width, ([Conv("branch1x1", 192)], seven, double), 192, "average")


def _block_d(width: int) -> _Block:
    three = [Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2)]
    seven = [Conv("branch7x7x3_1", 192), Conv("branch7x7x3_2", 192, (1, 7)), Conv("branch7x7x3_3", 192, (7, 1))]
    return _Block(width, (three, [*seven, Conv("branch7x7x3_4", 192, (3, 3), 2)]), 0, "maximum")


def _block_e(width: int, pool: Pool) -> _Block:
    three = [Conv("branch3x3_1", 384), Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))]
    double = [Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, (3, 3))]
    double += [Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))]
    return _Block(width, ([Conv("branch1x1", 320)], three, double), 192, pool)


class Inception(nn.Module):
    """Pictures to 2048 features; without weights, random ones."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _ConvNorm(3, Conv("", 32, (3, 3), 2))
        self.Conv2d_2a_3x3 = _ConvNorm(32, Conv("", 32, (3, 3)), padded=False)
        self.Conv2d_2b_3x3 = _ConvNorm(32, Conv("", 64, (3, 3)))
        self.Conv2d_3b_1x1 = _ConvNorm(64, Conv("", 80))
        self.Conv2d_4a_3x3 = _ConvNorm(80, Conv("", 192, (3, 3)), padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_a(192, 32), _block_a(256, 64), _block_a(288, 64)
        self.Mixed_6a, self.Mixed_6b = _block_b(288), _block_c(768, 128)
        self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = _block_c(768, 160), _block_c(768, 160), _block_c(768, 192)
        self.Mixed_7a, self.Mixed_7b = _block_d(768), _block_e(1280, "average")
        self.Mixed_7c = _block_e(2048, "maximum")

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of pictures (B, 3, 299, 299) in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))

    @classmethod
    def load(cls, file: str | Path, device: torch.device | str = "cpu") -> Inception:
        """With weights from a file (pt_inception-2015-12-05 of pytorch-fid); nothing in it is executed.

        Raises:
            WeightsError: the file is missing, damaged, or holds another network.
        """
        tensors = read_checkpoint(file)
        classes = tensors["fc.weight"].shape[0] if "fc.weight" in tensors else None
        if classes != 1008:
            found = "no fc.weight" if classes is None else f"one of {classes} classes"
            raise WeightsError(f"{file}: FID needs pt_inception-2015-12-05, of 1008 classes, got {found}")
        unused = ("fc.weight", "fc.bias")
        used = {k: t for k, t in tensors.items() if k not in unused and not k.endswith("num_batches_tracked")}
        return cast(Inception, build_component(cls, {}, used, "Inception", device=device))
