"""Fréchet distance between two sets of pictures, exact on features, and the two feature networks it is named by.

A figure called FID says nothing without its network: with Inception's 2048 features random photos are tens apart, with
CLIP's 512 (as Free3D has it) they are below 1, and so, most likely, is the 0.027 of the Zero-1-to-3 paper. Both names
here carry the network. Both are biased upwards for few pictures; compare only figures from equal numbers of pictures,
and under about 2,000 only within one table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from zero123.evaluation.inception import Inception
from zero123.models.image_encoder import preprocess
from zero123.models.weights import Part, WeightsError, build_part, read_component


class FeatureNet(Protocol):
    """Pictures to features."""

    name: str
    """How the distance over these features is called in tables."""

    def __call__(self, images: Tensor) -> Tensor:
        """Features, (B, D), of pictures (B, 3, H, W) in [0, 1]."""
        ...


class InceptionFeatures:
    """Features of the Inception network of 2015 that all classic FIDs use: "fid_inception".

    Comparable with pytorch-fid (the same bilinear resize to 299² without antialiasing), so with works that used it, at
    equal numbers of pictures; not with clean-fid's "clean" mode, which resizes otherwise.

    Args:
        file: weights as pytorch-fid publishes them (pt_inception-2015-12-05), as safetensors or a torch archive.
        device: where it shall run.

    Raises:
        WeightsError: the file is missing, damaged, or of another network.
    """

    name = "fid_inception"

    def __init__(self, file: str | Path, device: torch.device | str = "cpu") -> None:
        self.network, self.device = Inception.load(file, device), device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features, (B, 2048), on the CPU, of pictures (B, 3, H, W) in [0, 1]."""
        small = F.interpolate(images.to(self.device), (299, 299), mode="bilinear", align_corners=False)
        return self.network(small * 2 - 1).cpu()


class ClipFeatures:
    """Projected image embeddings of a CLIP vision tower: "fid_clip".

    With ViT-B/32 comparable with clean-fid's clip_vit_b_32, so with Free3D, but for rounding: it rounds to 8 bits after
    the bicubic resize, this does not.

    Args:
        folder: a transformers folder, of a `CLIPVisionModelWithProjection` or of a whole `CLIPModel`.
        device: where it shall run.

    Raises:
        WeightsError: something in the folder is missing, damaged, or no CLIP.
    """

    name = "fid_clip"

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu") -> None:
        from transformers import CLIPVisionModelWithProjection

        part = _vision_part(read_component(folder))
        self.network: Any = build_part(CLIPVisionModelWithProjection, part, "CLIP", device=device)
        self.device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features, (B, D), on the CPU, of pictures (B, 3, H, W) in [0, 1]."""
        size = self.network.config.image_size
        small = F.interpolate(images.to(self.device), (size, size), mode="bicubic", align_corners=False, antialias=True)
        return self.network(pixel_values=preprocess(small.clamp(0, 1), size)).image_embeds.cpu()


def picture_distance(images: Tensor, truths: Tensor, network: FeatureNet, batch: int = 32) -> float:
    """Fréchet distance between the features of two sets of pictures, (N, 3, H, W) and (M, 3, H, W) in [0, 1]."""
    made, true = (torch.cat([network(part) for part in pictures.split(batch)]) for pictures in (images, truths))
    return frechet_distance(made, true)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance between normal distributions fitted to two sets of features; 0 or more, float64.

    Equation 6 of Heusel et al., 2017 (arXiv:1706.08500):
    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)). With C = RᵀR, the last trace is the sum of the singular values of
    R1 R2ᵀ, since C1 C2 and (R1 R2ᵀ)(R1 R2ᵀ)ᵀ have the same eigenvalues but for zeros; so no matrix root is taken, and
    fewer pictures than features are no trouble.

    Args:
        first: features, (N, D), N at least 2.
        second: features, (M, D), M at least 2.

    Raises:
        ValueError: shapes that do not fit, too few, or features that are not finite.
    """
    for name, features in (("first", first), ("second", second)):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != first.shape[1]:
            raise ValueError(f"{name} must be (N, {first.shape[-1]}) with N over 1, got {tuple(features.shape)}")
        if not bool(features.isfinite().all()):
            raise ValueError(f"{name} must be finite")
    (mean_1, root_1), (mean_2, root_2) = (_fitted(features.double().cpu()) for features in (first, second))
    shift = (mean_1 - mean_2).square().sum()
    spread = root_1.square().sum() + root_2.square().sum() - 2 * torch.linalg.svdvals(root_1 @ root_2.T).sum()
    return max(0.0, float(shift + spread))


def _fitted(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, (D,), and R with RᵀR the sample covariance, (min(N, D), D)."""
    mean = features.mean(0)
    centred = (features - mean) / (len(features) - 1) ** 0.5
    return mean, centred if len(centred) <= centred.shape[1] else torch.linalg.qr(centred, mode="r").R


def _vision_part(part: Part) -> Part:
    """The vision tower of a whole CLIP, or what was one already."""
    config = part.config
    if isinstance(config.get("vision_config"), dict):
        config = {**config["vision_config"], "projection_dim": config.get("projection_dim", 512)}
    wanted = ("vision_model.", "visual_projection.")
    positions = "vision_model.embeddings.position_ids"  # once saved with the weights: 0, 1, 2, ...
    tensors = {k: t for k, t in part.tensors.items() if k.startswith(wanted) and k != positions}
    if not tensors:
        raise WeightsError("CLIP: the folder holds no vision_model; expected a CLIP of the transformers library")
    return Part(config, tensors)
