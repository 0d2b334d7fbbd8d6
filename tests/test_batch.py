"""Batches of pictures: what is made, skipped, made again, refused and told; here without processes."""

import dataclasses
import errno
import json
import os
import sys

import pytest
import torch
from filelock import FileLock

from tiny_model import tiny_view_model
from zero123 import cli, jobs
from zero123.batch import one, results
from zero123.batch import run as room
from zero123.batch.one import Order, make
from zero123.batch.pictures import Picture, pictures_of
from zero123.batch.run import make_all
from zero123.batch.settings import BatchSettings, ModelChoice
from zero123.diffusion.sampling import SamplingSettings
from zero123.images import io
from zero123.jobs import Halt, Workers
from zero123.models.pretrained import save_model
from zero123.pipeline import NovelViews
from zero123.reconstruction import from_photo
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_photo import PhotoSettings
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings

FAST = BatchSettings((0.0, 90.0), sampling=SamplingSettings(steps=2, scale=1.0))
SEEDED = SamplingSettings(steps=2, samples=2, seed=7)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_view_model(), folder)
    return ModelChoice(str(folder), device="cpu", dtype="float32")


def ball(path, hue=0.5):
    place = (torch.arange(48) + 0.5) / 24 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 24).clamp(0, 1)
    flat = torch.full((48, 48), 0.2)
    io.save(path, torch.stack((0.5 + 0.4 * place[:, None].expand(48, 48), flat, flat + 0.6 * hue, alpha)))
    return path


@pytest.fixture
def photos(tmp_path):
    for index in range(3):
        ball(tmp_path / "photos" / f"p{index}.png", index / 3)
    return tmp_path / "photos"


@pytest.fixture
def begun(monkeypatch):
    """Jobs without processes; a list of the pictures that were begun."""
    names = []

    def run(task, items, workers=None, cluster=None):
        for item in items:
            names.append(item.name)
            try:
                yield jobs.Outcome(item, task(item), None, 1)
            except Halt:
                raise
            except Exception as error:  # noqa: BLE001
                yield jobs.Outcome(item, None, str(error), 1)

    monkeypatch.setattr(jobs, "run", run)
    return names


def told(photos, out, model, settings=FAST, **others):
    """State and reason of every picture."""
    found = make_all(pictures_of([photos], out), out, settings, model, **others)
    return {result.picture.name: (result.state, result.reason) for result in found}


MADE, THERE = ("made", None), ("there", None)


# Names


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_pictures_are_named_by_their_way_and_only_those_alike_by_more(tmp_path):
    photos = touch(tmp_path / "in", "a.png", "b.JPG", "b.webp", "s/a.png", "s-c.png", "s/c.png", "t.txt", ".x.png")
    found = {p.name: p.path.relative_to(photos).as_posix() for p in pictures_of([photos], tmp_path / "out")}
    marked = [name for name in found if name.startswith("in-s-c-png-")]
    assert {found.pop(name) for name in marked} == {"s-c.png", "s/c.png"} and len(marked) == 2
    assert found == {"a": "a.png", "b-JPG": "b.JPG", "b-webp": "b.webp", "s-a": "s/a.png"}


def test_pictures_of_several_folders_are_told_apart_by_them(tmp_path):
    one, two = touch(tmp_path / "one", "a.png", "b.png", "c.png"), touch(tmp_path / "two", "a.png", "B.png")
    names = [p.name for p in pictures_of([one, two], tmp_path / "out")]
    assert names == ["one-a-png", "one-b-png", "c", "two-B-png", "two-a-png"]


