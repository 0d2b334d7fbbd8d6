"""What visitors hear from the page's workers when all is well, and when it is not; with a tiny model."""

import base64
import io
import os
import signal
import threading
import time
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra ui")

import gradio as gr

from command import model_at
from small_disk import files_of_at_most
from tiny_model import blobs, tiny_view_model
from zero123.images import io as images
from zero123.pipeline import NovelViews
from zero123.ui import long_tasks, tasks
from zero123.ui.desk import Desk, Limits, Session, object_front
from zero123.ui.model_list import KnownModel
from zero123.ui.settings import ViewSettings
from zero123.ui.view_tab import ViewTab

ME, OTHER = "me", "../../other"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    source = str(model_at(folder / "tiny"))
    models = {"tiny": KnownModel("tiny", source, True, "", "", "", "", 1, 1.0)}
    models["far"] = KnownModel("far", "far", False, "15 GB", "MIT", "", "", 20, 3.0)
    desk = Desk(folder / "rooms", models, Limits())
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def cut(desk, tmp_path_factory):
    return cut_out(desk, picture(tmp_path_factory.mktemp("in") / "blob.png"))


def picture(file):
    images.save(file, blobs(1, 64)[0])
    return file


def cut_out(desk, file, method="auto"):
    return desk.call(ME, tasks.cut_out, file, method, desk.first.source, desk.room(ME), seconds=60)


def asked(desk, cut, **settings):
    return desk.request(cut, ViewSettings(model="tiny", **settings))


def test_the_cut_out_is_transparent_around_the_object_and_says_how_it_was_found(cut):
    rgba = images.load(cut.file)
    assert rgba.shape[0] == 4
    assert float(rgba[3, 0, 0]) == 0
    assert float(rgba[3].max()) == 1
    assert "Found by its plain background" in cut.words
    assert -90 <= cut.elevation <= 90


def test_the_same_request_is_drawn_once_and_another_seed_is_another_picture(desk, cut):
    first = desk.draw(ME, asked(desk, cut, steps=2))
    stamp = first.pictures[0].stat().st_mtime_ns
    assert desk.draw(ME, asked(desk, cut, steps=2)) is first
    assert first.pictures[0].stat().st_mtime_ns == stamp
    other = desk.draw(ME, asked(desk, cut, steps=2, seed=5))
    assert not torch.equal(images.load(first.pictures[0]), images.load(other.pictures[0]))


def test_a_front_that_is_told_changes_what_is_drawn_and_what_it_is_told_as_is_checked(desk, cut):
    plain = images.load(desk.draw(ME, asked(desk, cut, steps=1)).pictures[0])
    told = [images.load(desk.draw(ME, asked(desk, replace(cut, front=f), steps=1)).pictures[0]) for f in (40.0, -140.0)]
    assert torch.equal(told[0], told[1])  # the plane of symmetry has two sides
    assert not torch.equal(plain, told[0])
    assert object_front(" -40 ") == -40 and object_front("  ") is None
    for wrong in ("left", "200", "nan"):
        with pytest.raises(gr.Error, match="The object's front must be a number from -180 to 180"):
            object_front(wrong)


def test_a_model_that_has_no_use_for_a_front_says_so(desk, cut):
    facing = asked(desk, replace(cut, front=40.0), steps=1)
    drafts, none = NovelViews(tiny_view_model()), NovelViews(tiny_view_model(volume=False))
    assert desk.draw(ME, facing).remark == "" == tasks.remark_on(facing, drafts)
    assert tasks.remark_on(asked(desk, cut, steps=1), none) == ""
    assert tasks.remark_on(facing, none) == f"{none.model.settings.name} has no use for the object's front"


def test_samples_come_with_the_picture_of_where_they_differ(desk, cut):
    drawn = desk.draw(ME, asked(desk, cut, steps=2, samples=3))
    assert len(drawn.pictures) == 3
    assert drawn.spread > 0
    assert images.load(drawn.guess).shape == images.load(drawn.pictures[0]).shape


