"""`NovelViews`: one picture and the camera moves wanted, to pictures of the views."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from zero123.diffusion.guidance import Guided, Pair
from zero123.diffusion.samplers import ancestral, dpmpp_2m, euler, exploding, noise_like, preserving
from zero123.diffusion.schedule import Spacing
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.framing import Framing, frame
from zero123.images.matting import Matte, Method, foreground
from zero123.models.view_model import Condition, ViewModel

Solver = Literal["dpmpp_2m", "euler", "ancestral"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SamplingSettings:
    """How views are drawn.

    Attributes:
        steps: network evaluations per view; None for what suits the model.
        scale: guidance, 1 is off; None for what suits the model.
        seed: same seed, same pictures, whatever the batch; a whole number, 0 or more.
        solver: "dpmpp_2m" (second order), "euler" (DDIM, eta 0) or "ancestral" (DDIM, eta 1).
        spacing: how the noise levels are spread, see `NoiseSchedule.sampling_sigmas`; None for what suits the model.
        same_noise: all views are drawn from `seed`, which makes neighbours agree better; else view v from seed + v.
        batch: views per network call.
    """

    steps: int | None = None
    scale: float | None = None
    seed: int = 0
    solver: Solver = "dpmpp_2m"
    spacing: Spacing | None = None
    same_noise: bool = True
    batch: int = 8

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be in 1 to 1000, got {self.steps}")
        if self.scale is not None and not 0 <= self.scale <= 100:
            raise ValueError(f"scale must be in 0 to 100, got {self.scale}")
        if self.solver not in get_args(Solver):
            raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, got {self.solver!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0 to 2^63 - 1, got {self.seed}")
        if self.spacing is not None and self.spacing not in get_args(Spacing):
            raise ValueError(f"spacing must be one of {', '.join(get_args(Spacing))}, got {self.spacing!r}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")


@dataclass(frozen=True)
class Photo:
    """A picture made ready.

    Attributes:
        rgba: the object alone, framed as the model knows objects, (4, S, S), straight alpha.
        matte: how the object was told from the background.
        mask: the object's alpha in the picture as it came, (1, H, W).
    """

    rgba: Tensor
    matte: Matte
    mask: Tensor

    @property
    def on_white(self) -> Tensor:
        """The framed object on white, (3, S, S)."""
        return composite(self.rgba[None], torch.ones(3))[0]


class NovelViews:
    """From one picture of an object to its other views.

    >>> views = NovelViews.from_pretrained("mini")
    >>> photo = views.prepare("chair.png")
    >>> pictures = views(photo, RelativePose.from_degrees([30, 60], [0, 20]))
    """

    def __init__(self, model: ViewModel) -> None:
        self.model = model

    @classmethod
    def from_pretrained(
        cls, name: str | Path = "mini", device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> NovelViews:
        """A shipped model by name, a model folder, or a checkpoint file with the original's keys; never downloads.

        Args:
            name: "mini", or a path.
            device: None takes a GPU where there is one.
            dtype: None takes float32 on a CPU, float16 elsewhere.

        Raises:
            WeightsError: no such model, or something in it is missing, damaged or does not fit.
            ValueError: no such device.
        """
        from zero123.models.pretrained import load_model

        device = usable_device(device)
        dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
        return cls(load_model(name, dtype).to(device))

    @property
    def framing(self) -> Framing:
        """The framing the model was trained on."""
        settings = self.model.settings
        return Framing(settings.image_size, settings.foreground_fraction, settings.enlarge)

    def prepare(self, picture: str | os.PathLike[str] | Tensor, method: Method = "auto") -> Photo:
        """Cut the object out and frame it.

        Args:
            picture: a file, or a tensor (3, H, W) or (4, H, W) in [0, 1].
            method: how to find the object; see `images.matting.foreground`.

        Raises:
            PictureError: the file cannot be read, or shows no object.
        """
        image = picture if isinstance(picture, Tensor) else io.load(picture)
        rgba, matte = foreground(image, method)
        return Photo(frame(rgba, self.framing), matte, rgba[3:])

    def source(self, photo: Photo) -> OrbitPose:
        """Where the model believes the photo was taken from, (1,)."""
        with torch.no_grad():
            tokens, _ = self.model.look(self._pixels(photo))
            return self.model.estimate_source(tokens)

    @torch.no_grad()
    def __call__(
        self,
        photo: Photo,
        relative: RelativePose,
        settings: SamplingSettings | None = None,
        source: OrbitPose | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Views of the object.

        Args:
            photo: from `prepare`.
            relative: camera moves from the photo's camera, (V,).
            settings: steps, guidance, seed; None for what suits the model.
            source: pose of the photo's camera, (1,), where it is known; models that do not use it ignore it.
            progress: told network evaluations done, and in all.

        Returns:
            Pictures on white, (V, 3, S, S), in [0, 1], float32, on the CPU.

        Raises:
            ValueError: `relative` is not (V,) with V over 0, or `source` not (1,) or (V,).
        """
        settings = settings or SamplingSettings()
        model = self.model
        if len(relative.shape) != 1 or not len(relative):
            raise ValueError(f"relative must be (V,) with V over 0, got shape {tuple(relative.shape)}")
        if source is not None:
            source = _for_each(source, len(relative))
        tokens, latent = model.look(self._pixels(photo))
        source = model.estimate_source(tokens) if source is None else source
        sigmas = model.schedule.sampling_sigmas(
            settings.steps or model.settings.steps, settings.spacing or model.settings.spacing
        )
        steps, chunks = len(sigmas) - 1, range(0, len(relative), settings.batch)
        total = steps * len(chunks)
        pictures = []
        for index, start in enumerate(chunks):
            part = slice(start, start + settings.batch)
            condition = model.join(tokens, latent, relative[part], source[part] if len(source) > 1 else source)
            report = None if progress is None else _reporter(progress, index * steps, total)
            latents = self._sample(condition, sigmas, settings, start, report)
            pictures.append(model.autoencoder.decode(latents.to(model.dtype)).float().clamp(0, 1).cpu())
        return torch.cat(pictures)

    def _sample(
        self,
        condition: Condition,
        sigmas: Tensor,
        settings: SamplingSettings,
        first: int,
        report: Callable[[int, Tensor], None] | None,
    ) -> Tensor:
        """Latents of the views number `first` and on, (B, C, h, w)."""
        model = self.model
        seeds = [settings.seed + (0 if settings.same_noise else first + v) for v in range(len(condition))]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (len(condition), *model.latent_shape)
        x = exploding(noise_like(torch.zeros(shape, device=model.device), generators), sigmas[0])
        scale = model.settings.scale if settings.scale is None else settings.scale
        denoiser = Guided(model, scale)
        pair = Pair(condition, condition.without_image())
        if settings.solver == "ancestral":
            x = ancestral(denoiser, x, sigmas, pair, noise=generators, callback=report)
        else:
            solver = {"dpmpp_2m": dpmpp_2m, "euler": euler}[settings.solver]
            x = solver(denoiser, x, sigmas, pair, callback=report)
        return preserving(x, sigmas[-1])

    def _pixels(self, photo: Photo) -> Tensor:
        return photo.on_white[None].to(self.model.device, self.model.dtype)


