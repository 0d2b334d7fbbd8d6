"""How near a view is to the truth, picture by picture: PSNR, SSIM and silhouette IoU, each variant by its name."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

_WHITE = 0.97
"""A pixel counts as object where some channel is darker than this on a white background."""

SsimWindow = Literal["uniform", "gaussian"]


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal to noise ratio, decibels, (B,), of pictures (B, 3, H, W) in [0, 1].

    One error per picture, over pixels and channels, then the logarithm; a mean over pictures is a mean of decibels, as
    all published tables have it. Without `mask` ("psnr", on white) it is what Zero-1-to-3's successors print (Free3D by
    scikit-image, SyncDreamer in floats, EscherNet by OpenCV after rounding to 8 bits, which takes off at most 0.01 dB
    below 30 dB): much of it is the share of white. With the true silhouette ("psnr_foreground") it is about the object
    alone, on this background; no published table prints it.

    Args:
        image: the pictures to judge.
        truth: what they should be.
        mask: pixels that count, (B, 1, H, W) bool; None for all.
    """
    error = (image - truth).square().mean(1, keepdim=True)
    weight = torch.ones_like(error) if mask is None else mask.to(error)
    mean = (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1)
    return -10 * torch.log10(mean.clamp(min=1e-10))


def ssim(image: Tensor, truth: Tensor, window: SsimWindow = "uniform") -> Tensor:
    """Structural similarity, (B,), by scikit-image, of pictures (B, 3, H, W) in [0, 1]; 11 pixels or more a side.

    Wang et al., 2004, "Image quality assessment: from error visibility to structural similarity". Both variants leave
    out the 5 pixels at the edge, whose windows are cut off, and average over channels.

    Args:
        image: the pictures to judge.
        truth: what they should be.
        window: "uniform" ("ssim"): an 11x11 box with sample covariance, scikit-image's default but for the size; used
            by Free3D. "gaussian" ("ssim_gaussian"): sigma 1.5, 11 taps, the paper's own; what torchmetrics computes,
            used by SyncDreamer and Stable Virtual Camera. It is the higher one, by up to 0.06 a picture.

    Raises:
        ValueError: another window.
    """
    from skimage.metrics import structural_similarity

    if window not in ("uniform", "gaussian"):
        raise ValueError(f"window must be 'uniform' or 'gaussian', got {window!r}")
    options: dict[str, object] = {"win_size": 11}
    if window == "gaussian":
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(image.numpy(), truth.numpy(), strict=True)
    values = [structural_similarity(a, b, channel_axis=0, data_range=1.0, **options) for a, b in pairs]
    return torch.tensor(values)


def silhouette(image: Tensor) -> Tensor:
    """Where the object is in pictures on white, (B, 1, H, W) bool, of (B, 3, H, W) in [0, 1]."""
    return image.amin(1, keepdim=True) < _WHITE


def silhouette_iou(image: Tensor, mask: Tensor) -> Tensor:
    """Overlap of the picture's silhouette and the true one (B, 1, H, W) bool: intersection over union, (B,).

    The picture's is found by `silhouette`, so white parts of an object count as background: a perfect view of a white
    object scores below 1.
    """
    found = silhouette(image)
    union = (found | mask).flatten(1).sum(1)
    return torch.where(union > 0, (found & mask).flatten(1).sum(1) / union.clamp(min=1), 1.0)


def all_metrics(image: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Every metric that needs no network, each (B,), higher is better.

    Args:
        image: pictures on white to judge, (B, 3, H, W) in [0, 1].
        truth: what they should be.
        mask: where the object truly is, (B, 1, H, W) bool.
    """
    return {
        "psnr": psnr(image, truth),
        "psnr_foreground": psnr(image, truth, mask),
        "ssim": ssim(image, truth),
        "ssim_gaussian": ssim(image, truth, "gaussian"),
        "iou": silhouette_iou(image, mask),
    }


def over_samples(values: Tensor, samples: int, higher_is_better: bool = True) -> tuple[Tensor, Tensor]:
    """Scores of several samples of each view, as mean-of-k and as best-of-k; never print one as the other.

    Best-of-k picks with the truth in hand, by this very metric, so it flatters every method that varies; published
    Zero-1-to-3 style tables are mean-of-k or one sample. Which one a paper means is often not said.

    Args:
        values: scores of V * K pictures, samples of one view side by side, (V * K,).
        samples: K.
        higher_is_better: False for distances (LPIPS, Chamfer).

    Returns:
        Mean and best over the samples, each (V,).

    Raises:
        ValueError: the values are not `samples` for each view.
    """
    if samples < 1 or values.ndim != 1 or not len(values) or len(values) % samples:
        raise ValueError(f"values must be {samples} for each view, got shape {tuple(values.shape)}")
    each = values.reshape(-1, samples)
    return each.mean(1), each.amax(1) if higher_is_better else each.amin(1)