def test_a_mask_by_hand_keeps_what_it_keeps(desk, cut, tmp_path):
    given = picture(tmp_path / "blob.png")
    whole = Image.new("L", (32, 32), 0)
    whole.paste(255, (0, 0, 16, 32))
    url = as_url(whole)
    made = desk.call(ME, tasks.masked, given, cut.file, url, desk.first.source, desk.room(ME), seconds=60)
    alpha = images.load(made.file)[3]
    assert float(alpha[:, :26].min()) == 1
    assert float(alpha[:, 40:].max()) == 0


def as_url(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ("", "not a small PNG"),
        ("file:///etc/passwd", "not a small PNG"),
        ("data:image/png;base64,!!!!", "not a small PNG"),
        ("data:image/png;base64," + "A" * 5_000_000, "not a small PNG"),
        (as_url(Image.new("L", (32, 32), 0)), "leaves nothing"),
    ],
    ids=["empty", "a file", "no base64", "huge", "black"],
)
def test_hostile_masks_are_refused_in_one_line(desk, cut, tmp_path, mask, told):
    given = picture(tmp_path / "blob.png")
    with pytest.raises(gr.Error, match=told):
        desk.call(ME, tasks.masked, given, cut.file, mask, desk.first.source, desk.room(ME), seconds=60)


def test_hostile_pictures_are_refused_without_folders_of_this_machine(desk, tmp_path):
    bomb, text, svg = tmp_path / "bomb.png", tmp_path / "text.png", tmp_path / "x.svg"
    Image.new("1", (30_000, 30_000)).save(bomb)
    text.write_text("no picture")
    svg.write_text("<svg onload='alert(1)'/>")
    for file, told in ((bomb, "over 100 million"), (text, "not a picture"), (svg, "not a picture")):
        with pytest.raises(gr.Error, match=told) as error:
            cut_out(desk, file)
        assert str(tmp_path) not in str(error.value)


def test_what_cannot_be_asked_for_is_refused_before_any_work(desk, cut):
    with pytest.raises(gr.Error, match="Give a picture first"):
        desk.request(None, ViewSettings(model="tiny"))
    with pytest.raises(gr.Error, match="zero123 weights get far"):
        desk.request(cut, ViewSettings(model="far"))
    for wrong in (float("nan"), "91", "high up"):
        with pytest.raises(gr.Error, match="picture's height must be a number from -90 to 90"):
            desk.request(cut, ViewSettings(model="tiny"), wrong)


def test_a_height_that_is_not_given_is_read_by_the_model_and_zero_is_a_height(desk, cut):
    heights = [desk.request(cut, ViewSettings(model="tiny"), given).photo_elevation for given in (None, "", " ", "0")]
    assert heights == [None, None, None, 0.0]


def test_a_visitors_name_is_never_a_path(desk):
    room = desk.room(OTHER)
    assert room.parent == desk.folder
    assert room != desk.room(ME)
    desk.leave(OTHER)
    assert not room.exists()


def test_the_page_outlives_its_worker(desk, cut):
    desk.draw(ME, asked(desk, cut, seed=11))
    os.kill(desk.call(ME, pid, seconds=60), signal.SIGKILL)
    with pytest.raises(gr.Error, match="died"):
        desk.call(ME, dying, seconds=60)
    assert desk.draw(ME, asked(desk, cut, seed=12)).pictures[0].is_file()


def pid(models, report):
    return os.getpid()


def dying(models, report):
    os.kill(os.getpid(), signal.SIGKILL)


def slow(models, report, folder):
    for step in range(600):
        report(step / 600, "slow")
        time.sleep(0.05)


