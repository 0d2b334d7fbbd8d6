"""How near a view is to the truth."""

from __future__ import annotations

import torch
from torch import Tensor

_WHITE = 0.97
"""A pixel counts as object where some channel is darker than this on a white background."""


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal to noise ratio, decibels, (B,), of pictures (B, 3, H, W) in [0, 1].

    Args:
        image: the pictures to judge.
        truth: what they should be.
        mask: pixels that count, (B, 1, H, W) bool; None for all.
    """
    error = (image - truth).square().mean(1, keepdim=True)
    weight = torch.ones_like(error) if mask is None else mask.to(error)
    mean = (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)
    return -10 * torch.log10(mean.clamp(min=1e-10))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity, (B,), by scikit-image with an 11x11 box window, of pictures (B, 3, H, W) in [0, 1].

    Wang et al., 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    from skimage.metrics import structural_similarity

    pairs = zip(image.numpy(), truth.numpy(), strict=True)
    values = [structural_similarity(a, b, win_size=11, channel_axis=0, data_range=1.0) for a, b in pairs]
    return torch.tensor(values)


def silhouette(image: Tensor) -> Tensor:
    """Where the object is in pictures on white, (B, 1, H, W) bool, of (B, 3, H, W) in [0, 1]."""
    return image.amin(1, keepdim=True) < _WHITE


def silhouette_iou(image: Tensor, mask: Tensor) -> Tensor:
    """Overlap of the picture's silhouette and the true one (B, 1, H, W) bool: intersection over union, (B,)."""
    found = silhouette(image)
    union = (found | mask).flatten(1).sum(1)
    return torch.where(union > 0, (found & mask).flatten(1).sum(1) / union.clamp(min=1), 1.0)


def all_metrics(image: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Every metric, each (B,), of pictures on white (B, 3, H, W) against the truth and its mask (B, 1, H, W) bool."""
    return {
        "psnr": psnr(image, truth),
        "psnr_foreground": psnr(image, truth, mask),
        "ssim": ssim(image, truth),
        "iou": silhouette_iou(image, mask),
    }
