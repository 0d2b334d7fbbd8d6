"""The smallest `ViewModel` of the kind of `mini`: 32x32 pictures, 8x8 latents of 8 channels, random weights."""

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123.data.view_cache import ViewCache
from zero123.models.autoencoder import Autoencoder
from zero123.models.draft import Draft
from zero123.models.feature_volume import FeatureVolume
from zero123.models.image_encoder import ImageEncoder
from zero123.models.patch_codec import PatchCodec
from zero123.models.place_reader import PlaceReader
from zero123.models.pose_conditioning import PoseConditioning
from zero123.models.view_model import ViewModel
from zero123.models.view_settings import ViewModelSettings

SIZE, LATENT, WIDTH = 32, 8, 16


def blobs(count, size=SIZE, seed=0):
    """Smooth coloured blobs on white, (count, 3, size, size) in [0, 1]: pictures with something to learn."""
    generator = torch.Generator().manual_seed(seed)
    places = (torch.arange(size) + 0.5) / size
    middle = 0.35 + 0.3 * torch.rand(count, 2, generator=generator)
    distance = (places[None, :, None] - middle[:, :1, None]) ** 2 + (places[None, None] - middle[:, 1:, None]) ** 2
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    waves = 0.5 + 0.5 * torch.sin(places * 20)[None, None, :, None] * torch.cos(places * 15)
    inside = torch.sigmoid((0.07 - distance) * 100)[:, None]
    return inside * colour * waves + (1 - inside)


def tiny_codec():
    """A fitted codec, 4x4 patches to 8 channels."""
    codec = PatchCodec(patch=4, latent_channels=LATENT)
    codec.fit(blobs(16) * 2 - 1)
    return codec.requires_grad_(False)


def tiny_volume_network(side=16, depth=6, features=3):
    """A network that makes the cells of a volume of 2 x 2 pixels a cell."""
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=12,
        out_channels=depth * (4 + features),
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    )


def tiny_view_model(seed=0, volume=True):
    """A model with every part that `mini` has, or all but the volume; the same weights for the same seed."""
    torch.manual_seed(seed)
    settings = ViewModelSettings(
        image_size=SIZE,
        prediction="velocity",
        tokens="grid",
        rays=True,
        volume_depth=6 if volume else 0,
        null_projected=False,
        latent_scale=1.0,
        scale_condition=True,
        foreground_fraction=0.6,
        scale=2.0,
        steps=3,
        name="tiny",
        licence="none",
    )
    behind = FeatureVolume(tiny_volume_network(), 6) if volume else None
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=2 * LATENT + 6 + (LATENT + behind.channels if behind else 0),
        out_channels=LATENT,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,  # diffusers takes this as the number of heads
        class_embed_type="projection",
        projection_class_embeddings_input_dim=7,
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=8,
    )
    return ViewModel(
        unet,
        Autoencoder(tiny_codec(), settings.latent_scale, settings.scale_condition),
        ImageEncoder(CLIPVisionModelWithProjection(vision), settings.tokens),
        PoseConditioning(WIDTH, absolute=True),
        PlaceReader(SIZE, (8, 16)),
        settings,
        feature_volume=behind,
        draft=Draft(behind.features, behind.shrink, widths=(8, 16), fine=8) if behind else None,
    ).eval()


def tiny_cache(model, objects=2, views=4, seed=0):
    """Views of objects that look different from everywhere, with the latents of `model`."""
    images = blobs(objects * views, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    azimuth, elevation, radius = torch.rand(3, objects * views, generator=generator)
    poses = torch.stack((azimuth * 6 - 3, elevation * 2 - 0.8, 1.5 + 0.7 * radius), dim=1)
    stored = (images * 255).round().to(torch.uint8)
    with torch.no_grad():
        latents = torch.stack([model.autoencoder.encode(v) for v in (stored / 255, stored.flip(-1) / 255)], dim=1)
    first = torch.arange(objects + 1) * views
    return ViewCache(stored.numpy(), latents.half().numpy(), poses.numpy(), first.numpy())