def test_an_orbit_tells_how_far_it_is_and_comes_as_video_and_pictures(desk, cut):
    job = desk.follow(ME, long_tasks.orbit, asked(desk, cut), 6, 12.0, desk.room(ME), seconds=120)
    events = list(job)
    assert events[-1].fraction == 1
    assert images.load(events[-1].picture).shape[0] == 3
    with zipfile.ZipFile(job.result.views) as packed:
        assert packed.namelist() == [f"{index:03d}.png" for index in range(6)]
    assert job.result.video.read_bytes()[4:8] == b"ftyp"


def test_a_visitor_who_leaves_stops_their_own_work_only(desk):
    heard, ended = [], []

    def visit(name):
        try:
            for event in desk.follow(name, slow, desk.folder, seconds=30):
                heard.append((name, event))
        except gr.Error as error:
            ended.append((name, str(error.message)))

    leaving = threading.Thread(target=visit, args=("leaving",))
    leaving.start()
    wait_for(lambda: heard)
    desk.leave("somebody else")
    assert leaving.is_alive()
    desk.leave("leaving")
    leaving.join(20)
    assert ended == [("leaving", "Stopped")]


def test_a_task_over_its_limit_is_stopped_and_said_so(desk):
    with pytest.raises(gr.Error, match="longer than the limit"):
        list(desk.follow(ME, slow, desk.folder, seconds=0.3))


def wait_for(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_full_disk_is_said_so_and_nothing_half_is_left(desk, cut):
    before = sorted(desk.room(ME).iterdir())
    with pytest.raises(gr.Error, match=r"too large|No space") as error:
        desk.call(ME, on_a_full_disk, asked(desk, cut, seed=21), desk.room(ME), seconds=60)
    assert "\n" not in str(error.value)
    assert sorted(desk.room(ME).iterdir()) == before
    assert desk.draw(ME, asked(desk, cut, seed=21)).pictures[0].is_file()


def on_a_full_disk(models, report, request, folder):
    with files_of_at_most(100):
        return tasks.draw(models, report, request, folder)


def test_a_room_that_cannot_be_written_is_said_so(desk, cut, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(gr.Error, match="annot write"):
        desk.call(ME, tasks.draw, replace(asked(desk, cut), file=cut.file), blocked / "room", seconds=60)


def test_a_view_that_comes_after_a_later_wish_is_kept_but_not_shown(desk, cut, monkeypatch):
    with gr.Blocks():
        tab = ViewTab(desk)
    me = SimpleNamespace(session_hash="overlapping")
    wish = (30, 0, 0.0, "tiny", 1, 1.0, 0, "", 1, False)
    shown, _, words = tab.draw(Session(None, cut), me, *wish)
    assert shown == desk.drawings.past("overlapping")[0].file
    assert "tiny" in words
    drawn = desk.draw

    def overtaken(session, request):
        tab.first(Session(), me)  # the picture was taken away meanwhile
        return drawn(session, request)

    monkeypatch.setattr(desk, "draw", overtaken)
    assert tab.draw(Session(None, cut), me, 60, *wish[1:]) == (gr.skip(),) * 3
    assert [view.settings.azimuth for view in desk.drawings.past("overlapping")] == [60, 30]


def test_a_preview_that_comes_late_does_not_take_the_place_of_the_view_itself(desk, cut, monkeypatch):
    with gr.Blocks():
        tab = ViewTab(desk)
    me, camera, drawn, late = SimpleNamespace(session_hash="late"), (30, 0, 0.0, "tiny", 2, 1.0, 0, ""), desk.draw, []

    def previewed(session, request):
        monkeypatch.setattr(desk, "draw", drawn)
        late.append(tab.preview(Session(None, cut), *camera, True, me))
        return drawn(session, request)

    monkeypatch.setattr(desk, "draw", previewed)
    shown, _, words = tab.draw(Session(None, cut), me, *camera, 1, False)
    assert late == [(gr.skip(), gr.skip())]
    assert shown == desk.drawings.past("late")[0].file and "2 steps" in words
    there = tab.preview(Session(None, cut), 60, *camera[1:], True, me)
    assert there[0].is_file() and "preview at one step" in there[1]  # another camera is another wish
