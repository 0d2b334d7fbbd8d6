"""`zero123 serve` as a process: its port, its signals and its end; and what it says when it cannot begin."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("uvicorn")

import httpx
from served import InProcess, posted, told, until

from command import environment, run
from zero123.batch.settings import ModelChoice
from zero123.service import running, server
from zero123.service.loaded import LoadedModels
from zero123.service.settings import ServiceSettings


@pytest.fixture
def process(tiny, tmp_path):
    command = [sys.executable, "-m", "zero123", "serve", "--model", str(tiny), "--device", "cpu", "--dtype", "float32"]
    command += ["--port", "0", "--jobs", str(tmp_path / "jobs"), "--threads", "1", "--grace", "2"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    line = started.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    assert found, line + started.stderr.read()
    started.url = found.group(0)
    yield started
    if started.poll() is None:
        started.kill()
    started.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_real_server_from_its_start_to_sigterm(process, tmp_path):
    with httpx.Client(base_url=process.url, timeout=120, trust_env=False) as client:
        until(lambda: answers(client) == 200, 120)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda k: client.post("/v1/views", **posted(steps=1, seed=k)).status_code, range(4)))
        assert made == [200] * 4
        orbit = client.post("/v1/orbit", **posted(frames=3, steps=1)).headers["location"]
        assert told(client.get(f"{orbit}/events").text)[-1][0] == "done"
        endless = client.post("/v1/orbit", **posted(frames=64, steps=200)).headers["location"]
        until(lambda: client.get(endless).json()["state"] == "running", 60)
        process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in out + errors
    states = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "jobs").glob("*/job.json")}
    assert states[endless.rsplit("/", 1)[1]]["state"] == "queued"
    assert states[orbit.rsplit("/", 1)[1]]["state"] == "done"


def answers(client):
    try:
        return client.get("/health/ready").status_code
    except httpx.TransportError:
        return None


def test_a_port_in_use_is_said_in_one_line(tiny, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", "--model", tiny, "--device", "cpu", "--port", port, "--jobs", tmp_path / "jobs") == 2
    said = capsys.readouterr().err
    assert said == f"error: port {port} of 127.0.0.1 is in use: choose another with --port\n"
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("host", "words"), [("no.such.host.invalid", "no such address"), ("203.0.113.7", "cannot listen")]
)
def test_an_address_that_is_not_ours_is_said_in_one_line(tmp_path, host, words):
    with pytest.raises(OSError, match=words):
        server._bound(ServiceSettings(tmp_path, host=host, port=0))


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("serve", "--model", tiny, "--device", "cpu", "--port", 0, "--jobs", tmp_path / "file") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot write into the folder {tmp_path}/file")
    assert said.count("\n") == 1


def test_a_full_disk_is_said_before_anything_is_served(tiny, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.touch", full)
    assert run("serve", "--model", tiny, "--device", "cpu", "--port", 0, "--jobs", tmp_path / "jobs") == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_model_that_is_not_here_is_said_and_not_downloaded(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert run("serve", "--model", "nobody", "--port", 0, "--jobs", tmp_path / "jobs") == 2
    assert "nobody" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_ends_the_server(tiny, tmp_path, monkeypatch):
    def broken(self):
        raise ValueError("tensor unet.x is missing")

    monkeypatch.setattr("served.MODELS", LoadedModels())  # which has not yet loaded it for another test
    monkeypatch.setattr("zero123.batch.settings.ModelChoice.load", broken)
    monkeypatch.setattr(running, "Worker", InProcess)
    lines = []
    settings = ServiceSettings(tmp_path / "jobs", ModelChoice(str(tiny), device="cpu", dtype="float32"), port=0)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"cannot be loaded: tensor unet\.x is missing"):
        server.serve(settings, lines.append)
    assert time.monotonic() - start < 60
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("wrong", "words"), [({"port": 70000}, "port"), ({"batch": 0}, "batch"), ({"keep_s": float("nan")}, "keep_s")]
)
def test_settings_out_of_range_are_named(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        ServiceSettings(tmp_path, **wrong)
