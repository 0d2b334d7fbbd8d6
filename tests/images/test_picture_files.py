"""Pictures come in as they look, go out whole, and every bad one is refused in one clear line."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from zero123.files import atomic_path, writable_folder
from zero123.images import io
from zero123.images.io import PictureError, load, save


def smooth(channels=3, height=40, width=56):
    """A smooth colourful picture, so that lossy formats stay close; (C, H, W)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = [x, y, 1 - x * y, 0.25 + 0.5 * (x + y) / 2]
    return torch.stack(planes[:channels])


def levels(channels=3):
    """The same, exactly on 8-bit levels."""
    return (smooth(channels) * 255).round() / 255


def pillow(channels=3):
    array = (levels(channels) * 255).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(array.squeeze())


@pytest.mark.parametrize("name", ["a.png", "a.webp", "deep/er/a.PNG"])
@pytest.mark.parametrize("channels", [3, 4])
def test_lossless_files_give_back_the_picture(tmp_path, name, channels):
    save(tmp_path / name, levels(channels))
    torch.testing.assert_close(load(tmp_path / name), levels(channels))


def test_jpeg_gives_back_the_picture_nearly(tmp_path):
    save(tmp_path / "a.jpg", levels())
    assert (load(tmp_path / "a.jpg") - levels()).abs().max() < 0.02


def test_a_mask_is_saved_as_grey(tmp_path):
    save(tmp_path / "mask.png", levels(1))
    torch.testing.assert_close(load(tmp_path / "mask.png"), levels(1).expand(3, -1, -1))


def test_values_out_of_range_are_clamped_and_nan_is_refused(tmp_path):
    save(tmp_path / "a.png", torch.full((3, 20, 20), 1.7))
    assert load(tmp_path / "a.png").eq(1).all()
    with pytest.raises(ValueError, match="finite"):
        save(tmp_path / "b.png", torch.full((3, 20, 20), float("nan")))
    with pytest.raises(ValueError, match="image must be"):
        save(tmp_path / "b.png", torch.zeros(2, 20, 20))
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
def test_every_exif_rotation_is_undone(tmp_path, orientation, form):
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    turn |= {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
    turn |= {8: Image.Transpose.ROTATE_270}
    stored = pillow().transpose(turn[orientation]) if orientation > 1 else pillow()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"a.{form}", exif=exif, quality=95)
    assert (load(tmp_path / f"a.{form}") - levels()).abs().mean() < 0.01
    assert load(tmp_path / f"a.{form}", max_side=28).shape == (3, 20, 28)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bit_grey_is_rotated_as_pillow_rotates(tmp_path, orientation):
    picture = Image.fromarray(np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored)).astype(np.float32) / 65535
    np.testing.assert_allclose(load(tmp_path / "a.png")[0].numpy(), expected, atol=1e-6)


def test_sixteen_bit_grey_keeps_its_full_range(tmp_path):
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(values).save(tmp_path / "a.png")
    torch.testing.assert_close(load(tmp_path / "a.png"), torch.from_numpy(values / 65535).float().expand(3, -1, -1))
    assert load(tmp_path / "a.png", max_side=16).shape == (3, 16, 16)


