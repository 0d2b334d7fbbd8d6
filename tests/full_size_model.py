"""The model of the released shape, 860M parameters in its UNet, filled by the goldens' rule: 5 GB and no file."""

import functools

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPVisionModelWithProjection

from deterministic import manifest, weight
from zero123.models.autoencoder import Autoencoder
from zero123.models.image_encoder import ImageEncoder
from zero123.models.pose_conditioning import PoseConditioning
from zero123.models.view_model import ViewModel
from zero123.models.view_settings import ViewModelSettings
from zero123.models.weights import StoredTensor, build_part, from_original
from zero123.models.weights.names import PREFIXES


def released_model(dtype=torch.float32):
    """A `ViewModel` built by the loader of released weights; each tensor is made when the loader asks for it."""
    made = functools.lru_cache(maxsize=4)(weight)  # query, key and value lie in one matrix
    parts = from_original(
        {
            key: StoredTensor(torch.Size(shape), torch.float32, functools.partial(made, key, shape))
            for key, shape in manifest("manifest.json").items()
            if key.startswith(tuple(PREFIXES.values()))
        }
    )
    unet = build_part(UNet2DConditionModel, parts.unet, "unet", dtype=dtype)
    vae = build_part(AutoencoderKL, parts.vae, "vae", dtype=dtype)
    vision = build_part(CLIPVisionModelWithProjection, parts.image_encoder, "image_encoder", dtype=dtype)
    pose = PoseConditioning()
    pose.projection = build_part(torch.nn.Linear, parts.pose_conditioning, "pose_conditioning", dtype=dtype)
    settings = ViewModelSettings()
    autoencoder = Autoencoder(vae, settings.latent_scale, settings.scale_condition)
    model = ViewModel(unet, autoencoder, ImageEncoder(vision, settings.tokens), pose, None, settings)
    return model.eval().requires_grad_(False)
