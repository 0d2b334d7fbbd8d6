"""The verbs as Python functions: any picture in, results that show themselves, and honest progress."""

import json
import sys
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import exact_scene_views
import numpy as np
import pytest
import torch
from PIL import Image

import zero123
from small_views import view_set
from tiny_model import SIZE, tiny_view_model
from zero123.evaluation.methods import OfFolder
from zero123.geometry.conventions import Nerfstudio
from zero123.images.io import PictureError, to_pillow
from zero123.pipeline import NovelViews
from zero123.verbs.progress import progress_shown


@pytest.fixture(scope="module")
def model():
    return NovelViews(tiny_view_model())


@pytest.fixture(scope="module")
def picture():
    """A disc of its own colours, as a Pillow image with transparency."""
    place = np.linspace(-1, 1, 40)
    levels = np.zeros((40, 40, 4), np.uint8)
    levels[..., 0], levels[..., 1] = 200, 120 + 100 * place[:, None]
    levels[..., 3] = 255 * (np.hypot(place[:, None], place) < 0.7)
    return Image.fromarray(levels)


def opened(png):
    return Image.open(BytesIO(png))


def test_views_take_any_form_and_give_any_form(model, picture, tmp_path):
    told = []
    found = zero123.views(picture, [30, 60], 10, model=model, progress=lambda *step: told.append(step))
    again = zero123.views(np.asarray(picture), [30, 60], [10, 10], model=model, progress=False)
    assert torch.equal(found.pictures, again.pictures)
    assert found.pictures.shape == (2, 3, SIZE, SIZE) and len(found) == 2
    assert found.to_numpy().shape == (2, SIZE, SIZE, 3) and found.to_numpy().dtype == np.uint8
    assert [image.size for image in found.to_pillow()] == [(SIZE, SIZE)] * 2
    assert np.array_equal(np.asarray(found[1]), found.to_numpy()[1])
    assert told[-1][0] == "views" and told[-1][1] == told[-1][2] > 0


def test_views_are_what_the_model_draws_and_their_cameras_are_where_it_moved(model, picture):
    found = zero123.views(picture, [-90.0], [20.0], 0.1, model=model, photo_elevation_deg=15, progress=False)
    source = zero123.OrbitPose.from_degrees([0.0], [15.0], [1.85])
    assert torch.equal(found.pictures, model(model.prepare(picture), found.moves, source=source))
    pose = found.camera.orbit()
    place = float(pose.azimuth[0].rad2deg()), float(pose.elevation[0].rad2deg()), float(pose.radius[0])
    assert place == pytest.approx((-90, 35, 1.95), abs=1e-3)


def test_views_show_themselves_beside_their_picture(model, picture):
    found = zero123.views(picture, [0, 90, 180], model=model, progress=False)
    sheet = opened(found._repr_png_())
    assert sheet.size[0] == 4 * (SIZE + 8)
    assert opened(found.photo._repr_png_()).mode == "RGBA"
    assert "base64" in found.moving()
    assert repr(found) == f"<3 views, 1 of each, {SIZE}x{SIZE} pixels>"
    assert repr(found.photo) == f"<photo of {SIZE} pixels, object found by alpha>"


def test_views_are_saved_with_their_cameras(model, picture, tmp_path):
    sampling = zero123.SamplingSettings(samples=2, steps=1)
    found = zero123.views(picture, [0, 90], model=model, sampling=sampling, progress=False)
    assert found.spread.shape == (2, SIZE, SIZE)
    out = found.save(tmp_path / "out")
    content = json.loads((out / "transforms.json").read_text())
    assert [frame["file_path"] for frame in content["frames"]] == [
        f"views/{view:03d}-{sample}.png" for view in range(2) for sample in range(2)
    ]
    assert all((out / frame["file_path"]).is_file() for frame in content["frames"])
    cameras = Nerfstudio.from_transforms(content).camera()
    torch.testing.assert_close(cameras.position[::2].float(), found.camera.position)


def test_the_last_model_asked_for_by_name_is_kept_and_folders_are_read_anew(monkeypatch, tmp_path):
    from zero123.verbs import models

    asked = []
    fake = SimpleNamespace(from_pretrained=lambda name: asked.append(str(name)) or SimpleNamespace())
    monkeypatch.setattr(models, "NovelViews", fake)
    models._kept.cache_clear()
    assert models.ready("some") is models.ready("some")
    assert models.ready(tmp_path) is not models.ready(tmp_path)
    models._kept.cache_clear()
    assert asked == ["some", str(tmp_path), str(tmp_path)]


