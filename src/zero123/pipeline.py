"""`NovelViews`: one picture and the camera moves wanted, to pictures of the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from zero123.diffusion.sampling import Begin, SamplingSettings
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.images.forms import PictureLike, as_picture
from zero123.images.framing import Framing, frame
from zero123.images.matting import Method, foreground
from zero123.images.photo import Photo
from zero123.images.spread import Samples
from zero123.machine import fast_dtype, free_memory, make_sure_it_compiles, usable_device
from zero123.models.condition import Look
from zero123.models.drawing import Begun, Belief, Drawing, Progress, belief, joint, latents_of, pictures_of
from zero123.models.int8 import place_int8
from zero123.models.looking import Looker
from zero123.models.running import Batches, batches, suit, weights_bytes
from zero123.models.view_model import ViewModel
from zero123.models.weights import place_tensor


@dataclass(frozen=True)
class Wanted:
    """Views that are wanted of a photo.

    Attributes:
        photo: from `NovelViews.prepare`.
        relative: camera moves from the photo's camera, (V,).
        source: pose of the photo's camera, (1,), where it is known; models that do not use it ignore it.
        seed: None for that of the settings.
        begin: pictures of the views to begin from; None for noise alone.
    """

    photo: Photo
    relative: RelativePose
    source: OrbitPose | None = None
    seed: int | None = None
    begin: Begin | None = None

    def __post_init__(self) -> None:
        if len(self.relative.shape) != 1 or not len(self.relative):
            raise ValueError(f"relative must be (V,) with V over 0, got shape {tuple(self.relative.shape)}")
        if self.source is not None:
            object.__setattr__(self, "source", _one(self.source))
        if self.begin is not None and len(self.begin.pictures) != len(self.relative):
            raise ValueError(f"{len(self.relative)} views cannot begin from {len(self.begin.pictures)} pictures")

    def sampling(self, settings: SamplingSettings) -> SamplingSettings:
        """The settings with this seed."""
        return settings if self.seed is None else replace(settings, seed=self.seed)


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
        self.model, self._looker = model, Looker(model)
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

    def prepare(self, picture: PictureLike, method: Method = "auto") -> Photo:
        """Cut the object out and frame it.

        Args:
            picture: a file, a Pillow image, a numpy array (H, W, 3|4), or a tensor (3|4, H, W); see `images.forms`.
            method: how to find the object; see `images.matting.foreground`.

        Raises:
            PictureError: the picture cannot be read, or shows no object.
        """
        rgba, matte = foreground(as_picture(picture), method)
        return Photo(frame(rgba, self.framing), matte, rgba[3:])

    def source(self, photo: Photo) -> OrbitPose:
        """Where the model believes the photo was taken from, (1,)."""
        return self.places(photo.on_white[None]).to(torch.float32)

    @torch.no_grad()
    def places(self, pictures: Tensor) -> OrbitPose:
        """Where the model believes framed pictures on white, (P, 3, S, S), were taken from, (P,)."""
        return self.model.place(pictures.to(self.device, self.model.dtype))

    @torch.no_grad()
    def belief(
        self, photo: Photo, relative: RelativePose, source: OrbitPose | None = None,
        settings: SamplingSettings | None = None,
    ) -> Belief | None:  # fmt: skip
        """See `drawing.belief`, with the arguments of a call; None of models without a volume."""
        if self.model.feature_volume is None:
            return None
        with self._at_work(self.model.image_encoder, self.model.autoencoder):
            look = self._look([Wanted(photo, relative, source)], settings or SamplingSettings())
            return belief(self.model, look, relative, self._batches(guided=True).views)

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
        return self.together([Wanted(photo, relative, source, begin=begin)], settings, progress)[0]

    @torch.no_grad()
    def together(
        self, wanted: Sequence[Wanted], settings: SamplingSettings | None = None, progress: Progress | None = None
    ) -> list[Tensor]:
        """Views of several photos, drawn in the same network calls; each as if it were drawn alone.

        Joint views depend on each other, and are drawn photo by photo; so are views that begin from pictures, which
        walk a part of the noise levels of their own.

        Args:
            wanted: what of which photo.
            settings: shared by all but for the seeds that they have of their own.
            progress: as for one photo.

        Returns:
            For each of `wanted` its pictures, as for one photo.

        Raises:
            ValueError: as for one photo.
        """
        settings, model = settings or SamplingSettings(), self.model
        if len(wanted) > 1 and (joint(model, settings) or any(one.begin for one in wanted)):
            return [self.together([one], settings, progress)[0] for one in wanted]
        counts = [len(one.relative) * settings.samples for one in wanted]
        with self._at_work(model.image_encoder, model.autoencoder):
            look, begin = self._look(wanted, settings), self._begun(wanted[0].begin, settings)
        moves = [one.relative[torch.arange(len(one.relative)).repeat_interleave(settings.samples)] for one in wanted]
        seeds = [seed for one in wanted for seed in one.sampling(settings).seeds(len(one.relative))]
        owners = torch.arange(len(wanted)).repeat_interleave(torch.tensor(counts))
        scale = model.settings.scale if settings.scale is None else settings.scale
        with self._at_work(model.unet):
            drawing = Drawing(look, owners.to(self.device), RelativePose.cat(moves), seeds, begin)
            drawn = latents_of(model, drawing, settings, self._batches(scale != 1).views, progress)
        with self._at_work(model.autoencoder):
            pictures = pictures_of(model, *drawn, self._batches(guided=True), settings.photo_detail)
        return list(pictures.split(counts))

    def samples(
        self, photo: Photo, relative: RelativePose, settings: SamplingSettings, source: OrbitPose | None = None,
        progress: Progress | None = None,
    ) -> Samples:  # fmt: skip
        """Samples of each view, as a call draws them; of several also what the model doubts."""
        pictures = self(photo, relative, settings, source, progress)
        seen = self.belief(photo, relative, source, settings) if settings.samples > 1 else None
        return Samples.of(pictures, settings.samples, None if seen is None else seen.doubt)

    def _look(self, wanted: Sequence[Wanted], settings: SamplingSettings) -> Look:
        """What is seen in the photos; the model says where those were taken from of which nobody else does."""
        pixels = torch.stack([one.photo.on_white for one in wanted]).to(self.device, self.model.dtype)
        places = None
        if any(one.source is not None for one in wanted):
            told = [one.source or self.model.place(pixels[k : k + 1]) for k, one in enumerate(wanted)]
            places = OrbitPose.cat([pose.to(self.device, torch.float32) for pose in told])
        return self._looker(pixels, places, settings)

    def _begun(self, begin: Begin | None, settings: SamplingSettings) -> Begun | None:
        """What the samples of all views begin from."""
        if begin is None:
            return None
        own, model = self.model.settings, self.model
        walk = begin.sigmas(model.schedule, settings.steps or own.steps, settings.spacing or own.spacing)
        sigmas = model.noise_levels(walk)
        parts = begin.pictures.to(self.device, model.dtype).split(self._batches(guided=True).pictures)
        latents = torch.cat([model.autoencoder.encode(part).float() for part in parts])
        return Begun(latents.repeat_interleave(settings.samples, 0), sigmas)

    def _batches(self, guided: bool) -> Batches:
        """How many views go into one call."""
        limit = self.limit
        if limit is None and (free := free_memory(self.device)) is not None:
            limit = int(0.8 * free) + (0 if self.offload else weights_bytes(self.model))  # they are there already
        return batches(self.model, self.device, limit, guided, self.offload)

    @contextmanager
    def _at_work(self, *networks: nn.Module) -> Iterator[None]:
        """Networks on the device while the block runs, and back in the machine's memory where they are offloaded."""
        moved = networks if self.offload else ()
        try:
            for network in moved:
                network.to(self.device)
            yield
        finally:
            for network in moved:
                network.to("cpu")


def _one(source: OrbitPose) -> OrbitPose:
    """The photo's pose as (1,)."""
    if source.shape not in ((), (1,)):
        raise ValueError(f"source must be (1,), got shape {tuple(source.shape)}")
    return OrbitPose(*(value.reshape(1) for value in vars(source).values()))
