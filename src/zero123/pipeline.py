"""`NovelViews`: one picture and the camera moves wanted, to pictures of the views."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zero123.diffusion.guidance import Pair
from zero123.diffusion.sampling import Begin, SamplingSettings, draw
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images import io
from zero123.images.alpha import composite
from zero123.images.framing import Framing, frame
from zero123.images.matting import Matte, Method, foreground
from zero123.images.spread import Samples
from zero123.machine import fast_dtype, free_memory, make_sure_it_compiles, usable_device
from zero123.models.condition import Look
from zero123.models.feature_volume import Projected, outlined
from zero123.models.int8 import place_int8
from zero123.models.joint_attention import joined_views
from zero123.models.running import Batches, batches, decoding_in_tiles, suit, weights_bytes
from zero123.models.view_model import ViewModel
from zero123.models.weights import place_tensor

Progress = Callable[[int, int], None]


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

    def __init__(
        self,
        model: ViewModel,
        *,
        device: torch.device | None = None,
        max_memory: float | None = None,
        offload: bool = False,
    ) -> None:
        """Around a model in evaluation mode.

        Args:
            model: where it shall run or, with `offload`, in the machine's own memory.
            device: where it runs; None for where it is.
            max_memory: gigabytes for everything, weights included; decides how many views go into one call.
            offload: networks are on the device only while they work, one stage at a time; for small GPUs.

        Raises:
            ValueError: `max_memory` is too little for one view.
        """
        self.model = model
        self.device = device or model.device
        self.offload = offload
        self.limit = None if max_memory is None else int(max_memory * 1e9)
        if offload:  # all but the three large networks
            for part in (model.pose_conditioning, model.place_reader, model.feature_volume, model.draft):
                if part is not None:
                    part.to(self.device)
        self._batches(guided=True)  # a limit too low is refused before any work

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "mini",
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        int8: bool = False,
        max_memory: float | None = None,
        offload: bool = False,
        compiled: bool = False,
        lora: str | Path | None = None,
    ) -> NovelViews:
        """A shipped or downloaded model by name, a model folder, or a checkpoint file; never downloads.

        Args:
            name: "mini", a name of `zero123 weights list`, or a path.
            device: None takes a GPU where there is one.
            dtype: None takes what the device is fast in, see `machine.fast_dtype`.
            int8: keep weights in 8 bits, see `models.int8`; `dtype` is then what is computed in.
            max_memory: see `NovelViews`.
            offload: see `NovelViews`.
            compiled: compile the UNet at its first call, which takes minutes and pays on long jobs; with CUDA graphs on
                GPUs. Needs a C++ compiler, or Triton.
            lora: file of low-rank updates to add to the weights, see `models.lora`; not with `int8`.

        Raises:
            WeightsError: no such model, or something in it is missing, damaged or does not fit.
            ValueError: no such device, no compiler, or `max_memory` is too little.
        """
        from zero123.models.pretrained import load_model

        device = usable_device(device)
        if compiled:
            make_sure_it_compiles(device)
        home = torch.device("cpu") if offload else device
        place = place_int8 if int8 else place_tensor
        model = suit(load_model(name, dtype or fast_dtype(device), home, place=place, lora=lora), home)
        if compiled:  # CUDA graphs need weights that stay where they are
            model.unet.compile(mode="reduce-overhead" if device.type == "cuda" and not offload else None)
        return cls(model, device=device, max_memory=max_memory, offload=offload)

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
        with torch.no_grad(), self._at_work(self.model.image_encoder, self.model.autoencoder):
            return self.model.look(self._pixels(photo)).source

    @torch.no_grad()
    def places(self, pictures: Tensor) -> OrbitPose:
        """Where the model believes framed pictures on white, (P, 3, S, S), were taken from, (P,)."""
        return self.model.place(pictures.to(self.device, self.model.dtype))

    @torch.no_grad()
    def __call__(
        self,
        photo: Photo,
        relative: RelativePose,
        settings: SamplingSettings | None = None,
        source: OrbitPose | None = None,
        progress: Progress | None = None,
        begin: Begin | None = None,
    ) -> Tensor:
        """Views of the object.

        Args:
            photo: from `prepare`.
            relative: camera moves from the photo's camera, (V,).
            settings: steps, guidance, seed; None for what suits the model.
            source: pose of the photo's camera, (1,), where it is known; models that do not use it ignore it.
            progress: told network evaluations done, and in all.
            begin: pictures of the views to begin from; None for noise alone.

        Returns:
            Pictures on white, (V * samples, 3, S, S), in [0, 1], float32, on the CPU.

        Raises:
            ValueError: `relative` is not (V,) with V over 0, or `source` not (1,).
        """
        settings, model = settings or SamplingSettings(), self.model
        if len(relative.shape) != 1 or not len(relative):
            raise ValueError(f"relative must be (V,) with V over 0, got shape {tuple(relative.shape)}")
        source = None if source is None else _one(source)
        with self._at_work(model.image_encoder, model.autoencoder):
            look = model.look(self._pixels(photo), source)
        return self._pictures(*self._latents(look, relative, settings, progress, begin))

    def samples(
        self, photo: Photo, relative: RelativePose, settings: SamplingSettings, source: OrbitPose | None = None
    ) -> Samples:
        """`settings.samples` pictures of each view with their mean and their spread, high where the model guesses."""
        return Samples.of(self(photo, relative, settings, source), settings.samples)

    def _latents(
        self,
        look: Look,
        relative: RelativePose,
        settings: SamplingSettings,
        progress: Progress | None,
        begin: Begin | None,
    ) -> tuple[Tensor, list[Projected]]:
        """Latents of the views, (V, C, h, w), drawn in batches that fit; and what those see of the photo's volume."""
        model, own = self.model, self.model.settings
        scale = own.scale if settings.scale is None else settings.scale
        walk = settings.steps or own.steps, settings.spacing or own.spacing
        sigmas = model.schedule.sampling_sigmas(*walk) if begin is None else begin.sigmas(model.schedule, *walk)
        joint = own.joint and settings.samples == 1 if settings.joint is None else settings.joint
        seeds = settings.seeds(len(relative))
        each = torch.arange(len(relative)).repeat_interleave(settings.samples)
        relative = relative[each]
        known = None if begin is None else self._encoded(begin.pictures[each])
        batch = min(settings.batch or self._batches(scale != 1).views, len(seeds))
        starts = range(0, len(seeds), batch)
        total = (len(sigmas) - 1) * len(starts)
        drawn, projected = [], []
        with self._at_work(model.unet):
            for index, first in enumerate(starts):
                part = slice(first, first + batch)
                condition, seen = model.join_projected(look, relative[part])
                projected += [] if seen is None else [seen]
                pair = Pair(condition, condition.without_image())
                start = torch.zeros(len(condition), *model.latent_shape, device=self.device)
                report = None if progress is None else _reporter(progress, index * (len(sigmas) - 1), total)
                with joined_views(model, len(condition) if joint else 1):
                    begun = None if known is None else known[part]
                    drawn.append(draw(model, pair, sigmas, start, seeds[part], settings, scale, report, begun))
        return torch.cat(drawn), projected

    def _pictures(self, latents: Tensor, projected: list[Projected]) -> Tensor:
        """Views (V, 3, S, S) in [0, 1], float32, on the CPU; what latents cannot hold is the drafts'."""
        model, drafts = self.model, [seen.draft for seen in projected if seen.draft is not None]
        with self._at_work(model.autoencoder):
            images = self._decoded(latents)
            if drafts:
                held = model.autoencoder.encode(torch.cat(drafts).to(model.dtype))
                images = images + torch.cat(drafts).cpu() - self._decoded(held)
        if model.settings.outline:
            opacity = torch.cat([seen.opacity for seen in projected]).cpu()
            images = outlined(images, opacity, model.settings.outline)
        return images.clamp(0, 1)

    def _encoded(self, pictures: Tensor) -> Tensor:
        """Latents of pictures (V, 3, S, S) in [0, 1]."""
        with self._at_work(self.model.autoencoder):
            return self.model.autoencoder.encode(pictures.to(self.device, self.model.dtype)).float()

    def _decoded(self, latents: Tensor) -> Tensor:
        """Pictures (V, 3, S, S), about [0, 1], on the CPU, a few at a time: the decoder takes the most memory."""
        model, fitting = self.model, self._batches(guided=True)
        with decoding_in_tiles(model, fitting.tiled):
            parts = latents.split(fitting.pictures)
            return torch.cat([model.autoencoder.decode(part.to(model.dtype)).float().cpu() for part in parts])

    def _batches(self, guided: bool) -> Batches:
        """How many views go into one call."""
        limit = self.limit
        if limit is None and (free := free_memory(self.device)) is not None:
            limit = int(0.8 * free) + (0 if self.offload else weights_bytes(self.model))  # they are there already
        return batches(self.model, self.device, limit, guided, self.offload)

    @contextmanager
    def _at_work(self, *networks: nn.Module) -> Iterator[None]:
        """Networks on the device while the block runs, and back in the machine's memory where they are offloaded."""
        if not self.offload:
            yield
            return
        try:
            for network in networks:
                network.to(self.device)
            yield
        finally:
            for network in networks:
                network.to("cpu")

    def _pixels(self, photo: Photo) -> Tensor:
        return photo.on_white[None].to(self.device, self.model.dtype)


def _reporter(progress: Progress, before: int, total: int) -> Callable[[int, Tensor], None]:
    """A sampler's callback that reports evaluations of all chunks."""
    return lambda index, _: progress(before + index + 1, total)


def _one(source: OrbitPose) -> OrbitPose:
    """The photo's pose as (1,)."""
    if source.shape == ():
        return OrbitPose(source.azimuth[None], source.elevation[None], source.radius[None])
    if source.shape != (1,):
        raise ValueError(f"source must be (1,), got shape {tuple(source.shape)}")
    return source
