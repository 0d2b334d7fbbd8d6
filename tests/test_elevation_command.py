"""`zero123 elevation` says what it says for every kind of model; a mistake is one line, code 2, and leaves nothing."""

import json

import pytest
import torch

from command import model_at
from deterministic import tiny_state
from tiny_model import blobs
from zero123.images import io
from zero123.models.pretrained import load_model, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The tiny copy of a released model, which reads no places; saved at 64 pixels."""
    folder = tmp_path_factory.mktemp("released")
    torch.save({"state_dict": tiny_state()}, folder / "tiny.ckpt")
    from dataclasses import replace

    loaded = load_model(folder / "tiny.ckpt")
    loaded.settings = replace(loaded.settings, image_size=64)
    save_model(loaded, folder / "tiny")
    return folder / "tiny"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures; the current folder is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    for index, image in enumerate(blobs(2, 48)):
        alpha = ((1 - image).amax(0, keepdim=True) * 4).clamp(0, 1)
        io.save(f"blob{index}.png", torch.cat((image, alpha)))
    return ["blob0.png", "blob1.png"]


@pytest.fixture
def zero123(monkeypatch, capsys):
    from zero123 import cli

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["zero123", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


def contents(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_every_picture_gets_a_line_and_nothing_is_written(zero123, photos, model, tmp_path):
    code, out, err = zero123("elevation", *photos, "--model", model)
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == photos
    assert all("° above the horizon, ± " in line and line.endswith("read by the model") for line in out.splitlines())
    assert contents(tmp_path) == photos


def test_json_is_one_object_a_line_and_nothing_else(zero123, photos, model):
    code, out, err = zero123("elevation", *photos, "--model", model, "--json")
    assert (code, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["picture"] for one in told] == photos
    for one in told:
        low, high = one["interval_deg"]
        assert -90 <= low <= one["elevation_deg"] <= high <= 90
        assert one["method"] == "reader" and one["standard_deviation_deg"] > 0 and one["spread_over_copies_deg"] >= 0


def test_a_model_that_reads_no_places_finds_it_by_views_and_shows_every_candidate(zero123, photos, released, tmp_path):
    arguments = ("--model", released, "--steps", 1, "--sweep", "-o", "sheets")
    code, out, err = zero123("elevation", photos[0], *arguments, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["method"] == "views" and told["sheet"] == "sheets/blob0/elevation.png"
    assert [c["elevation_deg"] for c in told["candidates"]][::100] == [-80]
    assert told["views"]["elevation_deg"] == told["elevation_deg"]
    assert contents(tmp_path) == [*photos, "sheets", "sheets/blob0", "sheets/blob0/elevation.png"]
    rows = -(-(len(told["candidates"]) + 1) // 7)
    assert io.load("sheets/blob0/elevation.png").shape == (3, rows * (128 + 8 + 12), 7 * (128 + 8))
    assert zero123("elevation", photos[0], *arguments, "--json")[1] == out  # same seed, same answer


def test_a_sweep_beside_a_reading_tells_both(zero123, photos, model):
    code, out, err = zero123("elevation", photos[0], "--model", model, "--sweep", "--steps", 1)
    assert (code, err) == (0, "")
    assert "read by the model; views say " in out and "candidates in out/blob0/elevation.png" in out
    _, out, _ = zero123("elevation", photos[0], "--model", model, "--method", "views", "--steps", 1)
    assert out.rstrip().endswith("by views around it")


MISTAKES = {
    ("--method", "guess"): "method must be one of auto, reader, views, got 'guess'",
    ("--steps", "0"): "steps must be in 1 to 1000",
    ("--background", "magic"): "magic",
    ("nowhere.png",): "no such picture",
    ("empty.png",): "empty.png: ",
    ("other/blob0.png", "--sweep"): "have one name, and would share out/blob0/elevation.png",
    ("--sweep", "-o", "blob0.png/out"): "cannot write into the folder blob0.png/out",
    ("--model", "nobody"): "nobody: no such model",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes_are_told_before_any_answer(zero123, photos, model, tmp_path, arguments):
    io.save("empty.png", torch.zeros(4, 32, 32))
    io.save("other/blob0.png", io.load(photos[0]))
    before = contents(tmp_path)
    given = () if "--model" in arguments else ("--model", model)
    code, out, err = zero123("elevation", *photos, *arguments, *given)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and MISTAKES[arguments] in err
    assert contents(tmp_path) == before


def test_a_reader_that_is_not_there_is_refused(zero123, photos, released):
    code, out, err = zero123("elevation", *photos, "--method", "reader", "--model", released)
    assert (code, out) == (2, "")
    assert "has no reader of places: choose --method views" in err


def test_no_picture_at_all_is_refused(zero123):
    code, out, err = zero123("elevation")
    assert (code, out) == (2, "")
    assert "PICTURES" in err.upper()
