"""View sets keep pictures to the last level and cameras to six digits; bad folders say why in one line."""

import numpy as np
import pytest
import torch

from zero123.data.view_set import ViewSet, ViewSetError
from zero123.geometry.camera import Camera
from zero123.geometry.paths import random_views


def _views(count=3, size=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 4, size, size, generator=generator).clamp(min=0.1)
    return ViewSet(images, Camera.from_orbit(random_views(count, generator), hw=(size, size)))


@pytest.fixture
def folder(tmp_path):
    _views().save(tmp_path / "a")
    return tmp_path / "a"


def test_saved_views_come_back(folder):
    views, again = _views(), ViewSet.load(folder)
    assert len(again) == 3 and float((again.images - views.images).abs().max()) <= 0.5 / 255 + 1e-6
    torch.testing.assert_close(again.camera.world_from_camera, views.camera.world_from_camera, atol=1e-6, rtol=0)
    assert again.camera.hw == (16, 16)


def test_the_layout_is_the_originals(folder):
    assert sorted(p.name for p in folder.iterdir()) == [f"{i:03d}.{e}" for i in range(3) for e in ("npy", "png")]
    matrix = np.load(folder / "001.npy")
    centre = -matrix[:, :3].T @ matrix[:, 3]
    np.testing.assert_allclose(centre, _views().camera.position[1].numpy(), atol=1e-6)
    np.testing.assert_allclose(
        matrix[:, :3] @ -centre + 0, [0, 0, -np.linalg.norm(centre)], atol=1e-6
    )  # looks along -z


def test_more_than_a_thousand_views_stay_in_order(tmp_path):
    images = torch.ones(1002, 4, 16, 16)
    camera = Camera.from_orbit(random_views(1002, torch.Generator().manual_seed(0)), hw=(16, 16))
    ViewSet(images, camera).save(tmp_path / "a")
    again = ViewSet.load(tmp_path / "a").camera.position
    torch.testing.assert_close(again, camera.position, atol=1e-6, rtol=0)


def test_saving_replaces_the_folder_and_failing_leaves_the_old_one(folder):
    _views(2).save(folder)
    assert len(ViewSet.load(folder)) == 2
    broken = ViewSet(torch.full((3, 5, 4, 4), 0.5), _views().camera)
    with pytest.raises(ValueError):
        broken.save(folder)
    assert len(ViewSet.load(folder)) == 2 and [p.name for p in folder.parent.iterdir()] == ["a"]


def test_pictures_without_alpha_are_opaque(folder):
    from PIL import Image

    for index in range(3):
        Image.new("RGB", (16, 16), (255, 0, 0)).save(folder / f"{index:03d}.png")
    assert bool((ViewSet.load(folder).images[:, 3] == 1).all())


def _write_text(path):
    path.write_text("text")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: [p.unlink() for p in f.iterdir()], "holds no views"),
        (lambda f: (f / "001.npy").unlink(), r"001\.npy: missing"),
        (lambda f: (f / "001.npy").write_text("text"), r"001\.npy: not a readable camera matrix"),
        (lambda f: (f / "001.npy").write_bytes(b""), r"001\.npy: not a readable camera matrix"),
        (lambda f: np.save(f / "001.npy", np.zeros((4, 4))), r"expected a finite 3x4 matrix, got shape \(4, 4\)"),
        (lambda f: np.save(f / "001.npy", np.full((3, 4), np.nan)), "expected a finite 3x4 matrix"),
        (lambda f: np.save(f / "001.npy", np.array([["a"] * 4] * 3)), "expected a finite 3x4 matrix"),
        (lambda f: np.save(f / "001.npy", np.array([object()])), "not a readable camera matrix"),
        (lambda f: (f / "001.png").write_text("text"), r"001\.png"),
    ],
)
def test_bad_folders_say_why_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        ViewSet.load(folder)
    assert "\n" not in str(caught.value)


def test_views_of_two_sizes_are_refused(folder):
    from PIL import Image

    Image.new("RGBA", (24, 24)).save(folder / "002.png")
    with pytest.raises(ViewSetError, match=r"002\.png: differs in size from 000\.png"):
        ViewSet.load(folder)


def test_a_missing_folder_holds_no_views(tmp_path):
    with pytest.raises(ViewSetError, match="holds no views"):
        ViewSet.load(tmp_path / "none")
