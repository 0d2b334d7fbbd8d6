"""`ViewModelSettings`: what the networks' own settings do not say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

from zero123.diffusion.loss import Prediction
from zero123.diffusion.schedule import ScheduleName, Spacing
from zero123.models.image_encoder import Tokens
from zero123.models.pose_conditioning import PoseFormat


@dataclass(frozen=True)
class ViewModelSettings:
    """What the networks' own settings do not say. The defaults are the released weights'.

    Attributes:
        image_size: side of the square pictures, pixels.
        prediction: what the UNet predicts.
        schedule: noise levels of its steps, see `NoiseSchedule.named`.
        tokens: the image encoder's output, one pooled token or a grid.
        rays: the UNet also gets the target's rays in the input camera's frame, 6 channels.
        volume_depth: cells along the depth of the volume behind the input picture, see `FeatureVolume`; 0 for none.
        outline: how far the draft or, without one, the volume must show the object for half of a pixel's ink to stay,
            in (0, 1): views are faded to white outside; 0 leaves them as they were drawn.
        draft_error: standard deviation of latents about their draft. The draft's error is divided by it before it is
            noised and denoised, so that it has the unit variance that `prediction` and `schedule` count on.
        second_looks: elevation, radians, 0 to 0.5: photos are also looked at as if taken from so much higher, from so
            much lower, and in a mirror, and a draft is the mean of the four; 0 looks once.
        photo_detail: share of the fine detail of a view that is the photo's own where both show the same surface, see
            `photo_detail.detailed`, 0 to 1; 0 leaves views as they were drawn.
        joint: it learned on sets of views of one object that look at each other, see `models.joint_attention`.
        pose_format: what the fourth pose number is, see `pose_vector`; "source_polar" for Stable-Zero123.
        null_projected: a token dropped in training still passes the pose conditioning, as in Zero-1-to-3; else it is
            zero, as in sampling.
        latent_scale: diffused latents are the autoencoder's times this.
        scale_condition: the input picture's latents are scaled too.
        foreground_fraction: longest side of the object over the picture's side, as the model knows objects.
        enlarge: smaller objects are enlarged to that fraction.
        scale: guidance scale that suits the model.
        steps: number of sampling steps that suits the model.
        spacing: spread of the noise levels that suits the model.
        name: what to call the model.
        licence: terms of the weights.
    """

    image_size: int = 256
    prediction: Prediction = "noise"
    schedule: ScheduleName = "stable_diffusion"
    tokens: Tokens = "pooled"
    rays: bool = False
    volume_depth: int = 0
    outline: float = 0.0
    draft_error: float = 1.0
    second_looks: float = 0.0
    photo_detail: float = 0.0
    joint: bool = False
    pose_format: PoseFormat = "radius"
    null_projected: bool = True
    latent_scale: float = 0.18215
    scale_condition: bool = False
    foreground_fraction: float = 200 / 256
    enlarge: bool = True
    scale: float = 3.0
    steps: int = 20
    spacing: Spacing = "trailing"
    name: str = "zero123"
    licence: str = "unknown; see where the weights came from"

    def __post_init__(self) -> None:
        for name, kinds in (
            ("prediction", Prediction),
            ("schedule", ScheduleName),
            ("tokens", Tokens),
            ("pose_format", PoseFormat),
            ("spacing", Spacing),
        ):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if (self.prediction == "noise") > (self.schedule == "stable_diffusion"):
            raise ValueError(
                f"a model on the schedule {self.schedule!r} cannot predict the noise: it ends in noise alone"
            )
        if (self.prediction == "flow") != (self.schedule == "flow"):
            raise ValueError(f"flow goes with the schedule of that name, got {self.prediction!r} and {self.schedule!r}")
        for name, low, high in (("image_size", 1, 4096), ("steps", 1, 1000), ("volume_depth", 0, 1024)):
            value: Any = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        within = isinstance(self.outline, int | float) and 0 <= self.outline < 1
        if not within or (self.outline and not self.volume_depth):
            raise ValueError(f"outline must be from 0 to 1, and 0 without a volume, got {self.outline!r}")
        for name, limit in (("second_looks", 0.5), ("photo_detail", 1)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= limit or (value and not self.volume_depth):
                raise ValueError(f"{name} must be from 0 to {limit}, and 0 without a volume, got {value!r}")
        for name, most in (
            ("latent_scale", math.inf),
            ("draft_error", math.inf),
            ("foreground_fraction", 1.0),
            ("scale", 100.0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value <= most or math.isinf(value):
                raise ValueError(f"{name} must be a number over 0 and at most {most:g}, got {value!r}")
