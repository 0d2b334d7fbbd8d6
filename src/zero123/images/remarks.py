"""What to know of a picture before an object is made of it: cut off, several things, thin, clear, from the pole."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from zero123.images.alpha import bounding_box

_THIN = 0.02
"""Half the width of what counts as thin, share of the object's longest side."""
_SHARE = 0.5
"""Share of the object that must be thin for it to be said."""
_CLEAR = 0.25
"""Share of the object's inside that must let light through."""
_ANOTHER = 0.1
"""Size, beside the largest, from which a part that stands alone may be another object."""


def remarks(rgba: Tensor, cropped: bool) -> list[str]:
    """One line for each thing about an object that makes meshes of it bad, most important first; often none.

    Args:
        rgba: the object, straight alpha, (4, H, W), in [0, 1].
        cropped: whether it touched the edge of the picture it was cut from.

    Raises:
        PictureError: there is no object.
    """
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

    box = bounding_box(rgba[3], 0.1)
    alpha = np.pad(rgba[3, box.top : box.bottom, box.left : box.right].cpu().numpy(), 1)
    side, object_ = max(alpha.shape), alpha > 0.1
    found = []
    if cropped:
        found.append("the object touches the picture's edge; what lies beyond it will be guessed badly")
    number = label(alpha > 0.5, np.ones((3, 3)))[0]
    sizes = np.bincount(number.ravel())[1:]
    if (several := int((sizes >= _ANOTHER * sizes.max()).sum()) if len(sizes) else 0) > 1:
        found.append(f"{several} separate things are seen and made into one object; crop the picture to the one wanted")
    away = distance_transform_edt(object_)
    if float(away.max()) < _THIN * side or float((_opened(object_, _THIN * side)).sum()) < (1 - _SHARE) * object_.sum():
        found.append("most of the object is thin; thin parts may come out thick, in pieces or not at all")
    inside = distance_transform_edt(binary_fill_holes(object_)) > max(2.0, 0.03 * side)
    if inside.any() and float(((alpha > 0.1) & (alpha < 0.9))[inside].mean()) > _CLEAR:
        found.append("the object lets light through; it is made solid, in the colours seen through it")
    return found


def remark_on_height(elevation_deg: float) -> str | None:
    """What should be known of a picture taken from such a height, degrees; None for nothing."""
    if abs(elevation_deg) < 75:
        return None
    side = "above" if elevation_deg > 0 else "below"
    return f"the picture is taken from straight {side}; all sides of the object are guessed"


def _opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """What of a mask discs of this radius, pixels, can cover without leaving it."""
    from scipy.ndimage import distance_transform_edt

    core = distance_transform_edt(mask) > radius
    return np.asarray(distance_transform_edt(~core) <= radius) if core.any() else np.zeros_like(mask)
