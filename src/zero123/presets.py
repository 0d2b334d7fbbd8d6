"""Named settings: how `mini` is built and trained, how the original was, and how a model is fine-tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from zero123.reconstruction.score_fit import ScoreFitSettings
from zero123.reconstruction.sds_settings import SdsSettings
from zero123.training.objective import ObjectiveSettings
from zero123.training.settings import TrainSettings

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from zero123.models.patch_codec import PatchCodec
    from zero123.models.view_model import ViewModel

MINI_TRAINING = TrainSettings(
    steps=12_000,
    batch=32,
    learning_rate=6e-4,
    pose_rate=1.0,
    warmup=200,
    decay=3000,
    ema=0.998,
    save_every=250,
    sample_every=1000,
    objective=ObjectiveSettings(
        drop_jointly=True, noise_power=0.55, source_weight=1.0, elevation_jitter=0.1, volume_weight=5.0
    ),
)
"""Two CPU cores, float32 master weights, bfloat16 arithmetic."""

MINI_LARGE_TRAINING = replace(
    MINI_TRAINING,
    steps=8000,
    batch=512,
    learning_rate=6e-4,
    warmup=300,
    decay=2000,
    save_every=500,
    log_every=20,
    sample_every=0,
)
"""The larger edition of `mini` on one GPU for half an hour, see `runs/mini_gpu.sh`."""

ORIGINAL_TRAINING = TrainSettings(
    steps=105_000,
    batch=192,
    learning_rate=1e-4,
    pose_rate=10.0,
    warmup=100,
    ema=0.9999,
    averaged="unet",
    clip=math.inf,
    precision="no",
    freeze_encoders=True,
    save_every=5000,
    keep_best=3,
    sample_every=500,
    sample_first=True,
    sample_count=32,
    sample_steps=200,
    sample_scales=(1.0, 3.0),
    validate_every=5000,
    seed=42,
    objective=ObjectiveSettings(drop=0.05),
)
"""Zero-1-to-3 as its authors trained it: on 8 GPUs, so that a step takes 1536 pairs; 105 000 steps to the first release
and 300 000 to the last, which took 6000 hours of A100. Liu et al., 2023 (arXiv:2303.11328), its code and configuration;
the loss on held-out objects, which the authors' configuration meant to write and to keep the best three checkpoints by,
and never did, is written, and they are kept."""

FINETUNE_TRAINING = TrainSettings(
    steps=2000,
    batch=8,
    learning_rate=1e-4,
    pose_rate=1.0,
    warmup=50,
    decay=500,
    ema=0.99,
    freeze_encoders=True,
    lora=16,
    save_every=200,
    log_every=20,
    sample_every=200,
    sample_count=4,
    sample_scales=(3.0,),
    objective=ObjectiveSettings(drop=0.05),
)
"""A person's own objects on one card: a LoRA of rank 16 beside frozen weights."""

PRESETS = {
    "original": ORIGINAL_TRAINING,
    "mini": MINI_TRAINING,
    "mini-large": MINI_LARGE_TRAINING,
    "finetune": FINETUNE_TRAINING,
}
"""Settings of training by name."""

SJC_ORIGINAL = ScoreFitSettings()
"""The documented command of Zero-1-to-3's 3D reconstruction, for released weights: 10 000 steps at guidance 100."""

SJC_QUICK = replace(
    SJC_ORIGINAL,
    steps=600,
    learning_rate=0.1,
    scale=0.0,
    grid=48,
    half_side=0.8,
    input_weight=3000.0,
    depth_smoothness=300.0,
    near_weight=300.0,
    input_radius=1.85,
)
"""A field in minutes on a processor, with `mini` or any other model."""

ScoreSettings = ScoreFitSettings | SdsSettings

SCORE_PRESETS: dict[str, dict[str, ScoreSettings]] = {
    "sjc": {"quick": SJC_QUICK, "original": SJC_ORIGINAL},
    "sds": {"sds": SdsSettings()},
}
"""Settings of fields made by a score, by method and name; the first of a method is its default."""


@dataclass(frozen=True)
class MiniEdition:
    """Sizes of a small model's networks.

    Attributes:
        name: what the model is called.
        image_size: side of the pictures, pixels.
        latent_channels: of the codec's 8x8 patches.
        width: of the image tokens, from patches of 16x16 pixels.
        vision_layers: of the image encoder.
        volume_depth: cells along the depth of the volume; twice the latents' side across.
        volume_channels: widths of the network that makes it, from the highest resolution down.
        unet_channels: likewise of the denoising network.
    """

    name: str = "mini"
    image_size: int = 128
    latent_channels: int = 48
    width: int = 192
    vision_layers: int = 4
    volume_depth: int = 32
    volume_channels: tuple[int, ...] = (64, 128, 224)
    unet_channels: tuple[int, ...] = (96, 192)


