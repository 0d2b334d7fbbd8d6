"""How the page comes up and goes: its port, its folder, and what is said when there is none."""

import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs the extra ui")

import httpx

from command import run
from zero123.ui.serving import serve, work_folder


@contextmanager
def no_temporary_folder():
    """A machine on which no temporary folder can be written; not a fixture, for pytest's own need one."""

    def missing():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "_get_default_tempdir", missing)
        patch.setattr(tempfile, "tempdir", None)
        yield


def test_a_port_in_use_and_a_folder_that_cannot_be_written_are_said_in_one_line(tmp_path, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run("ui", "--port", taken.getsockname()[1]) == 2
    assert "give another with --port" in capfd.readouterr().err
    (tmp_path / "file").write_text("")
    assert run("ui", "--port", 0, "--folder", tmp_path / "file" / "in") == 2
    assert "cannot write into the folder" in capfd.readouterr().err
    assert run("ui", "--port", 0, "--model", tmp_path / "nothing") == 2
    assert "no such model" in capfd.readouterr().err


def test_without_a_temporary_folder_one_is_asked_for_in_one_line(capfd):
    with no_temporary_folder():
        assert run("ui", "--port", 0) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "give one with --folder" in told


def test_a_folder_that_is_given_is_the_only_one_needed_and_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")
    before = tempfile.tempdir
    with no_temporary_folder(), work_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == folder
        assert (os.environ["TMPDIR"], os.environ["GRADIO_TEMP_DIR"]) == (str(folder), str(folder / "served"))
    assert list(tmp_path.iterdir()) == []
    assert (os.environ["TMPDIR"], tempfile.tempdir) == ("/nowhere", before)
    assert "GRADIO_TEMP_DIR" not in os.environ


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_large_upload_needs_no_other_temporary_folder(tmp_path):
    with no_temporary_folder(), serve(port=0, folder=tmp_path) as page:
        sent = {"files": ("large.png", os.urandom(3_000_000))}  # over what forms are parsed in memory
        answer = httpx.post(f"{page.address}/gradio_api/upload", files=sent, timeout=60, trust_env=False)
        assert answer.status_code == 200
        assert tmp_path in Path(answer.json()[0]).parents
    assert list(tmp_path.iterdir()) == []
