"""`zero123 weights` shows, fetches, inspects and converts; it says what it wrote and asks before it downloads."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from deterministic import tiny_state
from tiny_model import tiny_view_model
from zero123 import cli
from zero123.cli import weights as verbs
from zero123.models.pretrained import load_model, save_model
from zero123.models.weights import registry


@pytest.fixture
def zero123(monkeypatch, capsys, tmp_path):
    """Runs the entry point in this process, in a new folder, with nobody at the keyboard."""
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments, typed=None):
        capsys.readouterr()
        keyboard = io.StringIO(typed or "")
        monkeypatch.setattr(keyboard, "isatty", lambda: typed is not None)
        monkeypatch.setattr(sys, "stdin", keyboard)
        monkeypatch.setattr(sys, "argv", ["zero123", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


@pytest.fixture
def released(monkeypatch):
    """A release served from this machine."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    content = b"weights" * 1000
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):  # as the hub speaks of a file that lies elsewhere
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.invalid/file")
            self.send_header("X-Linked-Etag", hashlib.sha256(content).hexdigest())
            self.send_header("X-Linked-Size", str(len(content)))
            self.end_headers()

        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake = dataclasses.replace(
            registry.find_release("300000"),
            where=f"http://127.0.0.1:{server.server_port}/300000.ckpt",
            sha256=hashlib.sha256(content).hexdigest(),
        )
        others = tuple(r for r in registry.RELEASES if r.name != "300000")
        monkeypatch.setattr(registry, "RELEASES", (*others, fake))
        yield asked
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    save_model(tiny_view_model(), tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"state_dict": tiny_state(), "global_step": 7}, tmp_path / "own.ckpt")
    return tmp_path / "own.ckpt"


def test_list_shows_all_releases_and_which_are_here(zero123, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "165000.ckpt").write_bytes(b"")
    code, out, err = zero123("list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert all(release.name in rows for release in registry.RELEASES)
    assert (rows["105000"][1:4], rows["165000"][1]) == (["no", "15.5", "GB"], "yes")
    assert f"folder: {tmp_path / 'cache'}" in out


def test_get_shows_the_terms_and_asks(zero123, released, tmp_path):
    path = tmp_path / "cache" / "300000.ckpt"
    code, out, err = zero123("get", "300000", typed="n\n")
    assert (code, released, path.exists()) == (0, [], False), err
    assert all(word in out for word in ("licence not stated", "from    http://127.0.0.1", f"to      {path}", "[y/N]"))
    assert out.endswith("nothing was downloaded\n")
    code, out, err = zero123("get", "300000", typed="y\n")
    assert code == 0, err
    assert out.endswith(f"{path}, 7 kB; use it with --model 300000\n")
    assert path.stat().st_size == 7000
    code, out, err = zero123("get", "300000")
    assert (code, out, len(released)) == (0, f"{path} is here already, 7 kB\n", 1)


def test_get_downloads_nothing_unasked(zero123, released, tmp_path):
    code, out, err = zero123("get", "300000")
    assert code == 2 and "licence" in out
    assert err == "error: nothing is downloaded unasked: `zero123 weights get 300000 --yes` accepts the licence\n"
    assert released == [] and not (tmp_path / "cache").exists()


def test_get_with_consent_given_before_puts_the_file_where_it_is_told(zero123, released, tmp_path):
    code, out, err = zero123("get", "300000", "--yes", "--out", "here")
    assert code == 0, err
    assert out.splitlines()[-1] == "here/300000.ckpt, 7 kB; use it with --model here/300000.ckpt"


def test_what_cannot_be_fetched_is_one_line(zero123, released):
    code, _, err = zero123("get", "400000", "--yes")
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("error: 400000: no such release; known are 105000")


def test_the_endpoint_of_the_environment_is_asked_and_must_have_the_file_that_is_known(released, tmp_path):
    """In a process of its own, since the hub's library reads the variable when it is imported."""
    address = registry.find_release("300000").source.removesuffix("/300000.ckpt")
    settings = {"HF_ENDPOINT": address, "ZERO123_WEIGHTS": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "ZERO123_"))} | settings
    command = [sys.executable, "-c", "from zero123.cli import main; main()", "weights", "get", "105000", "--yes"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1), run.stderr
    assert "is no longer the file this version knows" in run.stderr
    environment["HF_HUB_OFFLINE"] = "1"
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert (run.returncode, run.stderr) == (
        2,
        "error: HF_HUB_OFFLINE is set, so 105000.ckpt is not fetched; unset it\n",
    )
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".lock"]


