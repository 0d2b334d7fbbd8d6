"""Pictures in every form: the same picture whatever it came as, and one clear line for what is none."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zero123.images.forms import as_picture, moving_html, png
from zero123.images.io import MAX_SIDE, PictureError, load

LEVELS = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
IMAGE = torch.from_numpy(LEVELS.transpose(2, 0, 1).copy()) / 255


@pytest.mark.parametrize("channels", [3, 4])
def test_every_form_of_a_picture_is_the_same_picture(tmp_path, channels):
    array, tensor = LEVELS[..., :channels], IMAGE[:channels]
    Image.fromarray(array).save(tmp_path / "picture.png")
    expected = load(tmp_path / "picture.png")
    forms = [
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        Image.open(tmp_path / "picture.png"),
        Image.fromarray(array),
        array,
        array.astype(np.float64) / 255,
        array.astype(np.uint16) * 257,
        tensor,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
        tensor.double().requires_grad_(),
    ]
    for form in forms:
        torch.testing.assert_close(as_picture(form).float(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_pillow_images_of_every_mode_are_read_and_stay_as_they_are(mode):
    image = Image.fromarray(LEVELS).convert("RGB") if mode not in ("PA", "LA", "RGBA") else Image.fromarray(LEVELS)
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    before = image.copy()
    assert as_picture(image).shape[1:] == (24, 32)
    assert image.mode == before.mode and image.tobytes() == before.tobytes()


def test_a_phones_rotation_is_applied_to_opened_images_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LEVELS[..., :3]).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert torch.equal(as_picture(image), load(tmp_path / "turned.png"))
    assert load(tmp_path / "turned.png").shape == (3, 32, 24)


def test_grey_becomes_colour():
    for grey in (LEVELS[..., 0], LEVELS[..., :1], IMAGE[:1], LEVELS[..., 0] > 99):
        picture = as_picture(grey)
        assert picture.shape == (3, 24, 32) and torch.equal(picture[0], picture[2])


def test_large_pictures_are_shrunk_as_files_are():
    assert as_picture(torch.zeros(3, 40, 2 * MAX_SIDE)).shape == (3, 20, MAX_SIDE)
    assert as_picture(Image.new("RGB", (2 * MAX_SIDE, 40))).shape == (3, 20, MAX_SIDE)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (None, "got NoneType"),
        (b"bytes", "got bytes"),
        (np.zeros((3, 24, 32)), r"\(H, W, 1\|3\|4\), got \(3, 24, 32\)"),
        (np.zeros((24, 32, 3), np.int64), "int64"),
        (np.zeros((24, 32, 3), complex), "complex"),
        (torch.zeros(24, 32, 3), r"\(1\|3\|4, H, W\)"),
        (torch.zeros(2, 3, 24, 32), r"\(1\|3\|4, H, W\)"),
        (torch.zeros(3, 24, 32, dtype=torch.int32), "int32"),
        (torch.full((3, 24, 32), 255.0), "from 0 to 1, got 255 to 255"),
        (torch.full((3, 24, 32), float("nan")), "from 0 to 1, got nan"),
        (-torch.ones(3, 24, 32), "from 0 to 1"),
        (torch.zeros(3, 8, 32), "too small: 32x8"),
        (Image.new("RGB", (32, 8)), "too small: 32x8"),
        (Image.new("1", (10001, 10001)), "over 100 million"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, said):
    with pytest.raises(PictureError, match=said) as error:
        as_picture(picture)
    assert "\n" not in str(error.value)


def test_a_damaged_image_that_is_open_is_refused(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1500])
    with Image.open(tmp_path / "half.png") as image, pytest.raises(PictureError, match="damaged"):
        as_picture(image)


@given(st.integers(1, 5), st.sampled_from([1, 3, 4]))
@settings(max_examples=10, deadline=None)
def test_png_bytes_are_the_picture(seed, channels):
    levels = np.random.default_rng(seed).integers(0, 256, (16, 20, channels), dtype=np.uint8)
    back = np.asarray(Image.open(BytesIO(png(torch.from_numpy(levels.transpose(2, 0, 1) / np.float32(255))))))
    assert np.array_equal(back.reshape(levels.shape), levels)


def test_moving_html_holds_all_frames_and_no_script():
    frames = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 20, 30)
    html = moving_html(frames, 10, "words")
    assert "<script" not in html and "http" not in html and 'alt="words"' in html
    with Image.open(BytesIO(base64.b64decode(re.search('base64,([^"]+)', html).group(1)))) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (5, (30, 20), 0)
        image.seek(4)
        assert image.convert("RGB").getpixel((5, 5))[0] > 240
