"""Batches in real processes: as in one, whatever their number and whoever is killed; nothing twice, lost or half."""

import json
import os
import signal

import pytest
import torch

from test_batch import FAST, ball
from tiny_model import tiny_view_model
from zero123.batch.pictures import pictures_of
from zero123.batch.run import make_all
from zero123.batch.settings import ModelChoice
from zero123.jobs import Workers
from zero123.models.pretrained import save_model

PICTURES = 10


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny_view_model(), folder)
    return ModelChoice(str(folder), device="cpu", dtype="float32")


@pytest.fixture
def photos(tmp_path):
    for index in range(PICTURES):
        ball(tmp_path / "photos" / f"p{index}.png", index / PICTURES)
    (tmp_path / "photos" / "bad.webp").write_bytes(b"RIFF")
    return tmp_path / "photos"


def expected(picture, model):
    """Levels of a picture's views by the model in this process, (V, 3, S, S)."""
    views = model.load()
    return (views(views.prepare(picture), FAST.moves(), FAST.sampling) * 255).round().to(torch.uint8)


def assert_whole(out, photos, model):
    """Every picture is there once, as one process makes it, and nothing else."""
    from zero123.images import io

    names = [f"p{index}" for index in range(PICTURES)]
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == names
    assert [json.loads(line)["name"] for line in (out / "manifest.jsonl").read_text().splitlines()] == names
    for name in names:
        made = torch.stack([io.load(out / name / "views" / f"00{view}.png") for view in range(2)])
        assert torch.equal((made * 255).round().to(torch.uint8), expected(photos / f"{name}.png", model)), name
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert failure["picture"] == "bad"


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_make_what_one_makes(tmp_path, photos, tiny, caplog):
    out, workers, stopped, killed = tmp_path / "out", [], None, False
    for result in make_all(pictures_of([photos], out), out, FAST, tiny, Workers(2)):
        if result.state != "made":
            continue
        workers.append(
            int(json.loads((out / result.picture.name / "manifest.json").read_text())["worker"].split(":")[1])
        )
        if stopped is None:
            stopped = workers[0]
            os.kill(stopped, signal.SIGSTOP)  # so that the picture it is given next is under way when it is killed
        elif not killed:
            os.kill(stopped, signal.SIGKILL)
            killed = True
    assert killed and len(workers) == PICTURES
    assert "killed by SIGKILL" in caplog.text and "begun again" in caplog.text
    assert_whole(out, photos, tiny)