def test_results_are_no_pictures_and_one_given_twice_is_one(tmp_path):
    photos = touch(tmp_path / "in", "a.png", "out/a/views/000.png", "manifest.jsonl.png")
    found = pictures_of([photos, photos / "a.png"], photos / "out")
    assert [p.name for p in found] == ["a", "manifest.jsonl-png"]


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["in/a.txt"], ["in"], "no pictures found"),
        (["in/a.png"], ["in/b.png"], "no such picture or folder: "),
        (["x/a.png", "y/a.png"], ["x/a.png", "y/a.png"], "two results would be named a-png"),
        (["out/a/input.png"], ["out/a"], "is where the results go"),
    ],
)
def test_pictures_that_cannot_be_a_batch_are_refused(tmp_path, names, given, message):
    touch(tmp_path, *names)
    with pytest.raises(ValueError, match=message) as error:
        pictures_of([tmp_path / place for place in given], tmp_path / "out")
    assert "\n" not in str(error.value)


# What is made


def test_a_batch_makes_what_views_makes_and_says_of_what(tmp_path, photos, tiny, begun):
    out = tmp_path / "out"
    settings = dataclasses.replace(FAST, sampling=SamplingSettings(steps=2, scale=1.5, seed=7, samples=2))
    assert told(photos, out, tiny, settings) == {"p0": MADE, "p1": MADE, "p2": MADE}
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["p0", "p1", "p2"]
    views = tiny.load()
    for line in lines:
        folder = out / line["name"]
        assert line == json.loads((folder / "manifest.json").read_text())
        photo = views.prepare(line["picture"]["file"])
        for index, image in enumerate(views(photo, settings.moves(), settings.sampling)):
            io.save(tmp_path / "expected.png", image)
            made = folder / "views" / f"00{index // 2}-{index % 2}.png"
            assert made.read_bytes() == (tmp_path / "expected.png").read_bytes()
        assert line["picture"]["sha256"] == results.digest(photos / f"{line['name']}.png")
        assert line["seed"] == 7 and line["settings"]["scale"] == 1.5 and line["model"]["name"] == "tiny"
        assert line["model"]["weights"] == results.digest(tmp_path.__class__(tiny.name))
        estimated = float(views.source(photo).elevation[0].rad2deg())
        assert line["elevation_deg"] == pytest.approx(estimated, abs=1e-3) and line["elevation_is"] == "estimated"
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert set(line["outputs"]) == there - {"manifest.json"}
        assert there >= {"input.png", "mask.png", "sheet.png", "views/000-0.png", "views/001-1.png"}
        assert line["seconds"]["all"] > 0 and line["worker"].endswith(f":{os.getpid()}")


def test_an_orbit_is_a_video_too_and_a_known_elevation_is_used(tmp_path, photos, tiny, begun):
    settings = dataclasses.replace(FAST, azimuth_deg=(0.0, 120.0, 240.0), fps=6.0, photo_elevation_deg=30.0)
    assert told(photos / "p0.png", tmp_path / "out", tiny, settings) == {"p0": MADE}
    values = results.read(tmp_path / "out" / "p0")
    assert (values["elevation_deg"], values["elevation_is"]) == (30, "given")
    assert (tmp_path / "out" / "p0" / "orbit.mp4").read_bytes()[4:8] == b"ftyp"
    told(photos / "p0.png", tmp_path / "other", tiny, dataclasses.replace(settings, photo_elevation_deg=-30.0))
    first, second = ((tmp_path / o / "p0" / "views" / "001.png").read_bytes() for o in ("out", "other"))
    assert first != second


def test_meshes_come_of_a_reconstruction_of_each(tmp_path, photos, tiny, begun, monkeypatch):
    small = ReconstructionSettings(
        hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(6,), rays=512), picture_size=32
    )
    original, asked = from_photo.from_views, []

    def from_views(images, camera, settings, progress, *others):
        asked.append((settings.faces, settings.texture, settings.even_light))
        same = images[:1].expand_as(images)  # what the model draws is no object
        return original(same, camera, dataclasses.replace(small, faces=settings.faces), progress, *others)

    monkeypatch.setattr(from_photo, "from_views", from_views)
    settings = dataclasses.replace(FAST, azimuth_deg=(), faces=500, texture=64, even_light=0.5, rounds=2)
    assert told(photos / "p1.png", tmp_path / "out", tiny, settings) == {"p1": MADE}
    assert [one[0] for one in asked] == [1000, 500]  # of the first round's views there is but a draft
    assert asked[-1] == (500, 64, 0.5)
    assert (tmp_path / "out" / "p1" / "model.glb").read_bytes()[:4] == b"glTF"
    values = results.read(tmp_path / "out" / "p1")
    assert values["outputs"] == ["input.png", "mask.png", "model.glb", "reconstruction-views.png"]
    assert values["seconds"]["mesh"] > 0