def test_reconstruct_gives_a_mesh_that_turns_in_a_notebook(tmp_path):
    told = []
    truth, settings = exact_scene_views.TruthTeller(), zero123.PhotoSettings(reconstruction=exact_scene_views.QUICK)
    settings = replace(settings, elevation_deg=20.0)
    made = zero123.reconstruct(truth.photo, truth, settings, progress=lambda *step: told.append(step))
    assert {stage for stage, *_ in told} == {"views", "fit"}
    assert made.elevation_deg == pytest.approx(20, abs=1e-3)
    assert made.views.shape[0] == len(made.camera.position) == 25
    html = made._repr_html_()
    assert f"{len(made.mesh.faces)} triangles" in html and "<script" not in html
    assert opened(made._repr_png_()).size[0] > 4 * 200
    assert repr(made) == f"<mesh of {len(made.mesh.faces)} triangles, of 25 views>"
    turning = made.turning(4, 48)
    assert turning.shape == (4, 3, 48, 48) and (turning < 0.9).any(1).float().mean() > 0.05
    assert made.save(tmp_path / "m.glb").stat().st_size > 10_000
    assert len(made.to_trimesh().faces) == len(made.mesh.faces)
    assert (made.save_scene(tmp_path / "scene") / "transforms.json").is_file()


def test_evaluate_gives_tables_and_leaves_nothing_behind(model, tmp_path, monkeypatch):
    for index in range(2):
        view_set(index, 3, SIZE).save(tmp_path / "sets" / f"o{index}")
    told = []
    settings = zero123.EvaluateSettings(targets=2, sampling=zero123.SamplingSettings(steps=1, scale=1.0))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    found = zero123.evaluate(
        tmp_path / "sets", model=model, settings=settings, progress=lambda *step: told.append(step)
    )
    assert told[-1] == ("evaluating", 4, 4)
    assert "| **model** |" in found._repr_markdown_() and "copy the input" in found._repr_markdown_()
    assert found.groups[0].row("model")["psnr"].mean > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sets"]
    one = zero123.evaluate(tmp_path / "sets", tmp_path / "out", model=model, settings=settings, progress=False)
    assert repr(one.groups) == repr(found.groups)  # a fresh draft doubts all alike: a correlation that is no number
    theirs = OfFolder(tmp_path / "out" / "pictures")
    again = zero123.evaluate(tmp_path / "sets", model=theirs, settings=settings, progress=False)
    assert again.groups[0].row("model") == found.groups[0].row("model")


def test_a_protocol_whose_views_are_missing_names_one(model, tmp_path):
    (tmp_path / "sets").mkdir()
    with pytest.raises(ValueError, match=r"gso-sync16.* files are missing|sync16: .*files.* such as"):
        zero123.evaluate(tmp_path / "sets", protocol="sync16", model=model, progress=False)


def test_mistakes_are_told_before_the_model_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="azimuth_deg"):
        zero123.views("none.png", 400, model="no such model")
    with pytest.raises(ValueError, match="-90 to 90"):
        zero123.views("none.png", 40, photo_elevation_deg=120, model="no such model")
    with pytest.raises(PictureError, match="no such picture"):
        zero123.views(tmp_path / "none.png", model=NovelViews(tiny_view_model()))


def test_a_notebook_has_a_bar_that_is_gone_at_the_end(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=lambda html: shown.append(html))
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: handle)
    shell = SimpleNamespace(kernel="there")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with progress_shown(True) as told:
        told("views & more", 1, 3)
    assert 'value="1" max="3"' in shown[0] and "views &amp; more" in shown[0] and shown[-1] == ""


def test_a_log_is_no_place_for_bars(capsys):
    with progress_shown(True) as told:
        told("views", 1, 3)
    assert capsys.readouterr() == ("", "")


def test_tab_completion_offers_the_public_names():
    assert set(zero123.__all__) <= set(dir(zero123))


def test_a_picture_of_a_view_can_be_asked_about_again(model, picture):
    found = zero123.views(picture, 90, model=model, progress=False)
    assert len(zero123.views(to_pillow(found.photo.rgba), 90, model=model, progress=False)) == 1
