"""What is made of every picture of a batch, and with which model; what of both must stay when a batch goes on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import RelativePose, relative_moves
from zero123.images.matting import Method
from zero123.machine import default_device, fast_dtype, usable_device
from zero123.models.stored_model import find_model, read_model
from zero123.pipeline import NovelViews
from zero123.reconstruction.from_photo import PhotoSettings
from zero123.reconstruction.unseen import UnseenSettings

DTYPES = ("float32", "bfloat16", "float16")

_OVERHEAD = 2_000_000_000
"""Bytes of a process beyond its weights: `mini` with a mesh took 0.9 GB, views of the released layout take 1 more."""


@dataclass(frozen=True)
class BatchSettings:
    """What is made of every picture.

    Attributes:
        azimuth_deg, elevation_deg, radius: camera moves from the picture's camera; a list of one goes with all of the
            others. Without azimuths there are no views, only meshes.
        fps: pictures per second of a video of the views; None for no video.
        faces: triangles of a mesh, at most about this many; None for no mesh.
        texture, even_light: of a mesh, see `ReconstructionSettings`.
        rounds: how often a mesh's views are drawn, see `PhotoSettings`, as for `seconds`.
        refine: steps by the model's score where no view saw the object, see `UnseenSettings`.
        seconds: all that a mesh may take; None for as long as it needs.
        sampling: how views are drawn; every picture from the same seed.
        background: how the object is found, see `images.matting.foreground`.
        photo_elevation_deg: height from which all pictures were taken; None lets the model estimate each.
    """

    azimuth_deg: tuple[float, ...] = (0.0, 60.0, 120.0, 180.0, 240.0, 300.0)
    elevation_deg: tuple[float, ...] = (0.0,)
    radius: tuple[float, ...] = (0.0,)
    fps: float | None = None
    faces: int | None = None
    texture: int | None = None
    even_light: float = 0.0
    rounds: int = 1
    refine: int = 0
    seconds: float | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    background: Method = "auto"
    photo_elevation_deg: float | None = None

    def __post_init__(self) -> None:
        if not self.azimuth_deg and self.faces is None:
            raise ValueError("neither views nor meshes are asked for")
        if self.azimuth_deg:
            self.moves()
        if self.fps is not None and self.sampling.samples > 1:
            raise ValueError(f"a video takes one picture of each view, got samples {self.sampling.samples}")
        self.mesh()

    def mesh(self) -> PhotoSettings:
        """How a mesh is made of a picture.

        Raises:
            ValueError: fewer rounds than one, fewer steps than none, or a photo from beyond a pole.
        """
        own = PhotoSettings(
            elevation_deg=self.photo_elevation_deg,
            seconds=self.seconds,
            rounds=self.rounds,
            unseen=UnseenSettings(self.refine, seed=self.sampling.seed),
            sampling=replace(self.sampling, samples=1),
        )
        shape = replace(own.reconstruction, texture=self.texture, even_light=self.even_light)
        return replace(own, reconstruction=shape if self.faces is None else replace(shape, faces=self.faces))

    def moves(self) -> RelativePose:
        """The camera moves, (V,).

        Raises:
            ValueError: out of range, or lists whose lengths do not go together.
        """
        return relative_moves(self.azimuth_deg, self.elevation_deg, self.radius)


@dataclass(frozen=True)
class ModelChoice:
    """Which model a batch runs, and how it uses a machine.

    Attributes:
        name: see `NovelViews.from_pretrained`, as are the others.
        dtype: one of `DTYPES`; None until `settled`.
        device: None until `settled`.
    """

    name: str = "mini"
    lora: Path | None = None
    int8: bool = False
    dtype: str | None = None
    device: str | None = None
    max_memory: float | None = None
    offload: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")

    def settled(self, cluster_gpus: int | None) -> ModelChoice:
        """The same with device and number format decided once for all workers, so that all make the same pictures.

        Args:
            cluster_gpus: GPUs of the cluster; None for this machine. On a cluster, whose processors this machine does
                not know, the format is one that all of a kind have: float16 on GPUs, float32 on others.

        Raises:
            ValueError: there is no such device.
        """
        if cluster_gpus is not None:
            device = self.device or ("cuda" if cluster_gpus else "cpu")
            usual = "float16" if torch.device(device).type == "cuda" else "float32"
        else:
            usable = _device(self.device)
            device, usual = str(usable), str(fast_dtype(usable)).removeprefix("torch.")
        path = find_model(self.name)
        name = str(path.resolve()) if Path(self.name).exists() else self.name
        lora = None if self.lora is None else self.lora.resolve()
        return replace(self, name=name, lora=lora, device=device, dtype=self.dtype or usual)

    def load(self) -> NovelViews:
        """The model, ready; see `NovelViews.from_pretrained` for what can be wrong."""
        return NovelViews.from_pretrained(
            self.name,
            self.device,
            None if self.dtype is None else getattr(torch, self.dtype),
            int8=self.int8,
            max_memory=self.max_memory,
            offload=self.offload,
            compiled=self.compiled,
            lora=self.lora,
        )

    def memory(self) -> int:
        """Bytes of the machine's memory that a process takes, about: its weights, and what it works with."""
        if self.max_memory is not None and self.device == "cpu":
            return int(self.max_memory * 1e9)
        size = 1 if self.int8 else torch.empty(0, dtype=getattr(torch, self.dtype or "float32")).itemsize
        networks = read_model(find_model(self.name)).networks.values()
        return _OVERHEAD + sum(t.shape.numel() * size for _, part in networks for t in part.tensors.values())

    def identity(self) -> dict[str, Any]:
        """What of the model shows in its pictures, as JSON values; the weights by their content.

        Raises:
            WeightsError: there is no such model here.
            OSError: a file cannot be read.
        """
        return {
            "name": Path(self.name).name,
            "weights": digest(find_model(self.name)),
            "lora": None if self.lora is None else digest(self.lora),
            "int8": self.int8,
            "dtype": self.dtype,
        }


def as_json(settings: BatchSettings, model: dict[str, Any]) -> dict[str, Any]:
    """All that decides the results, under the names of the options; batches with the same may go on with each other."""
    values = asdict(settings)
    return {"model": model, **values.pop("sampling"), **values}


def _device(name: str | None) -> torch.device:
    """The device of that name; a GPU is only looked for, since to try it takes memory from the workers."""
    device = torch.device(name or default_device()) if torch.cuda.is_available() else None
    return device if device is not None and device.type == "cuda" else usable_device(name)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder and their names."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        one = hashlib.sha256()
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                one.update(block)
        if not path.is_dir():
            return one.hexdigest()
        whole.update(f"{file.relative_to(path).as_posix()}\0{one.hexdigest()}\n".encode())
    return whole.hexdigest()
