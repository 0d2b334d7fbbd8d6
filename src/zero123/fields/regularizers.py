"""Losses on a field or its renders that need no picture: emptiness, smoothness, clear opacity, normals that can be."""

from __future__ import annotations

import torch
from torch import Tensor


def emptiness(weights: Tensor, scale: float = 10.0) -> Tensor:
    """Reward for weights that are concentrated: mean of -w log(1 + scale w) / 2, at most 0.

    Equation 14 of SJC (Wang et al., 2022, arXiv:2212.00774) as its code has it: the sign is negative, so that
    minimising it rewards few strong samples.

    Args:
        weights: compositing weights of all samples, any shape.
        scale: how soon a weight counts as strong.
    """
    return (-0.5 * weights * torch.log1p(scale * weights)).mean()


def emptiness_growth(step: int, steps: int, multiplier: float = 20.0) -> float:
    """Factor by which SJC's emptiness reward has grown at a step: 1 at the start, 1 + multiplier at the end."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return 1 + multiplier * step / steps


def depth_smoothness(depth: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring depths, averaged over both directions; depth is (..., H, W)."""
    across = (depth[..., :, :-1] - depth[..., :, 1:]).abs().mean()
    down = (depth[..., :-1, :] - depth[..., 1:, :]).abs().mean()
    return (across + down) / 2


def total_variation(grid: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring voxels, averaged over the three directions; grid is (1, C, Z, Y, X)."""
    differences = [
        (grid.narrow(k, 1, grid.shape[k] - 1) - grid.narrow(k, 0, grid.shape[k] - 1)).abs() for k in (2, 3, 4)
    ]
    return torch.stack([d.mean() for d in differences]).mean()


def opacity_entropy(opacity: Tensor, margin: float = 1e-3) -> Tensor:
    """Mean binary entropy of opacities, nats: 0 when every ray is either blocked or free.

    Opacities are kept `margin` away from 0 and 1, where the gradient would be infinite.
    """
    share = opacity.clamp(margin, 1 - margin)
    return -(share * torch.log(share) + (1 - share) * torch.log1p(-share)).mean()


def sparsity(opacity: Tensor, softness: float = 0.01) -> Tensor:
    """Mean of sqrt(opacity^2 + softness): pulls down what is faint as hard as what is solid.

    The opacity penalty of DreamFusion, appendix A.2 of Poole et al., 2022 (arXiv:2209.14988).
    """
    return (opacity**2 + softness).sqrt().mean()


def orientation(weights: Tensor, normals: Tensor, directions: Tensor, rays: int) -> Tensor:
    """Mean over rays of the sum of weight * max(0, normal . direction)^2: what is seen cannot face away.

    Equation 11 of Verbin et al., 2022, "Ref-NeRF" (arXiv:2112.03907); as in DreamFusion, section 3.2, weights get no
    gradient from it, else it would hide the surface instead of turning it.

    Args:
        weights: of samples, (P,).
        normals: unit vectors out of the object, (P, 3).
        directions: unit vectors along their rays, away from the camera, (P, 3).
        rays: number of rays the samples are from.
    """
    away = (normals * directions).sum(-1).clamp(min=0)
    return (weights.detach() * away**2).sum() / max(rays, 1)
