"""`zero123 doctor`: what is there, what is missing; code 1 only if something is broken; no network is asked."""

import json
import socket
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from zero123 import cli, machine
from zero123.cli import doctor

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parents[1]


@pytest.fixture
def told(monkeypatch, capsys, tmp_path):
    """Runs the verb in a new folder; its code and what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path / "weights"))

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["zero123", "doctor", *options])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capsys.readouterr().out

    return run


@pytest.fixture
def quick(monkeypatch):
    """Without the model's view and the measured speeds, which one test makes."""
    monkeypatch.setattr(doctor, "_mini", lambda: doctor.Finding("mini", "ok", "not asked"))
    monkeypatch.setattr(machine, "measured_speed", lambda *_: 1e9)


@pytest.mark.slow
def test_a_machine_that_works_is_explained_without_any_network(told, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    code, out = told("--json")
    found = {one["name"]: one for one in json.loads(out)["findings"]}
    assert code == 0 and json.loads(out)["ok"]
    assert {
        "python",
        "packages",
        "folder",
        "temporary",
        "cpu",
        "precision",
        "threads",
        "memory",
        "mini",
    } <= found.keys()
    assert found["mini"]["state"] == "ok" and "a view in" in found["mini"]["found"]
    assert "float32" in found["precision"]["found"] and "GFLOP/s" in found["precision"]["found"]
    assert list(tmp_path.rglob("*")) == [tmp_path / "weights"]


def test_a_model_that_does_not_load_is_a_problem(monkeypatch):
    from zero123.pipeline import NovelViews

    def broken(name):
        raise ValueError("unet is damaged")

    monkeypatch.setattr(NovelViews, "from_pretrained", broken)
    found = doctor._mini()
    assert found.state == "problem" and "unet is damaged" in found.found and found.advice


def test_an_empty_view_is_a_problem(monkeypatch):
    from zero123.pipeline import NovelViews

    class Blank:
        device = torch.device("cpu")
        model = torch.zeros(1)

        def prepare(self, picture):
            return picture

        def __call__(self, photo, relative):
            return torch.ones(1, 3, 8, 8)

    monkeypatch.setattr(NovelViews, "from_pretrained", lambda name: Blank())
    assert (doctor._mini().state, "empty" in doctor._mini().found) == ("problem", True)


def test_a_problem_is_shown_with_what_to_do_and_ends_with_1(told, quick, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path / "file" / "weights"))
    code, out = told()
    assert code == 1 and "1 problems" in out
    lines = out.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("problem"))
    assert "cannot write into the folder" in lines[at] and "ZERO123_WEIGHTS" in lines[at + 1]


@pytest.mark.parametrize(
    ("check", "state", "said"),
    [
        (lambda: doctor._memory(int(0.5e9)), "problem", "0.5 GB free"),
        (lambda: doctor._memory(int(8e9)), "ok", "8.0 GB free"),
        (lambda: doctor._memory(None), "note", "does not say"),
    ],
)
def test_memory_is_judged_by_what_models_take(check, state, said):
    assert check().state == state and said in check().found


def test_packages_that_are_missing_or_of_another_version_are_named(monkeypatch):
    wanted = ["torch>=99", "no-such-package>=1", "numpy>=1", 'other; extra == "ui"']
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = doctor._packages()
    assert found.state == "problem" and "no-such-package is missing" in found.found
    assert "is not >=99" in found.found and "numpy" not in found.found and "other" not in found.found


def test_each_extra_says_what_it_is_for_and_how_it_is_had(monkeypatch):
    wanted = [
        'no-such-linter; extra == "dev"',
        'numpy>=1; extra == "lora"',
        'no-such-package; extra == "ui"',
        'zero123[ui]; extra == "all"',
        "torch",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = {one.name: one for one in doctor._extras()}
    assert found.keys() == {"[ui]", "[lora]"}
    assert found["[lora]"].state == "ok" and found["[ui]"].state == "note"
    assert "no-such-package is missing" in found["[ui]"].found
    assert found["[ui]"].advice == "pip install 'zero123[ui]'"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python reads TOML since 3.11")
def test_every_extra_of_the_package_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"].keys() - {"all"} <= doctor.EXTRAS.keys()


def test_measured_speed_is_of_work_done():
    assert machine.measured_speed(torch.device("cpu"), torch.float32, side=256, seconds=0.02) > 1e8
    assert "cpu" in machine.devices()
