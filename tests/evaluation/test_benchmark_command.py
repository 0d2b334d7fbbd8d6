"""`zero123 evaluate`: what it writes, and one clear line with code 2 for every mistake."""

import json
import sys

import pytest
import torch

from command import model_at
from tiny_model import SIZE, blobs
from zero123 import cli
from zero123.data.view_set import ViewSet
from zero123.evaluation import protocols
from zero123.geometry.camera import Camera
from zero123.geometry.paths import turntable


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new current folder with three objects of four views in `sets`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    for seed, name in enumerate(("ant", "bee", "cat")):
        white = blobs(4, SIZE, seed)
        alpha = (white.amin(1, keepdim=True) < 0.9).float()
        camera = Camera.from_orbit(turntable(4), hw=(SIZE, SIZE))
        ViewSet(torch.cat((white, alpha), 1), camera).save(tmp_path / "sets" / name)
    return tmp_path


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """Runs the verb in this process; code, standard output, standard error."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zero123", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


FAST = ("--steps", 1, "--scale", 1, "--shown", 2)


def test_a_plain_folder_is_judged_as_ever(evaluate, here, model):
    code, out, err = evaluate("sets", "-o", "scores", "--model", model, "--targets", 2, "--pattern", "[ab]*", *FAST)
    assert (code, err) == (0, "")
    assert "all objects: 2 objects, 4 views" in out and "| copy the input |" in out
    written = json.loads((here / "scores" / "scores.json").read_text())
    assert set(written["objects"]) == {"ant", "bee"} and written["protocol"]["targets"] == 2
    for file in ("sheet.png", "results.json", "table.md", "report.html", "sheets/all-objects-worst.png"):
        assert (here / "scores" / file).is_file()
    assert json.loads((here / "scores" / "results.json").read_text())["departures"] == []


def test_a_list_gives_objects_and_kinds_and_pictures_can_be_judged_again(evaluate, here, model):
    (here / "list.txt").write_text("cat furry\nant hard\n")
    asked = ("sets", "--targets", 3, "--objects", "list.txt", "--samples", 2)
    code, out, err = evaluate(*asked, "-o", "own", "--model", model, *FAST)
    assert (code, err) == (0, "")
    assert "furry: 1 objects, 3 views" in out and "best of 2, told the truth" in out
    code, again, err = evaluate(*asked, "-o", "theirs", "--pictures", "own/pictures", "--shown", 2)
    assert (code, err) == (0, "")
    assert again.replace("theirs/", "own/") == out
    code, out, err = evaluate(*asked, "-o", "own", "--model", model, "--steps", 2, "--scale", 1)
    assert (code, out) == (2, "") and "made with method.sampling.steps 1, now 2" in err


def test_the_protocols_are_listed(evaluate):
    code, out, err = evaluate("--protocols")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == protocols.names()


@pytest.mark.parametrize(("name", "files"), [("z123-random", 34), ("sync16", 480), ("gso30-25", 960)])
def test_every_missing_file_is_printed_with_their_number(evaluate, here, name, files):
    code, out, err = evaluate("nowhere", "-o", "scores", "--protocol", name)
    assert code == 2 and len(out.splitlines()) == files == len(set(out.splitlines()))
    assert err.startswith(f"error: {name}: {files} files") and err.count("\n") == 1
    assert out.startswith("nowhere/") and not (here / "scores").exists()


def test_a_protocol_says_what_was_not_done_its_way(evaluate, here, model):
    text = protocols._home().joinpath("sync16.json").read_text()
    mine = {**json.loads(text), "name": "mine", "size": SIZE, "targets": [1, 2], "camera_rule": "own"}
    mine["objects"] = [{"name": n} for n in ("ant", "bee", "cat")]
    (here / "mine.json").write_text(json.dumps(mine))
    asked = ("sets", "-o", "scores", "--protocol", "mine.json", "--model", model, "--limit", 2, "--seed", 5, *FAST)
    code, _, err = evaluate(*asked)
    assert (code, err) == (0, "")
    written = json.loads((here / "scores" / "results.json").read_text())
    assert written["departures"] == ["2 of its 3 objects", "seed 5, not 0"]
    assert written["protocol"]["sha256"] == protocols.load("mine.json").sha256
    assert not (here / "scores" / "scores.json").exists()


def test_held_out_objects_are_made_where_they_are_missing(evaluate, here, model):
    asked = ("made", "-o", "scores", "--protocol", "procedural-heldout", "--limit", 1, "--model", model, *FAST)
    code, out, err = evaluate(*asked)
    assert (code, err) == (0, "")
    assert "all objects: 1 objects, 12 views" in out
    assert len(list((here / "made" / "procedural-900000000").glob("*.png"))) == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "-o", "out"), "nowhere: no such folder of views"),
        (("sets", "-o", "out", "--pattern", "z*"), "sets: holds no view sets that match"),
        (("sets", "-o", "out", "--protocol", "sync61"), "no protocol 'sync61'"),
        (("sets", "-o", "out", "--protocol", "sync16", "--targets", "3"), "--targets goes without --protocol"),
        (("sets", "-o", "out", "--objects", "none.txt"), "none.txt: no readable list of objects"),
        (("sets", "-o", "out", "--model", "no-such-model"), "no-such-model"),
        (("sets", "-o", "out", "--targets", "4", "--pictures", "nothing"), "ant: own views needs 5 views, it has 4"),
        (("sets", "-o", "out", "--targets", "2", "--pictures", "nothing"), "no such picture: nothing/ant/001-0.png"),
        (("sets", "-o", "out", "--fid", "resnet=x"), "--fid takes inception=FILE or clip=FOLDER"),
        (("sets", "-o", "out", "--lpips", "nothing"), "LPIPS alex needs"),
        (("sets", "-o", "out", "--samples", "0"), "samples"),
    ],
)
def test_a_mistake_is_one_line(evaluate, here, arguments, message):
    code, _, err = evaluate(*arguments)
    assert code == 2 and message in err and err.count("\n") == 1


def test_views_too_small_for_the_protocol_are_refused(evaluate, here, model):
    asked = ("sets", "-o", "out", "--protocol", "z123-random", "--model", model)
    code, out, err = evaluate(*asked)
    assert code == 2 and "z123-random: 78 files are missing" in err and len(out.splitlines()) == 3 * 13 * 2
    for name in ("ant", "bee", "cat"):
        camera = Camera.from_orbit(turntable(17), hw=(SIZE, SIZE))
        ViewSet(torch.cat((blobs(17), torch.ones(17, 1, SIZE, SIZE)), 1), camera).save(here / "sets" / name)
    code, _, err = evaluate(*asked, *FAST)
    assert code == 2 and "ant: z123-random needs square views of at least 256 pixels, got 32x32" in err
    assert not (here / "out").exists()