def test_a_worker_loads_its_model_once(tmp_path, photos, tiny, begun, monkeypatch):
    loads = []
    original = NovelViews.from_pretrained
    monkeypatch.setattr(NovelViews, "from_pretrained", lambda *a, **k: loads.append(a) or original(*a, **k))
    assert set(told(photos, tmp_path / "out", tiny).values()) == {MADE}
    assert len(loads) == 1


# Going on


def test_what_is_there_is_skipped_and_nothing_is_started_for_it(tmp_path, photos, tiny, begun, monkeypatch):
    out = tmp_path / "out"
    told(photos, out, tiny)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "manifest.jsonl").unlink()
    monkeypatch.undo()
    monkeypatch.setattr("multiprocessing.get_context", lambda _: pytest.fail("started processes"))
    assert told(photos, out, tiny) == {"p0": THERE, "p1": THERE, "p2": THERE}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 3


def test_a_batch_stopped_in_the_middle_goes_on_with_what_is_missing(tmp_path, photos, tiny, begun):
    out = tmp_path / "out"
    stopped = make_all(pictures_of([photos], out), out, FAST, tiny)
    assert next(stopped).picture.name == "p0"
    stopped.close()
    (line,) = (out / "manifest.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "p0"
    assert told(photos, out, tiny) == {"p0": THERE, "p1": MADE, "p2": MADE} and begun == ["p0", "p1", "p2"]
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 3


def test_only_what_is_missing_or_of_a_changed_picture_is_made_again(tmp_path, photos, tiny, begun):
    out = tmp_path / "out"
    told(photos, out, tiny)
    before = (out / "p1" / "views" / "000.png").read_bytes()
    (out / "p0" / "views" / "001.png").unlink()
    ball(photos / "p1.png", 0.9)
    os.utime(photos / "p2.png")  # touched, not changed
    begun.clear()
    assert told(photos, out, tiny) == {"p2": THERE, "p0": MADE, "p1": MADE} and begun == ["p0", "p1"]
    assert (out / "p0" / "views" / "001.png").is_file()
    assert (out / "p1" / "views" / "000.png").read_bytes() != before
    assert not [path for path in out.iterdir() if path.is_dir() and path.name.startswith(".")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": SamplingSettings(steps=3, scale=1.0)}, "steps: 2, now 3"),
        ({"sampling": SamplingSettings(steps=2, scale=1.0, seed=5)}, "seed: 0, now 5"),
        ({"background": "plain"}, 'background: "auto", now "plain"'),
        ({"faces": 500}, "faces: null, now 500"),
        ({"azimuth_deg": (0.0, 80.0)}, r"azimuth_deg: \[0.0, 90.0\], now \[0.0, 80.0\]"),
    ],
)
def test_changed_settings_are_refused_by_name(tmp_path, photos, tiny, begun, change, message):
    told(photos / "p0.png", tmp_path / "out", tiny)
    with pytest.raises(ValueError, match=rf"begun with other settings \({message}\); use those, or another folder"):
        told(photos, tmp_path / "out", tiny, dataclasses.replace(FAST, **change))
    assert begun == ["p0"]


def test_a_model_trained_on_under_the_same_name_is_another(tmp_path, photos, begun):
    choice = ModelChoice(str(tmp_path / "model"), device="cpu", dtype="float32")
    save_model(tiny_view_model(0), tmp_path / "model")
    told(photos, tmp_path / "out", choice)
    save_model(tiny_view_model(1), tmp_path / "model")
    with pytest.raises(ValueError, match=r"begun with other settings \(model.weights: "):
        told(photos, tmp_path / "out", choice)
    with pytest.raises(ValueError, match=r'model.dtype: "float32", now "bfloat16"'):
        save_model(tiny_view_model(0), tmp_path / "model")
        told(photos, tmp_path / "out", dataclasses.replace(choice, dtype="bfloat16"))


