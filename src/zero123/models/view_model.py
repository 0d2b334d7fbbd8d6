"""`ViewModel`: the networks assembled to a denoiser of one view, given a picture and a relative camera pose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zero123.diffusion.denoiser import FlowPrediction, NoisePrediction, VelocityPrediction, per_image
from zero123.diffusion.loss import Prediction
from zero123.diffusion.sampling import Symmetry
from zero123.diffusion.schedule import NoiseSchedule
from zero123.geometry.orbit import RADIUS, OrbitPose, RelativePose
from zero123.models.autoencoder import Autoencoder
from zero123.models.condition import Condition, Look, one_each
from zero123.models.draft import Draft
from zero123.models.feature_volume import FeatureVolume, Projected
from zero123.models.image_encoder import ImageEncoder
from zero123.models.place_reader import PlaceReader
from zero123.models.pose_conditioning import PoseConditioning, ray_map
from zero123.models.second_looks import drafted, second_looks
from zero123.models.single_token import SingleTokenAttention
from zero123.models.symmetry import plane_of
from zero123.models.view_settings import ViewModelSettings


class ViewModel(nn.Module):
    """A denoiser of novel views. Zero-1-to-3, Liu et al., 2023 (arXiv:2303.11328).

    Args:
        unet: diffusers' `UNet2DConditionModel`.
        autoencoder: pictures to latents.
        image_encoder: pictures to tokens.
        pose_conditioning: tokens and pose to context.
        place_reader: reads where the input was taken from; needed where the model wants to know it.
        feature_volume: tells the UNet what the target sees, as far as one picture says; None for none.
        draft: draws a first picture from the volume, of which the denoised latents are then the error; None for none.
        settings: how the parts work together.
        schedule: noise levels of the steps; None takes the one the settings name.
    """

    def __init__(
        self,
        unet: nn.Module,
        autoencoder: Autoencoder,
        image_encoder: ImageEncoder,
        pose_conditioning: PoseConditioning,
        place_reader: PlaceReader | None,
        settings: ViewModelSettings,
        schedule: NoiseSchedule | None = None,
        feature_volume: FeatureVolume | None = None,
        draft: Draft | None = None,
    ) -> None:
        super().__init__()
        self.unet: Any = unet
        self.autoencoder = autoencoder
        self.image_encoder = image_encoder
        self.pose_conditioning = pose_conditioning
        self.place_reader = place_reader
        self.feature_volume = feature_volume
        self.draft = draft
        self.settings = settings
        self.schedule = schedule or NoiseSchedule.named(settings.schedule)
        self._single_token = SingleTokenAttention(unet) if settings.tokens == "pooled" else None
        if (settings.rays or pose_conditioning.absolute or feature_volume) and place_reader is None:
            raise ValueError("place_reader must be given where the model wants to know the input's place, got None")
        self._check_widths()

    def _check_widths(self) -> None:
        channels = 2 * self.autoencoder.channels + (6 if self.settings.rays else 0)
        volume = self.feature_volume
        if self.settings.volume_depth != (0 if volume is None else volume.depth):
            raise ValueError(
                f"volume_depth must be the feature_volume's, or 0 for none, got {self.settings.volume_depth}"
            )
        if volume is not None:
            channels += volume.channels + self.autoencoder.channels
            if (volume.image_size, volume.side) != (self.settings.image_size, 2 * self.latent_shape[1]):
                raise ValueError(
                    f"feature_volume must be of {self.settings.image_size} pixels and {2 * self.latent_shape[1]} cells "
                    f"a side, is of {volume.image_size} and {volume.side}"
                )
        if self.draft is not None and (volume is None or self.draft.config["features"] != volume.features):
            raise ValueError("draft must go with a feature_volume of as many features")
        if self.unet.config.in_channels != channels:
            raise ValueError(f"unet must take {channels} channels, takes {self.unet.config.in_channels}")
        widths = {
            "image_encoder gives": self.image_encoder.width,
            "pose_conditioning takes": self.pose_conditioning.config["token_width"],
            "unet takes": self.unet.config.cross_attention_dim,
        }
        if len(set(widths.values())) > 1:
            raise ValueError(f"tokens must have one width: {', '.join(f'{k} {v}' for k, v in widths.items())}")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of one view's latents."""
        side = self.settings.image_size // self.autoencoder.factor
        return self.autoencoder.channels, side, side

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the UNet."""
        return next(p.dtype for p in self.unet.parameters() if p.is_floating_point())

    def noise_levels(self, walk: Tensor) -> Tensor:
        """The schedule's levels, (n + 1,), as noise on latents: of a draft's error they are fractions of its spread."""
        return walk * self.settings.draft_error

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """Expected clean latents (B, C, h, w), as `Denoiser` says."""
        wrappers: dict[Prediction, type[NoisePrediction | VelocityPrediction | FlowPrediction]] = {
            "noise": NoisePrediction,
            "velocity": VelocityPrediction,
            "flow": FlowPrediction,
        }
        denoiser = wrappers[self.settings.prediction](self.network, self.schedule)
        if condition.mean is None:
            return denoiser(x, sigma, condition)
        mean, spread = condition.mean.to(x), self.settings.draft_error  # what is denoised is the draft's error
        noise_alone = per_image(sigma, x).isinf()
        noisy = torch.where(noise_alone, x, (x - mean) / spread)
        return mean + spread * denoiser(noisy, sigma / spread, condition)

    def network(self, x_scaled: Tensor, step: Tensor, condition: Condition) -> Tensor:
        """The UNet's prediction, (B, C, h, w), for unit-variance noisy latents and steps (B,)."""
        beside = (condition.latent, condition.rays, condition.projected)
        channels = [x_scaled] + [c for c in beside if c is not None]
        context = condition.tokens if condition.added is None else condition.added
        output = self.unet(
            torch.cat([c.to(self.dtype) for c in channels], dim=1),
            step.expand(len(x_scaled)),
            encoder_hidden_states=context.to(self.dtype),
            class_labels=None if condition.pose is None else condition.pose.to(self.dtype),
        ).sample
        return output.to(x_scaled.dtype)

    def condition(self, photo: Tensor, relative: RelativePose, source: OrbitPose | None = None) -> Condition:
        """Everything the UNet needs to know of the views to make; the photo passes the encoders once.

        Args:
            photo: framed picture on white, (1, 3, H, W) or one per view, (B, 3, H, W), in [0, 1].
            relative: moves from the photo's camera to the views', (B,).
            source: pose of the photo's camera, (1,) or (B,); None estimates its elevation where the model uses it.
        """
        return self.join(self.look(photo, source), relative)

    def look(
        self,
        photo: Tensor,
        source: OrbitPose | None = None,
        again: bool = False,
        tilted: bool = True,
        symmetry: Symmetry = "none",
    ) -> Look:
        """What is in photos.

        Args:
            photo: (P, 3, H, W) in [0, 1].
            source: as for `condition`.
            again: the model takes the second looks that its settings name, and counts objects as symmetric.
            tilted: among the looks those from lower and from higher.
            symmetry: about which plane, see `SamplingSettings`.

        Raises:
            ValueError: `photo` is not of that shape, or a plane is given to a model that draws no drafts.
        """
        size = self.settings.image_size
        if photo.ndim != 4 or photo.shape[1:] != (3, size, size):
            raise ValueError(f"photo must be (B, 3, {size}, {size}), got {tuple(photo.shape)}")
        tokens = self.image_encoder(photo)
        look = self.looked(photo, tokens, self.autoencoder.encode_condition(photo), source)
        if not again or self.feature_volume is None or self.draft is None or look.volume is None:
            if symmetry != "none":
                raise ValueError(f"symmetry must be left out: {self.settings.name} has no use for it, got {symmetry}")
            return look
        if symmetry == "auto":
            look = replace(look, plane=plane_of(self.feature_volume, self.draft, look.volume, look.source))
        elif symmetry != "none":
            look = replace(look, plane=torch.full_like(look.source.azimuth, math.radians(symmetry) % math.pi))
        if not self.settings.second_looks:
            return look
        mirror = photo.flip(-1)
        both = torch.cat((tokens, self.image_encoder(mirror)))
        mirrored = one_each(self.place(mirror), tokens) if source is None else look.source
        apart = self.settings.second_looks if tilted else 0.0
        seconds = second_looks(self.feature_volume, photo, both, look.source, mirrored, apart)
        return replace(look, again=seconds)

    def looked(
        self, photo: Tensor, tokens: Tensor, latent: Tensor, source: OrbitPose | None, told: OrbitPose | None = None
    ) -> Look:
        """The same where the encoders have worked already, or their output was stored.

        Args:
            photo: (P, 3, H, W) in [0, 1]; not looked at by models that read no place and have no volume.
            tokens: of the image encoder.
            latent: of the autoencoder.
            source: as for `condition`.
            told: for training, what the volume's network is told instead of `source`, (P,).
        """
        source = one_each(self.place(photo) if source is None else source, tokens)
        if self.feature_volume is None:
            return Look(tokens, latent, source)
        if photo.shape[-1] != self.settings.image_size:
            raise ValueError("photo must be given beside its tokens to a model with a volume: encode without them")
        return Look(tokens, latent, source, self.feature_volume(photo, tokens, told or source))

    def place(self, photo: Tensor) -> OrbitPose:
        """Where photos (P, 3, H, W) on white were taken from, (P,): as the reader says, else on the horizon."""
        if self.place_reader is not None:
            return self.place_reader(photo)
        level = torch.zeros(len(photo), device=photo.device)
        return OrbitPose(level, level, level + RADIUS)

    def join(self, look: Look, relative: RelativePose, drop: Tensor | None = None) -> Condition:
        """Photos and poses together.

        Args:
            look: as `look` gives it, at P photos.
            relative: moves, (B,), B / P in a row for each photo.
            drop: for training, which views' tokens and latents to withhold, (B, 2) bool.
        """
        return self.join_projected(look, relative, drop)[0]

    def join_projected(
        self, look: Look, relative: RelativePose, drop: Tensor | None = None
    ) -> tuple[Condition, Projected | None]:
        """`join`, and what the targets see of the volume, for training."""
        count, photos = len(relative), len(look)
        if count % photos:
            raise ValueError(f"moves must be as many for each of {photos} photos, got {count}")
        relative = relative.to(look.latent.device, torch.float32)
        each = torch.arange(photos, device=look.latent.device).repeat_interleave(count // photos)
        source, tokens, latent = look.source[each], look.tokens[each], look.latent[each]
        pose = self.pose_conditioning.vector(relative, source, self.settings.pose_format)
        if drop is not None and self.settings.null_projected:
            tokens = tokens * ~drop[:, :1, None]
        context = self.pose_conditioning(tokens, pose)
        seen = projected = mean = None
        if look.volume is not None and self.feature_volume is not None:
            if self.draft is None:
                seen = self.feature_volume.look(look.volume, source, relative)
            else:
                seen = drafted(self.feature_volume, self.draft, look, relative, each)
            shown = seen.warped if seen.draft is None else seen.draft.detach()
            projected = torch.cat((seen.channels().to(self.dtype), self._latents(shown, condition=True)), dim=1)
            mean = None if seen.draft is None else self._latents(shown)
        if drop is not None:
            context = context if self.settings.null_projected else context * ~drop[:, :1, None]
            latent = latent * ~drop[:, 1:, None, None]
            projected = None if projected is None else projected * ~drop[:, 1:, None, None]
        rays = ray_map(source, relative, (latent.shape[-2], latent.shape[-1])) if self.settings.rays else None
        label = pose if self.unet.config.class_embed_type else None
        condition = Condition(context, latent, rays, projected, label, mean=mean)
        return (condition if torch.is_grad_enabled() else self._with_constants(condition)), seen

    def _latents(self, pictures: Tensor, condition: bool = False) -> Tensor:
        """Latents (B, C, h, w) of pictures, as they are diffused or as the network is conditioned on them."""
        encode = self.autoencoder.encode_condition if condition else self.autoencoder.encode
        return encode(pictures.to(self.dtype))

    def _with_constants(self, condition: Condition) -> Condition:
        """The condition and what cross-attention makes of it, where that does not depend on the picture being drawn."""
        if self._single_token is None or not self._single_token.in_place:
            return condition
        tokens = condition.tokens.to(self.unet.device, self.dtype)
        without = self._single_token(torch.zeros_like(tokens[:1])).expand(len(tokens), -1, -1)
        return replace(condition, added=self._single_token(tokens), added_without=without)
