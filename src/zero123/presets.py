"""Named settings: how `mini` is built and trained, how the original was, and how a model is fine-tuned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from zero123.training.objective import ObjectiveSettings
from zero123.training.settings import TrainSettings

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from zero123.models.patch_codec import PatchCodec
    from zero123.models.view_model import ViewModel

MINI_TRAINING = TrainSettings(
    steps=12_000,
    batch=32,
    learning_rate=5e-4,
    pose_rate=1.0,
    warmup=200,
    decay=3000,
    ema=0.998,
    save_every=250,
    sample_every=1000,
    objective=ObjectiveSettings(
        drop_jointly=True, noise_power=0.4, elevation_weight=0.1, elevation_jitter=0.05, volume_weight=1.0
    ),
)
"""Two CPU cores, float32 master weights, bfloat16 arithmetic."""

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

PRESETS = {"original": ORIGINAL_TRAINING, "mini": MINI_TRAINING, "finetune": FINETUNE_TRAINING}
"""Settings of training by name."""


def mini_codec() -> PatchCodec:
    """The small model's autoencoder, not fitted yet: 8x8 patches of 128² pictures to 48 channels."""
    from zero123.models.patch_codec import PatchCodec

    return PatchCodec(patch=8, latent_channels=48)


def mini_model(codec: PatchCodec) -> ViewModel:
    """The small model's networks, untrained, around a fitted codec: 128² pictures, 16x16 latents of 48 channels."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from zero123.models.autoencoder import Autoencoder
    from zero123.models.feature_volume import FeatureVolume
    from zero123.models.image_encoder import ImageEncoder
    from zero123.models.pose_conditioning import PoseConditioning
    from zero123.models.view_model import ViewModel, ViewModelSettings

    width, latent = 192, codec.config.latent_channels
    settings = ViewModelSettings(
        image_size=128,
        prediction="velocity",
        tokens="grid",
        rays=True,
        volume_depth=32,
        null_projected=False,
        latent_scale=1.0,
        scale_condition=True,
        foreground_fraction=0.6,
        scale=1.5,
        steps=2,
        name="mini",
        licence="Apache-2.0; see ATTRIBUTION.md for the objects it learned from",
    )
    volume = FeatureVolume(_mini_volume(settings.volume_depth, width), settings.volume_depth)
    unet = _mini_unet(3 * latent + 6 + volume.channels, latent, width, (96, 192))
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=4,
        num_attention_heads=width // 32,
        image_size=128,
        patch_size=16,
    )
    encoder = ImageEncoder(CLIPVisionModelWithProjection(vision), settings.tokens)
    return ViewModel(
        unet,
        Autoencoder(codec.requires_grad_(False), settings.latent_scale, settings.scale_condition),
        encoder,
        PoseConditioning(width, absolute=True),
        None,
        settings,
        feature_volume=volume,
    )


def _mini_volume(depth: int, width: int, features: int = 8) -> UNet2DConditionModel:
    """The network from 4x4 pixels each to `depth` cells of density, colour and `features`, and a vote on elevation."""
    from diffusers import UNet2DConditionModel

    channels = (64, 128, 192)
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=3 * 4 * 4,
        out_channels=depth * (4 + features) + 1,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=tuple(c // 32 for c in channels),  # diffusers takes this as the number of heads
    )


def _mini_unet(given: int, latent: int, width: int, channels: tuple[int, int]) -> UNet2DConditionModel:
    """The denoising network: `given` channels to `latent`, tokens of `width`, `channels` at each resolution.

    The volume says where things are, so that only the lower resolution attends to anything.
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=given,
        out_channels=latent,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=tuple(c // 32 for c in channels),  # diffusers takes this as the number of heads
        class_embed_type="projection",
        projection_class_embeddings_input_dim=7,
    )