def test_folders_of_other_origin_are_never_replaced(tmp_path, photos, tiny, begun):
    out = tmp_path / "out"
    touch(out, "p0/mine.txt")
    told(photos / "p1.png", out, tiny)
    other = ball(tmp_path / "elsewhere" / "p1.png", 0.1)
    states = told(other, out, tiny)
    assert states["p1"][0] == "failed" and "holds the results of another picture" in states["p1"][1]
    states = told(photos, out, tiny)
    assert states["p0"][0] == "failed" and "is in the way" in states["p0"][1]
    assert (states["p1"], states["p2"]) == (THERE, MADE) and (out / "p0" / "mine.txt").exists()
    (out / "p0").rename(tmp_path / "mine")
    assert told(photos, out, tiny)["p0"] == MADE and not (out / "failures.jsonl").exists()


def test_the_same_picture_from_another_place_is_there(tmp_path, photos, tiny, begun):
    told(photos, tmp_path / "out", tiny)
    photos.rename(tmp_path / "moved")
    assert set(told(tmp_path / "moved", tmp_path / "out", tiny).values()) == {THERE}


# What goes wrong


def test_bad_pictures_fail_alone_with_reasons_and_are_tried_again_on_request(tmp_path, photos, tiny, begun):
    out = tmp_path / "out"
    io.save(photos / "clear.png", torch.zeros(4, 32, 32))
    (photos / "torn.png").write_bytes((photos / "p0.png").read_bytes()[:200])
    (photos / "word.jpg").write_text("no picture")
    states = told(photos, out, tiny)
    assert [states[name] for name in ("p0", "p1", "p2")] == [MADE] * 3
    entries = {e["picture"]: e for e in map(json.loads, (out / "failures.jsonl").read_text().splitlines())}
    assert entries.keys() == {"clear", "torn", "word"} and all(e["attempts"] == 1 for e in entries.values())
    assert "transparent everywhere" in entries["clear"]["reason"]
    assert "damaged or cut short" in entries["torn"]["reason"] and "is not a picture" in entries["word"]["reason"]
    assert not [path for path in out.iterdir() if path.is_dir() and path.name not in ("p0", "p1", "p2")]
    begun.clear()
    assert "--retry-failed" in told(photos, out, tiny)["torn"][1] and begun == []
    ball(photos / "torn.png")
    assert told(photos, out, tiny, retry_failed=True)["torn"] == MADE and begun == ["clear", "torn", "word"]
    entries = {e["picture"]: e for e in map(json.loads, (out / "failures.jsonl").read_text().splitlines())}
    assert {name: entry["attempts"] for name, entry in entries.items()} == {"clear": 2, "word": 2}


def test_a_full_disk_ends_the_batch_and_leaves_nothing_half(tmp_path, photos, tiny, begun, monkeypatch):
    def full(path, image, quality=95):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(one.io, "save", full)
    with pytest.raises(OSError, match="No space left on device; what is done is kept"):
        told(photos, tmp_path / "out", tiny)
    assert begun == ["p0"] and not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_a_disk_that_is_full_for_the_lists_too_is_told_in_the_same_line(tmp_path, photos, tiny, begun, monkeypatch):
    def full(out, values):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results, "note", full)
    with pytest.raises(OSError, match="No space left on device; what is done is kept"):
        told(photos, tmp_path / "out", tiny)
    assert set(told(photos / "p0.png", tmp_path / "out", tiny).values()) == {THERE}  # and the folder is free again


def test_a_model_that_does_not_load_ends_the_batch_and_binds_nobody(tmp_path, photos, tiny, begun):
    (tmp_path / "lora.safetensors").write_bytes(b"no")
    with pytest.raises(Halt, match="the model cannot be loaded: "):
        told(photos, tmp_path / "out", dataclasses.replace(tiny, lora=tmp_path / "lora.safetensors"))
    assert set(told(photos, tmp_path / "out", tiny).values()) == {MADE}