MINI_EDITIONS = {
    "mini": MiniEdition(),
    "mini-large": MiniEdition(
        name="mini-large",
        image_size=256,
        latent_channels=32,
        width=256,
        volume_depth=48,
        volume_channels=(64, 96, 160),
        unet_channels=(128, 192),
    ),
}
"""Small models by their preset.

`mini` has 25.6 million parameters; the larger 22.9, 46 MB in float16, and 41 GFLOP of training a pair (four targets an
input). Its latents hold 256² pictures of held-out objects at 30.1 dB on the object (textured; flat 31.2); 24 channels
would hold 28.6, 48 channels 33.1.
"""


def mini_codec(edition: str = "mini") -> PatchCodec:
    """A small model's autoencoder, not fitted yet: 8x8 patches of `mini`'s 128² pictures to 48 channels."""
    from zero123.models.patch_codec import PatchCodec

    sizes = MINI_EDITIONS[edition]
    return PatchCodec(patch=8, latent_channels=sizes.latent_channels)


def mini_model(codec: PatchCodec, edition: str = "mini") -> ViewModel:
    """A small model's networks, untrained, around a fitted codec: `mini` has 16x16 latents of 48 channels."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from zero123.models.autoencoder import Autoencoder
    from zero123.models.draft import Draft
    from zero123.models.feature_volume import FeatureVolume
    from zero123.models.image_encoder import ImageEncoder
    from zero123.models.place_reader import PlaceReader
    from zero123.models.pose_conditioning import PoseConditioning
    from zero123.models.view_model import ViewModel
    from zero123.models.view_settings import ViewModelSettings

    sizes, latent = MINI_EDITIONS[edition], codec.config.latent_channels
    settings = ViewModelSettings(
        image_size=sizes.image_size,
        prediction="velocity",
        schedule="zero_snr",
        tokens="grid",
        rays=True,
        volume_depth=sizes.volume_depth,
        outline=0.4,
        draft_error=0.44,
        second_looks=math.radians(10),
        photo_detail=1.0,
        null_projected=False,
        latent_scale=1.0,
        scale_condition=True,
        foreground_fraction=0.6,
        scale=1.0,
        steps=1,
        name=sizes.name,
        licence="Apache-2.0; see ATTRIBUTION.md for the objects it learned from",
    )
    side = sizes.image_size // codec.config.patch
    volume = FeatureVolume(_mini_volume(sizes, side * 2, codec.config.patch // 2), sizes.volume_depth)
    unet = _mini_unet(sizes, side, 3 * latent + 6 + volume.channels, latent)
    vision = CLIPVisionConfig(
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        projection_dim=sizes.width,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.width // 32,
        image_size=sizes.image_size,
        patch_size=16,
    )
    encoder = ImageEncoder(CLIPVisionModelWithProjection(vision), settings.tokens)
    return ViewModel(
        unet,
        Autoencoder(codec.requires_grad_(False), settings.latent_scale, settings.scale_condition),
        encoder,
        PoseConditioning(sizes.width, absolute=True),
        PlaceReader(),
        settings,
        feature_volume=volume,
        draft=Draft(volume.features, volume.shrink),
    )


def _mini_volume(sizes: MiniEdition, side: int, shrink: int, features: int = 8) -> UNet2DConditionModel:
    """The network from `shrink` x `shrink` pixels each to cells of density, colour and `features`."""
    return _network(sizes, side, 3 * shrink**2, sizes.volume_depth * (4 + features), sizes.volume_channels, labels=4)


def _mini_unet(sizes: MiniEdition, side: int, given: int, latent: int) -> UNet2DConditionModel:
    """The denoising network; the volume says where things are, so that it needs little attention."""
    return _network(sizes, side, given, latent, sizes.unet_channels, labels=7)


def _network(
    sizes: MiniEdition, side: int, taken: int, given: int, channels: tuple[int, ...], labels: int
) -> UNet2DConditionModel:
    """From `taken` channels to `given`; all but the highest resolution attend to tokens, on the way up the lowest."""
    from diffusers import UNet2DConditionModel

    others = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=taken,
        out_channels=given,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * others),
        up_block_types=("CrossAttnUpBlock2D", *["UpBlock2D"] * others),
        cross_attention_dim=sizes.width,
        attention_head_dim=tuple(c // 32 for c in channels),  # diffusers takes this as the number of heads
        class_embed_type="projection",
        projection_class_embeddings_input_dim=labels,
    )