def test_inspect_speaks_to_people_and_programs(zero123, checkpoint):
    code, out, err = zero123("inspect", checkpoint)
    assert (code, err) == (0, "")
    assert "own.ckpt: original layout, Lightning checkpoint, " in out and ", step 7" in out
    code, out, err = zero123("inspect", "own.ckpt", "--json")
    assert (code, err, json.loads(out)["has_ema"]) == (0, "", True)


@pytest.mark.parametrize("verb", ["inspect", "convert", "export"])
def test_what_is_no_model_is_one_line(zero123, tmp_path, verb):
    (tmp_path / "text.ckpt").write_text("not weights")
    rest = {"inspect": (), "convert": ("-o", "out"), "export": ("-o", "out.ckpt", "--layout", "ckpt")}[verb]
    for name, message in (("text.ckpt", "is not a checkpoint"), ("105000", "is not on this machine"), ("x", "no such")):
        code, out, err = zero123(verb, name, *rest)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert message in err
    assert [p.name for p in tmp_path.iterdir()] == ["text.ckpt"]


def test_convert_writes_a_model_folder_and_says_how_large(zero123, checkpoint, tmp_path):
    code, out, err = zero123("convert", "own.ckpt", "-o", "full")
    assert code == 0, err
    assert out.startswith("full, ") and out.endswith(" MB\n")
    code, out, err = zero123("convert", "own.ckpt", "-o", "half", "--dtype", "float16")
    assert code == 0, err
    original, full, half = (load_model(tmp_path / name).state_dict() for name in ("own.ckpt", "full", "half"))
    assert original.keys() == full.keys() == half.keys()
    assert all(torch.equal(full[key], value) for key, value in original.items())
    assert all(torch.equal(half[key], value.half().float()) for key, value in original.items())
    code, _, err = zero123("convert", "half", "-o", "again")
    assert code == 0, err
    assert load_model(tmp_path / "again", None).dtype == torch.float16


@pytest.mark.parametrize("layout", list(verbs.Layout))
def test_export_is_lossless_and_says_how_large(zero123, checkpoint, tmp_path, layout):
    out_name = f"out.{layout.value}" if layout.value in ("ckpt", "safetensors") else "out"
    code, out, err = zero123("export", "own.ckpt", "-o", out_name, "--layout", layout.value)
    assert code == 0, err
    assert out.startswith(f"{out_name}, ") and out.endswith(" MB\n")
    original, again = load_model(checkpoint).state_dict(), load_model(tmp_path / out_name).state_dict()
    assert original.keys() == again.keys()
    assert all(torch.equal(again[key], value) for key, value in original.items())


def test_what_a_layout_cannot_hold_is_one_line(zero123, folder, tmp_path):
    code, out, err = zero123("export", "tiny", "-o", "out.ckpt", "--layout", "ckpt")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny"]


def test_the_layouts_offered_are_those_there_are():
    from zero123.models.export import LAYOUTS

    assert {layout.value for layout in verbs.Layout} | {"folder"} == set(LAYOUTS)


@pytest.mark.parametrize("verb", ["list", "get", "inspect", "convert", "export"])
def test_every_verb_explains_itself(zero123, verb):
    code, out, err = zero123(verb, "--help")
    assert (code, err) == (0, "")
    assert "Usage" in out