def test_two_batches_in_one_folder_are_refused(tmp_path, photos, tiny):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".batch.lock"), pytest.raises(OSError, match="another run writes into"):
        told(photos, tmp_path / "out", tiny)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"version": "0.0.0"}, "install the same"), ({"identity": {"name": "x"}}, "is not the one where the batch")],
)
def test_another_machine_with_another_model_or_version_is_told(tmp_path, photos, tiny, change, message):
    order = Order(tmp_path / "out", FAST, tiny, tiny.identity(), foreign=True)
    (tmp_path / "out").mkdir()
    assert make(Picture("p0", photos / "p0.png"), order)["name"] == "p0"
    with pytest.raises(Halt, match=message):
        make(Picture("p1", photos / "p1.png"), dataclasses.replace(order, **change))


def test_a_picture_that_a_lost_worker_has_finished_is_taken_as_it_is(tmp_path, photos, tiny, monkeypatch):
    order = Order(tmp_path / "out", FAST, tiny, tiny.identity())
    (tmp_path / "out").mkdir()
    picture = Picture("p0", photos / "p0.png")
    first = make(picture, order)
    monkeypatch.setattr(one, "draw", lambda *_: pytest.fail("drawn again"))
    assert json.dumps(make(picture, order)) == json.dumps(first, default=list)


def test_a_worker_whose_gpu_no_longer_answers_ends_so_that_another_begins(tmp_path, photos, tiny, monkeypatch):
    class Broken:
        device = torch.device("cuda")

    def zeros(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert not one._gpu_is_lost(tiny.load())
    monkeypatch.setattr(torch, "zeros", zeros)
    assert one._gpu_is_lost(Broken)


# Who works


def test_one_works_per_gpu_and_on_processors_as_many_as_have_memory(tiny):
    assert room._fitted(Workers(), dataclasses.replace(tiny, device="cuda"), None) == Workers(gpus=True)
    assert room._fitted(Workers(), dataclasses.replace(tiny, device="cuda:1"), None) == Workers(1)
    assert room._fitted(Workers(), dataclasses.replace(tiny, device="mps"), None) == Workers(1)
    assert room._fitted(Workers(3), tiny, "auto").memory == tiny.memory() > 1e9
    assert room._fitted(Workers(), dataclasses.replace(tiny, max_memory=5.0), None).memory == 5_000_000_000
    with pytest.raises(ValueError, match="must be cpu or cuda on a cluster"):
        room._fitted(Workers(), dataclasses.replace(tiny, device="cuda:1"), "auto")


def test_a_clusters_number_format_is_one_that_all_machines_have():
    assert ModelChoice().settled(0).dtype == "float32" and ModelChoice().settled(0).device == "cpu"
    assert ModelChoice().settled(4).dtype == "float16" and ModelChoice().settled(4).device == "cuda"
    assert ModelChoice(device="cpu", dtype="bfloat16").settled(4).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"azimuth_deg": ()}, "neither views nor meshes"),
        ({"azimuth_deg": (0.0, 1.0, 2.0), "elevation_deg": (0.0, 1.0)}, "one value for all views or one for each"),
        ({"fps": 5.0, "sampling": SamplingSettings(samples=2)}, "one picture of each view"),
        ({"photo_elevation_deg": 91.0}, "from -90 to 90"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"refine": -1}, "steps must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        BatchSettings(**bad)


def test_a_mesh_is_made_with_all_that_is_asked_of_it():
    wanted = BatchSettings(faces=700, texture=0, even_light=0.3, rounds=3, refine=9, seconds=40.0, sampling=SEEDED)
    own = wanted.mesh()
    assert (own.rounds, own.seconds, own.unseen.steps, own.unseen.seed) == (3, 40.0, 9, 7)
    shape = own.reconstruction
    assert (shape.faces, shape.texture, shape.even_light) == (700, 0, 0.3)
    usual = PhotoSettings()
    assert dataclasses.replace(shape, faces=30_000, texture=None, even_light=0.0) == usual.reconstruction
    assert own.sampling == dataclasses.replace(SEEDED, samples=1)  # samples are of views that are kept
    assert BatchSettings(faces=30_000).mesh() == usual