def _reporter(progress: Progress, before: int, total: int) -> Callable[[int, Tensor], None]:
    """A sampler's callback that reports evaluations of all chunks."""
    return lambda index, _: progress(before + index + 1, total)


def _for_each(source: OrbitPose, count: int) -> OrbitPose:
    """The photo's pose as (1,) or (count,)."""
    if source.shape == ():
        return OrbitPose(source.azimuth[None], source.elevation[None], source.radius[None])
    if len(source.shape) != 1 or len(source) not in (1, count):
        raise ValueError(f"source must be (1,) or ({count},), got shape {tuple(source.shape)}")
    return source


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, proven to work; None takes the fastest.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        device = torch.device(name or default_device())
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {str(name)!r} cannot be used on this machine; try cpu") from error
    return device


def default_device() -> str:
    """The fastest device of this machine: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def relative_moves(
    azimuth_deg: Sequence[float], elevation_deg: Sequence[float], radius: Sequence[float]
) -> RelativePose:
    """Moves from lists of degrees and world units; a list of one goes with all of the others.

    Raises:
        ValueError: a number that is not finite or out of range, or lists whose lengths do not go together.
    """
    lists = {"azimuth_deg": azimuth_deg, "elevation_deg": elevation_deg, "radius": radius}
    limits = {"azimuth_deg": 360.0, "elevation_deg": 180.0, "radius": 1.0}
    for name, values in lists.items():
        for value in values:
            if not abs(value) <= limits[name]:
                raise ValueError(f"{name} must be a number from {-limits[name]:g} to {limits[name]:g}, got {value}")
    count = max(len(v) for v in lists.values())
    if not count or any(len(v) not in (1, count) for v in lists.values()):
        lengths = ", ".join(f"{len(v)} {name}" for name, v in lists.items())
        raise ValueError(f"give one value for all views or one for each, got {lengths}")
    columns = [torch.tensor(list(v) * (count if len(v) == 1 else 1), dtype=torch.float32) for v in lists.values()]
    return RelativePose(torch.deg2rad(columns[0]), torch.deg2rad(columns[1]), columns[2])
