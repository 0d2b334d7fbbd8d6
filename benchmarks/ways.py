"""The ways in which a view is made, side by side: as the original's program does it, with plain diffusers, and ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123.diffusion.guidance import Guided, Pair
from zero123.diffusion.sampling import SamplingSettings, draw
from zero123.geometry.orbit import RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.machine import fast_dtype
from zero123.models.pretrained import load_model
from zero123.pipeline import NovelViews

ROOT = Path(__file__).resolve().parent.parent
MOVE = RelativePose.from_degrees([45.0], [30.0], [0.0])
EVALUATIONS = 20


def released_weights(path: Path) -> Path:
    """A file with the names and shapes of the released weights and golden numbers, made if missing."""
    if not path.is_file():
        from safetensors.torch import save_file

        sys.path.insert(0, str(ROOT / "tests"))
        from deterministic import manifest, weight

        wanted = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.model.visual.", "cc_projection.")
        shapes = {key: shape for key, shape in manifest("manifest.json").items() if key.startswith(wanted)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: weight(key, shape) for key, shape in shapes.items()}, path)
    return path


class Ours:
    """`NovelViews` as it comes: fast types, one condition, constants recognised, a second-order solver."""

    def __init__(self, model: str, device: torch.device, int8: bool = False, compiled: bool = False) -> None:
        self.views = NovelViews.from_pretrained(model, device, int8=int8, compiled=compiled)
        self.model, self.device = self.views.model, device
        self.settings = SamplingSettings(steps=EVALUATIONS, scale=3.0)

    def use(self, photo: Tensor) -> None:
        """Take the picture of every measurement, (1, 3, S, S) in [0, 1]."""
        rgba = torch.cat((photo[0], torch.ones_like(photo[0, :1])))
        self.photo = Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])
        self.pixels = photo.to(self.device, self.model.dtype)
        condition = self.encode()
        self.pair = Pair(condition, condition.without_image())
        self.x = torch.randn(1, *self.model.latent_shape, generator=torch.Generator().manual_seed(1)).to(self.device)

    @torch.no_grad()
    def encode(self) -> Any:
        """Everything the UNet is told of one view."""
        return self.model.condition(self.pixels, MOVE)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One guided evaluation of one view."""
        sigma = self.model.schedule.sigmas[500]
        return Guided(self.model, 3.0)(self.x, sigma, self.pair)

    @torch.no_grad()
    def decode(self) -> Tensor:
        """Latents of one view to its picture."""
        return self.model.autoencoder.decode(self.x.to(self.model.dtype))

    def picture(self, count: int = 1) -> Tensor:
        """Views from the picture, (count, 3, S, S)."""
        moves = RelativePose.from_degrees([45.0 + 30 * k for k in range(count)], [30.0] * count, [0.0] * count)
        return self.views(self.photo, moves, self.settings)


class AsTheOriginal(Ours):
    """float32, attention written out, a copy of the averaged weights swapped in and out, 76 evaluations a view."""

    def __init__(self, model: str, device: torch.device) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        self.model, self.device = load_model(model, torch.float32).to(device), device
        self.model.unet.set_attn_processor(AttnProcessor())
        if hasattr(self.model.autoencoder.network, "set_attn_processor"):
            self.model.autoencoder.network.set_attn_processor(AttnProcessor())
        self.model.image_encoder.network.set_attn_implementation("eager")
        self.average = [p.detach().clone() for p in self.model.unet.parameters()]
        self.settings = SamplingSettings.original()

    @torch.no_grad()
    def picture(self, count: int = 1) -> Tensor:
        """Views from the picture, each with a condition of its own."""
        own = [p.detach().clone() for p in self.model.unet.parameters()]
        for parameter, averaged in zip(self.model.unet.parameters(), self.average, strict=True):
            parameter.copy_(averaged)
        pictures = [self.draw_one() for _ in range(count)]
        for parameter, before in zip(self.model.unet.parameters(), own, strict=True):
            parameter.copy_(before)
        return torch.cat(pictures)

    def draw_one(self) -> Tensor:
        condition = self.encode()
        pair, settings = Pair(condition, condition.without_image()), self.settings
        sigmas = self.model.schedule.sampling_sigmas(settings.steps or 75, settings.spacing or "original")
        latents = draw(self.model, pair, sigmas, self.x, [0], settings, 3.0)
        return self.model.autoencoder.decode(latents)


class PlainDiffusers(Ours):
    """The library's networks and its DDIM scheduler, float32, 50 steps, as its pipelines are written."""

    def __init__(self, model: str, device: torch.device) -> None:
        self.model, self.device = load_model(model, torch.float32).to(device), device
        # the library knows nothing of the constant that cross-attention to one token is
        self.model._single_token = None

    @torch.no_grad()
    def step(self) -> Tensor:
        """One guided evaluation of one view."""
        prompt = torch.cat((self.pair.unconditional.tokens, self.pair.conditional.tokens))
        latent = torch.cat((self.pair.unconditional.latent, self.pair.conditional.latent))
        return self.guided(self.x, torch.tensor(500), prompt, latent)

    def guided(self, x: Tensor, step: Tensor, prompt: Tensor, latent: Tensor) -> Tensor:
        both = torch.cat((torch.cat((x, x)), latent), dim=1)
        without, noise = self.model.unet(both, step, encoder_hidden_states=prompt).sample.chunk(2)
        return without + 3.0 * (noise - without)

    @torch.no_grad()
    def picture(self, count: int = 1) -> Tensor:
        """Views from the picture, one after the other."""
        from diffusers import DDIMScheduler

        pictures = []
        for _ in range(count):
            condition = self.encode()
            prompt = torch.cat((torch.zeros_like(condition.tokens), condition.tokens))
            latent = torch.cat((torch.zeros_like(condition.latent), condition.latent))
            scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
            scheduler.set_timesteps(50)
            x = self.x
            for step in scheduler.timesteps:
                x = scheduler.step(self.guided(x, step, prompt, latent), int(step), x).prev_sample
            pictures.append(self.model.autoencoder.decode(x))
        return torch.cat(pictures)


def make(way: str, model: str, device: torch.device) -> Ours:
    """The way of that name."""
    if way == "original":
        return AsTheOriginal(model, device)
    if way == "diffusers":
        return PlainDiffusers(model, device)
    return Ours(model, device, int8="int8" in way, compiled="compiled" in way)


def evaluations(way: str) -> int:
    """Network evaluations per view, guided."""
    return {"original": 76, "diffusers": 50}.get(way, EVALUATIONS)


def describe(device: torch.device) -> str:
    """What runs here, in a line."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"{device.type} ({kind}), {torch.get_num_threads()} threads, {fast_dtype(device)} by default"