def test_sixteen_bit_colour_is_scaled(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (20, 24, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 24, 20, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    expected = torch.from_numpy((values / 65535).astype(np.float32)).permute(2, 0, 1)
    assert (load(tmp_path / "a.png") - expected).abs().max() <= 1 / 255


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr"])
@pytest.mark.parametrize("form", ["png", "jpg"])
def test_other_colour_modes_become_rgb(tmp_path, mode, form):
    if (mode, form) in {("CMYK", "png"), ("YCbCr", "png"), ("1", "jpg")}:
        pytest.skip("the format has no such mode")
    picture = pillow().convert(mode)
    picture.save(tmp_path / f"a.{form}", quality=95)
    expected = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) / 255
    loaded = load(tmp_path / f"a.{form}")
    assert loaded.shape == expected.shape and (loaded - expected).abs().mean() < 0.01


def test_grey_with_alpha_and_palette_with_transparency_keep_it(tmp_path):
    rgba = pillow(4)
    rgba.convert("LA").save(tmp_path / "la.png")
    torch.testing.assert_close(load(tmp_path / "la.png")[3], levels(4)[3])
    palette = pillow().quantize(16)
    palette.save(tmp_path / "p.png", transparency=3)
    clear = torch.from_numpy(np.array(palette) == 3)
    assert clear.any()
    torch.testing.assert_close(load(tmp_path / "p.png")[3], (~clear).float())
    palette.save(tmp_path / "bytes.png", transparency=bytes(range(0, 256, 16)))
    assert len(load(tmp_path / "bytes.png")[3].unique()) > 8
    palette.save(tmp_path / "opaque.png")
    assert load(tmp_path / "opaque.png").shape[0] == 3


def test_a_transparent_colour_of_rgb_grey_and_sixteen_bit_is_clear(tmp_path):
    rgb = Image.new("RGB", (20, 20), (9, 9, 9))
    rgb.putpixel((3, 4), (200, 10, 10))
    rgb.save(tmp_path / "rgb.png", transparency=(9, 9, 9))
    rgb.convert("L").save(tmp_path / "l.png", transparency=9)
    deep = Image.fromarray(np.where(np.eye(20, k=3) > 0, 60000, 7).astype(np.uint16))
    deep.save(tmp_path / "deep.png", transparency=7)
    assert load(tmp_path / "rgb.png")[3].nonzero().tolist() == [[4, 3]]
    assert load(tmp_path / "l.png")[3].nonzero().tolist() == [[4, 3]]
    assert load(tmp_path / "deep.png")[3].sum() == 17


@pytest.mark.parametrize("form", ["png", "webp", "gif"])
def test_the_first_frame_of_an_animation_is_taken(tmp_path, form):
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    first.save(tmp_path / f"a.{form}", save_all=True, append_images=[second])
    red, _, blue = load(tmp_path / f"a.{form}")[:3].mean((1, 2))
    assert red > 0.95 and blue < 0.05


def test_an_embedded_colour_profile_is_applied(tmp_path):
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    pillow().save(tmp_path / "unusable.png", icc_profile=swapped.tobytes())
    torch.testing.assert_close(load(tmp_path / "unusable.png"), levels())
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    pillow(4).save(tmp_path / "srgb.png", icc_profile=srgb.tobytes())
    torch.testing.assert_close(load(tmp_path / "srgb.png"), levels(4))


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_large_pictures_are_shrunk_on_load(tmp_path, form):
    save(tmp_path / f"a.{form}", torch.nn.functional.interpolate(smooth()[None], (400, 560))[0])
    small = load(tmp_path / f"a.{form}", max_side=56)
    assert small.shape == (3, 40, 56)
    assert (small - smooth()).abs().mean() < 0.02


def bad_file(folder, kind):
    path = folder / "bad.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is not a picture")
    elif kind == "empty":
        path.touch()
    elif kind == "cut jpeg":
        path = folder / "bad.jpg"
        save(path, torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(0)))
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "cut png":
        save(path, torch.rand(3, 200, 200, generator=torch.Generator().manual_seed(0)))
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "1x1":
        Image.new("RGB", (1, 1)).save(path)
    elif kind in ("bomb", "middling bomb"):
        side = 30_000 if kind == "bomb" else 11_000
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunk = b"IHDR" + header
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + b"\0\0\0\0IDAT"
        )
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such picture"),
        ("folder", "is a folder"),
        ("text", "is not a picture"),
        ("empty", "is not a picture"),
        ("cut jpeg", "damaged or cut short"),
        ("cut png", "damaged or cut short"),
        ("1x1", "too small: 1x1"),
        ("bomb", "over 100 million"),
        ("middling bomb", "11000x11000 pixels, over 100 million"),
    ],
)
def test_bad_pictures_are_refused_in_one_line(tmp_path, kind, message):
    with pytest.raises(PictureError, match=message) as caught:
        load(bad_file(tmp_path, kind))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_the_size_limit_is_checked_before_decoding(tmp_path, monkeypatch):
    save(tmp_path / "a.png", levels())
    monkeypatch.setattr(io, "MAX_PIXELS", 1000)
    monkeypatch.setattr(io, "_decoded", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PictureError, match="shrink it first"):
        load(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.tiff", "a", "a.exe"])
def test_unknown_endings_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(PictureError, match="written as"):
        save(tmp_path / name, levels())
    assert not list(tmp_path.iterdir())


def test_transparency_in_a_jpeg_is_refused(tmp_path):
    with pytest.raises(PictureError, match="no transparency"):
        save(tmp_path / "a.jpg", levels(4))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "model.glb"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target) as temporary:
        assert temporary.suffix == ".glb" and temporary.parent == tmp_path
        temporary.write_text("new, but cut sho")
        raise RuntimeError("half way")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write into the folder .*file") as caught:
        save(tmp_path / "file" / "a.png", levels())
    assert "\n" not in str(caught.value)
    with pytest.raises(OSError, match="cannot write into the folder"):
        writable_folder(tmp_path / "file" / "deeper")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OSError, match="is a folder"):
        save(tmp_path / "b.png", levels())