# The verb


@pytest.fixture
def zero123(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zero123", "batch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out.splitlines(), written.err

    return run


def test_the_verb_says_what_was_made_what_was_there_and_what_failed(zero123, photos, tiny, begun):
    (photos / "word.jpg").write_text("no picture")
    rest = ("photos", "-o", "out", "--model", tiny.name, "--device", "cpu", "--dtype", "float32", "--steps", 1)
    code, out, err = zero123(*rest, "--views", 3, "--scale", 1)
    assert (code, err) == (0, "")
    assert out[0].startswith("failed: word: ") and "is not a picture" in out[0]
    assert out[-1] == "3 pictures done, 0 were there, 1 failed (out/failures.jsonl says why); see out/manifest.jsonl"
    assert sorted(p.name for p in (photos.parent / "out" / "p1" / "views").iterdir()) == [
        f"00{k}.png" for k in range(3)
    ]
    code, out, _ = zero123(*rest, "--views", 3, "--scale", 1)
    assert code == 0 and "0 pictures done, 3 were there, 1 failed" in out[-1]
    code, _, err = zero123(*rest, "--orbit", 3, "--scale", 1)
    assert code == 2 and "begun with other settings (fps: null, now 12.0)" in err


def test_the_verb_asks_for_meshes_as_reconstruct_does(zero123, photos, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "make_all", lambda found, out, settings, *_, **__: asked.append(settings) or [])
    mesh = ("--faces", 500, "--texture", 0, "--even-light", 0.5, "--rounds", 2, "--refine", 60, "--time", "2m")
    code, _, err = zero123("photos", "-o", "out", "--mesh", *mesh)
    assert (code, err) == (0, "")
    (made,) = asked
    assert (made.faces, made.texture, made.even_light) == (500, 0, 0.5)
    assert (made.rounds, made.refine, made.seconds) == (2, 60, 120.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos", "-o", "out", "--rounds", 2), "--rounds goes with --mesh"),
        (("photos", "-o", "out", "--even-light", 0.5), "--even-light goes with --mesh"),
        (("photos", "-o", "out", "--texture", 0), "--texture goes with --mesh"),
        (("photos", "-o", "out", "--mesh", "--time", "3s"), "time must be at least 10s"),
        (("photos", "-o", "out", "--mesh", "--refine", 60, "--offload"), "--offload goes without --refine"),
        (("photos", "-o", "out", "--views", 3, "--orbit", 4), "give only one of"),
        (("photos", "-o", "out", "--views", 0), "neither views nor meshes"),
        (("nowhere", "-o", "out"), "no such picture or folder: nowhere"),
        (("photos", "-o", "out", "--model", "nobody"), "nobody: no such model"),
        (("photos", "-o", "out", "--device", "tpu"), "cannot be used on this machine"),
        (("photos", "-o", "out", "--dtype", "int4"), "dtype must be one of"),
        (("photos", "-o", "photos/p0.png/x"), "cannot write into the folder"),
        (("photos", "-o", "out", "--time-limit", 0), "more than 0 seconds"),
    ],
)
def test_mistakes_are_one_line(zero123, photos, arguments, message):
    code, _, err = zero123(*arguments)
    assert code == 2 and len(err.splitlines()) == 1 and message in err
    assert not (photos.parent / "out").exists()


def test_a_batch_of_which_nothing_came_is_an_error(zero123, tiny, begun, tmp_path):
    touch(tmp_path, "photos/x.png")
    code, out, err = zero123("photos", "-o", "out", "--model", tiny.name)
    assert code == 2 and "nothing could be made" in err and out[0].startswith("failed: x: ")
