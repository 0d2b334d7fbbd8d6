"""The hosted Space as it is put together: its card, its packages, and its page in a process of its own."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

pytest.importorskip("gradio", reason="the page needs the extra ui")

import httpx

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def assemble():
    spec = importlib.util.spec_from_file_location("assemble", ROOT / "space" / "assemble.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def space(assemble, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosted") / "space"
    assemble.assemble(folder)
    return folder


def test_the_card_says_what_a_host_needs_and_keeps_to_its_limits(space):
    card = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (card["sdk"], card["license"]) == ("gradio", "apache-2.0")
    assert (space / card["app_file"]).is_file()
    assert len(card["short_description"]) <= 60
    assert re.fullmatch(r"\d+\.\d+\.\d+", card["sdk_version"])
    assert card["sdk_version"].split(".")[0] == version("gradio").split(".")[0]


def test_its_packages_are_those_of_the_library_and_its_page(assemble):
    names = [re.match(r"[\w-]+", line)[0] for line in assemble.requirements()]
    assert {"torch", "diffusers", "gradio"} <= set(names)
    assert len(names) == len(set(names))


def test_an_old_folder_is_not_overwritten(assemble, space):
    with pytest.raises(FileExistsError):
        assemble.assemble(space)


@pytest.mark.slow
def test_its_page_is_up_with_examples_and_its_own_package(space):
    environment = {**os.environ, "PORT": "0", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "app.py"]
    with subprocess.Popen(command, cwd=space, env=environment, stdout=subprocess.PIPE, text=True) as started:
        try:
            address = started.stdout.readline().strip()
            answer = httpx.get(address, timeout=60, trust_env=False)
            assert answer.status_code == 200
            assert "honey-pot.png" in answer.text
        finally:
            started.terminate()
