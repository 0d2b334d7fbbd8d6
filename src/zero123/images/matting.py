"""The object cut out of its background: by its alpha, by a plain background, by GrabCut, or by a matting network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zero123.images.io import PictureError, from_pillow, to_pillow

Method = Literal["auto", "alpha", "plain", "grabcut", "rembg"]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_PLAIN_SHARE = 0.9  # of the border pixels that must agree with one smooth background
_PLAIN_NOISE = 0.025  # largest deviation, in [0, 1], of a background still called plain
_WORK_SIDE = 512  # pixels, working size of GrabCut


@dataclass(frozen=True)
class Matte:
    """How a foreground was found, to be told to the person.

    Attributes:
        method: "alpha", "plain", "grabcut" or "rembg".
        coverage: share of the picture that is foreground, in [0, 1].
        cropped: whether the object touches an edge of the picture, so that part of it is likely out of sight.
    """

    method: str
    coverage: float
    cropped: bool


def foreground(image: Tensor, method: Method = "auto") -> tuple[Tensor, Matte]:
    """The object with its background made transparent. Same input, same result.

    Args:
        image: picture, (3, H, W), or (4, H, W) with straight alpha, in [0, 1].
        method: "auto" takes the picture's alpha if it says anything, else keys out a plain background, else "grabcut".
            "rembg", a network, needs the extra `zero123[matting]`; its weights are fetched on first use.

    Returns:
        (4, H, W) with straight alpha and edge colours freed of the background, and how it was made.

    Raises:
        PictureError: nothing is left as foreground, or "alpha" is asked of a picture without transparency.
        ValueError: wrong shape, or no such method.
        ImportError: "rembg" without the extra installed.
    """
    if image.ndim != 3 or image.shape[0] not in (3, 4):
        raise ValueError(f"image must be (3|4, H, W), got {tuple(image.shape)}")
    if method not in ("auto", "alpha", "plain", "grabcut", "rembg"):
        raise ValueError(f"method must be auto, alpha, plain, grabcut or rembg, got {method!r}")
    if image.shape[0] == 4 and float(image[3].max()) < 0.1:
        raise PictureError("the picture is transparent everywhere: no object is left to look at")
    if method in ("auto", "alpha") and has_meaning(image):
        return image, _matte("alpha", image)
    if method == "alpha":
        raise PictureError("the picture has no transparency to take as the object's mask")
    pixels = image[:3].permute(1, 2, 0).cpu().float().numpy()
    background = plain_background(pixels)
    used = "plain" if method == "auto" and background.share >= _PLAIN_SHARE else method
    if used == "rembg":
        rgba = _rembg(image[:3])
    elif used == "plain":
        rgba = _plain(pixels, background)
    if used in ("auto", "grabcut") or (method == "auto" and not 0.003 < float(rgba[3].mean()) < 0.97):
        rgba, used = _grabcut(pixels), "grabcut"
    if float(rgba[3].max()) < 0.5:
        raise PictureError("no object could be told from the background: give a picture with transparency")
    return rgba.to(image), _matte(used, rgba)


def has_meaning(image: Tensor) -> bool:
    """Whether a picture, (C, H, W), has an alpha that separates something: both clear and solid pixels."""
    if image.shape[0] != 4:
        return False
    alpha = image[3]
    return bool((alpha < 0.1).float().mean() > 0.005) and bool((alpha > 0.5).float().mean() > 0.001)


@dataclass(frozen=True)
class Background:
    """A smooth background seen along the border.

    Attributes:
        colour: (H, W, 3), in [0, 1].
        noise: deviation of the border pixels that agree with it.
        share: share of the border pixels that agree with it, in [0, 1].
    """

    colour: Floats
    noise: float
    share: float


def plain_background(pixels: Floats) -> Background:
    """The smooth background (quadratic in position) that most border pixels of (H, W, 3) agree on."""
    height, width = pixels.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1).astype(np.float32)
    ring = _ring(height, width, max(2, round(0.02 * min(height, width))))
    spots, colours = basis[ring], pixels[ring]
    error = np.abs(colours - np.median(colours, 0)).max(-1)
    for terms in (1, 3, 6, 6, 6):  # from one colour to a gradient, leaving out what disagrees
        kept = error <= max(2 * _PLAIN_NOISE, 3 * float(np.median(error)))
        weights = np.linalg.lstsq(spots[kept, :terms], colours[kept], rcond=None)[0]
        error = np.abs(colours - spots[:, :terms] @ weights).max(-1)
    agreeing = error < 3 * _PLAIN_NOISE
    noise = float(np.sqrt((error[agreeing] ** 2).mean())) if agreeing.any() else 1.0
    share = float(agreeing.mean()) if noise < _PLAIN_NOISE else 0.0
    return Background((basis @ weights).clip(0, 1).astype(np.float32), noise, share)


def _plain(pixels: Floats, background: Background) -> Tensor:
    """Key out a smooth background from the border inwards; GrabCut decides on holes, shadows and halos."""
    distance = np.abs(pixels - background.colour).max(-1)
    near = distance < float(np.clip(4 * background.noise, 0.015, 0.08))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near.astype(np.uint8), connectivity=4)
    outside = near & np.isin(labels, np.unique(labels[_ring(near.shape[0], near.shape[1], 1) & near]))
    # An enclosed patch is likely a hole if it looks just like the background; white parts of an object are shaded.
    exact = distance < 2 * background.noise + 1.5 / 255
    exact_share = np.bincount(labels.ravel(), exact.ravel(), count) / np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    hole = near & (exact_share > 0.6)[labels]
    guess = np.full(near.shape, cv2.GC_PR_FGD, np.uint8)
    # Compression leaves pale specks around strong edges; away from edges pale means a pale object.
    strong = (distance > 0.35).astype(np.uint8)
    guess[(distance < 0.1) & (cv2.dilate(strong, np.ones((9, 9), np.uint8)) > 0)] = cv2.GC_PR_BGD
    guess[hole] = cv2.GC_PR_BGD
    guess[strong > 0] = cv2.GC_FGD
    guess[outside] = cv2.GC_BGD
    small = _shrunk(pixels)
    kept = _cut(small, cv2.resize(guess, small.shape[1::-1], interpolation=cv2.INTER_NEAREST))
    kept = cv2.resize(kept.astype(np.float32), near.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    solid = ~outside & (kept | _shut_in(~outside & ~kept, near, outside))
    return _soft_edged(pixels, _largest_parts(solid), background.colour, band=2)


def _shut_in(removed: Mask, near: Mask, outside: Mask) -> Mask:
    """Removed patches that the object surrounds and that are hardly like the background: pale parts, not holes.

    Thin ones stay removed: compression makes a slit look unlike the background.
    """
    count, labels = cv2.connectedComponents(removed.astype(np.uint8), connectivity=8)
    likeness = np.bincount(labels.ravel(), near.ravel(), count) / np.maximum(np.bincount(labels.ravel()), 1)
    thick = cv2.erode(removed.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    shut = (likeness < 0.3) & (np.bincount(labels.ravel(), thick.ravel(), count) > 0)
    shut[labels[cv2.dilate(outside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0]] = False
    return removed & shut[labels]


def _grabcut(pixels: Floats) -> Tensor:
    """Separate object and background by their colours, from a guess out of the border's colours and the middle."""
    height, width = pixels.shape[:2]
    small = _shrunk(pixels)
    inner = _cut(small, _guess(small))[2:-2, 2:-2]  # the ring was called background; it is what it borders on
    mask = _largest_parts(_without_strips(np.pad(inner, 2, mode="edge")))
    soft = _guided(small / np.float32(255), mask.astype(np.float32), radius=4, smooth=1e-4)
    alpha = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    alpha = ((alpha - 0.15) / 0.7).clip(0, 1)
    background = _spread(pixels, cv2.erode((alpha < 0.05).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    return _soft_edged(pixels, alpha > 0.5, background, band=2, alpha=alpha)


def _shrunk(pixels: Floats) -> NDArray[np.uint8]:
    """The picture in 8 bits at the size at which GrabCut works."""
    height, width = pixels.shape[:2]
    ratio = min(1.0, _WORK_SIDE / max(height, width))
    size = max(8, round(width * ratio)), max(8, round(height * ratio))
    return cv2.resize((pixels * 255).round().astype(np.uint8), size, interpolation=cv2.INTER_AREA)


def _cut(small: NDArray[np.uint8], guess: NDArray[np.uint8]) -> Mask:
    """GrabCut (Rother et al., 2004) from a guess; (H, W), true on the object."""
    if not np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or not np.isin(guess, (cv2.GC_BGD, cv2.GC_PR_BGD)).any():
        return np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))
    cv2.setRNGSeed(0)
    guess = guess.copy()
    cv2.grabCut(small, guess, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    return np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _guess(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """GrabCut's start: the outermost ring is background, and so probably is what has the ring's colours."""
    height, width = small.shape[:2]
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    ring = _ring(height, width, max(2, round(0.03 * min(height, width))))
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    _, _, centres = cv2.kmeans(lab[ring], 5, None, stop, 2, cv2.KMEANS_PP_CENTERS)
    distance = np.sqrt(((lab[:, :, None] - centres) ** 2).sum(-1)).min(-1)
    typical = float(np.quantile(distance[ring], 0.9))
    off_centre = np.hypot(np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width))
    likely = (distance > np.maximum(typical, 8) * (0.6 + 0.9 * off_centre**2)) | (off_centre < 0.15)
    guess = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[_ring(height, width, 2)] = cv2.GC_BGD
    return guess


def _rembg(image: Tensor) -> Tensor:
    """Cut out with the network of the package rembg."""
    try:
        import rembg
    except ImportError as error:
        raise ImportError('matting with rembg needs an extra: pip install "zero123[matting]"') from error
    cut: Any = rembg.remove(to_pillow(image), post_process_mask=False)
    alpha = from_pillow(cut.convert("RGBA"))[3:]
    return torch.cat((image.cpu().float(), alpha))


def _soft_edged(pixels: Floats, solid: Mask, background: Floats, band: int, alpha: Floats | None = None) -> Tensor:
    """RGBA with fractional alpha in a band about the mask's edge, and the background taken out of its colours.

    There pixel = a F + (1 - a) B is solved for a with F the nearest colour well inside and B the background.
    """
    kernel = np.ones((2 * band + 1, 2 * band + 1), np.uint8)
    core = cv2.erode(solid.astype(np.uint8), kernel, borderValue=1) > 0
    core |= solid & ~(cv2.dilate(core.astype(np.uint8), np.ones((4 * band + 1,) * 2, np.uint8)) > 0)  # thin parts
    edge = (cv2.dilate(solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~core
    inner = _spread(pixels, core)
    contrast = inner - background
    power = (contrast**2).sum(-1)
    solved = ((pixels - background) * contrast).sum(-1) / np.maximum(power, 1e-6)
    solved = np.where(power > 0.01, solved.clip(0, 1), solid)  # where F is like B the mask decides
    if alpha is not None:
        solved = alpha
    result = np.where(edge, solved, core).astype(np.float32)
    freed = (pixels - (1 - result[..., None]) * background) / np.maximum(result[..., None], 0.1)
    colour = np.where((edge & (result < 1))[..., None], 0.5 * freed.clip(0, 1) + 0.5 * inner, pixels)
    return torch.from_numpy(np.concatenate([colour, result[..., None]], -1).transpose(2, 0, 1).astype(np.float32))


def _spread(pixels: Floats, known: Mask) -> Floats:
    """Each pixel's colour replaced by that of the nearest known pixel; (H, W, 3)."""
    if not known.any():
        return pixels
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.float32)
    colours[labels[known]] = pixels[known]
    return colours[labels]


def _largest_parts(mask: Mask) -> Mask:
    """The mask with parts under a twentieth of the largest one dropped and pinholes closed."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    area = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    area[0] = 0
    mask = (area >= 0.05 * area.max())[labels] & mask
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    pinholes = stats[:, cv2.CC_STAT_AREA] < 2e-4 * mask.size
    pinholes[0] = False
    return mask | pinholes[labels]


def _without_strips(mask: Mask) -> Mask:
    """The mask without thin strips that run out of the picture: table edges and skirting boards, not the object."""
    width = 2 * round(0.02 * min(mask.shape)) + 1
    thick = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((width, width), np.uint8)) > 0
    thin = mask & ~thick
    _, labels = cv2.connectedComponents(thin.astype(np.uint8), connectivity=4)
    return mask & ~(thin & np.isin(labels, np.unique(labels[_ring(mask.shape[0], mask.shape[1], 1) & thin])))


def _guided(guide: Floats, mask: Floats, radius: int, smooth: float) -> Floats:
    """The guided filter of He et al., 2010 (grey guide): the mask's edge drawn to the picture's."""
    grey = guide.mean(-1, dtype=np.float32)

    def mean(values: Floats) -> Floats:
        return cv2.boxFilter(values, -1, (2 * radius + 1, 2 * radius + 1))

    grey_mean, mask_mean = mean(grey), mean(mask)
    slope = (mean(grey * mask) - grey_mean * mask_mean) / (mean(grey * grey) - grey_mean**2 + smooth)
    return mean(slope) * grey + mean(mask_mean - slope * grey_mean)


def _ring(height: int, width: int, thickness: int) -> Mask:
    ring = np.ones((height, width), bool)
    ring[thickness:-thickness, thickness:-thickness] = False
    return ring


def _matte(method: str, rgba: Tensor) -> Matte:
    alpha = rgba[3]
    edge = torch.cat((alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
    return Matte(method, float(alpha.mean()), bool((edge > 0.5).float().mean() > 0.01))
