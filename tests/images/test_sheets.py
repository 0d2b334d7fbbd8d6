"""Sheets keep every picture where it belongs; videos have the frames, size and speed asked for."""

import cv2
import pytest
import torch
from PIL import Image

from zero123.images.io import PictureError
from zero123.images.sheets import contact_sheet, save_video


def test_pictures_stand_in_reading_order():
    images = torch.linspace(0.1, 0.9, 5)[:, None, None, None].expand(5, 3, 20, 30)
    sheet = contact_sheet(images, columns=3, gap=2)
    assert sheet.shape == (3, 2 * 24, 3 * 34)
    for index in range(5):
        row, column = divmod(index, 3)
        cell = sheet[:, row * 24 + 2 : row * 24 + 22, column * 34 + 2 : column * 34 + 32]
        torch.testing.assert_close(cell, images[index])
    assert sheet[:, 24:, 68:].eq(1).all()


def test_labels_are_drawn_below_and_leave_the_pictures_alone():
    images = torch.full((2, 3, 64, 64), 0.5)
    plain, labelled = (
        contact_sheet(images, 2),
        contact_sheet(images, 2, ["30°", "a very long label indeed, far too long"]),
    )
    assert labelled.shape[1] > plain.shape[1]
    torch.testing.assert_close(labelled[:, :68], plain[:, :68])
    assert labelled[:, 68:].min() < 0.5


def frames(height=48, width=64):
    return torch.rand(7, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(7, 3, height, width)


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_mp4_holds_the_frames(tmp_path, size):
    save_video(tmp_path / "a.mp4", frames(*size), fps=10)
    reader = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert reader.get(cv2.CAP_PROP_FPS) == 10
    assert int(reader.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") in (b"avc1", b"h264")
    shown = [torch.from_numpy(reader.read()[1]) for _ in range(7)]
    assert not reader.read()[0]
    reader.release()
    assert shown[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    means = torch.stack([frame.float().mean((0, 1)).flip(0) / 255 for frame in shown])
    torch.testing.assert_close(means, frames()[:, :, 0, 0], atol=0.03, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("form", ["webp", "gif"])
def test_animations_hold_the_frames_and_loop(tmp_path, form):
    save_video(tmp_path / f"a.{form}", frames(), fps=10)
    with Image.open(tmp_path / f"a.{form}") as picture:
        assert picture.n_frames == 7 and picture.size == (64, 48) and picture.info["loop"] == 0
        picture.load()
        assert picture.info["duration"] == 100


def test_bad_input_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(PictureError, match=r"\.mp4, \.webp or \.gif"):
        save_video(tmp_path / "a.avi", frames())
    with pytest.raises(ValueError, match="fps"):
        save_video(tmp_path / "a.gif", frames(), fps=0)
    with pytest.raises(ValueError, match="frames must be"):
        save_video(tmp_path / "a.gif", frames()[0])
    with pytest.raises(ValueError, match="labels must be"):
        contact_sheet(frames(), 3, ["one"])
    with pytest.raises(ValueError, match="columns"):
        contact_sheet(frames(), 0)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write into the folder"):
        save_video(tmp_path / "file" / "a.mp4", frames())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
