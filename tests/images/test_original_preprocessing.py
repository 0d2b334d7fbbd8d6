"""What the original makes of a picture before its networks see it: on its page, and in its training data."""

import PIL
import pytest
import torch

from deterministic import agree, golden, rgba_picture
from zero123.images.alpha import composite
from zero123.images.framing import ORIGINAL, ORIGINAL_STRETCH, frame, original_training_view

WHITE = torch.ones(3)
PAGE = {"pre_A": (300, 400, False), "pre_B": (700, 500, True), "pre_C": (120, 90, False)}
LEVEL = 1 / 255 + 1e-6
# Pillow before 13 rounds to 8 bits between the two passes of Lanczos: at a hard rim that ringing is cut off twice.
RIM, ROUNDED = (LEVEL, 0.03) if int(PIL.__version__.split(".")[0]) >= 13 else (10 * LEVEL, 0.06)


def picture(name):
    """The RGBA input of a golden run, (4, H, W) in [0, 1]; that it is the very one, its sums say."""
    levels = rgba_picture(name, *PAGE[name])
    stored = golden("preprocess")
    assert levels[:3].sum() == stored[f"{name}_rgb_in_sum"] and levels[3].sum() == stored[f"{name}_alpha_in_sum"]
    return (levels / 255).float()


@pytest.mark.parametrize("name", PAGE)
def test_an_object_cut_out_and_centred_is_the_originals_within_one_level(name):
    ours = composite(frame(picture(name), ORIGINAL), WHITE)
    theirs = golden("preprocess")[f"{name}_auto_u8"].permute(2, 0, 1) / 255
    agree("preprocess", f"cut out and centred, {name}", ours, theirs, RIM)
    assert (ours * 255).round().ne((theirs * 255).round()).float().mean() < ROUNDED


@pytest.mark.parametrize("name", PAGE)
def test_a_picture_stretched_over_the_square_is_the_originals_within_one_level(name):
    ours = composite(frame(picture(name), ORIGINAL_STRETCH), WHITE)[:, ::2, ::2]
    theirs = golden("preprocess")[f"{name}_noauto_f16sub"].permute(2, 0, 1)
    agree("preprocess", f"stretched, {name}", ours, theirs, LEVEL)


@pytest.mark.parametrize(
    ("name", "hard", "key"), [("ds_0", False, "processed_sub"), ("ds_2", True, "processed_hard_sub")]
)
def test_a_training_view_is_the_originals_to_the_bit(name, hard, key):
    rgba = (rgba_picture(name, 512, 512, hard) / 255).float()
    ours = original_training_view(rgba)[:, ::3, ::3] * 2 - 1
    agree("dataset", f"training view, {name}", ours, golden("dataset")[key].permute(2, 0, 1), 1e-6)


def test_a_training_view_before_its_resize_is_the_originals_to_the_bit():
    rgba = (rgba_picture("ds_0", 512, 512, False) / 255).float()
    ours = original_training_view(rgba, 512)[:, ::4, ::4] * 255
    agree("dataset", "8-bit levels, ds_0", ours, golden("dataset")["load_im_u8_sub"].permute(2, 0, 1), 1e-3)


def test_the_edges_of_training_views_are_hard():
    rgba = torch.rand(4, 16, 32, generator=torch.Generator().manual_seed(0))
    rgba[3, :, :16] = 0
    view = original_training_view(rgba, 16)
    assert view.shape == (3, 16, 32)
    assert bool((view[:, :, :16] == 1).all())
    torch.testing.assert_close(view[:, :, 16:], rgba[:3, :, 16:], atol=0.5 / 255 + 1e-6, rtol=0)


def test_a_training_view_needs_alpha():
    with pytest.raises(ValueError, match=r"rgba must be \(4, H, W\), got \(3, 8, 8\)"):
        original_training_view(torch.zeros(3, 8, 8))
