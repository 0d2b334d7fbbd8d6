"""The container's files, as far as they can be checked without an engine: copies are there, commands are real."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from command import run

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml by itself")

ROOT = Path(__file__).parents[2]


def instructions():
    """(NAME, rest) of each instruction of the Dockerfile, lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in lines.splitlines() if line.strip()]


def test_everything_that_is_copied_is_there_and_not_ignored():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = [source for words in copied for source in words[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    forced = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    needed = {"README.md", "pyproject.toml", *project["project"]["license-files"], *forced}
    assert needed <= set(sources), "the wheel cannot be built of what is copied"


def test_its_command_is_one_that_the_command_line_takes(capsys):
    (entry,) = [yaml.safe_load(rest) for name, rest in instructions() if name == "ENTRYPOINT"]
    command = [yaml.safe_load(rest) for name, rest in instructions() if name == "CMD"][-1]
    assert entry == ["zero123"]
    assert run(*command, "--help") == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in command if word.startswith("--"))


def test_extras_arguments_and_users_fit_together():
    found = instructions()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    arguments = dict(rest.split("=") for name, rest in found if name == "ARG")
    assert set(arguments["EXTRAS"].split(",")) == {"service", "ui"} <= extras.keys()
    assert arguments["VARIANT"] == "cpu"
    assert [rest for name, rest in found if name == "USER"] == ["zero123"], "it must not run as root"
    for name, rest in found:
        if name == "RUN":
            shlex.split(rest)  # quotes are closed
        for used in re.findall(r"\$\{(\w+)\}", rest):
            assert used in arguments
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    assert {name for name, _ in found} <= known | {"ENTRYPOINT", "CMD", "HEALTHCHECK"}


@pytest.mark.parametrize("profile", ["cpu", "cuda", "page", "page-cuda"])
def test_compose_serves_on_this_machine_only(profile, capsys):
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    (service,) = [s for s in compose["services"].values() if profile in s["profiles"]]
    assert service["build"]["args"]["VARIANT"] == ("cu128" if "cuda" in profile else "cpu")
    assert ("deploy" in service) == ("cuda" in profile)
    of_service, of_page = next(rest for name, rest in instructions() if name == "EXPOSE").split()
    port = of_page if "page" in profile else of_service
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    if "page" in profile:
        assert f":{port}/" in " ".join(service["healthcheck"]["test"])
        assert run(*service["command"], "--help") == 0
        assert f"[default: {port};" in " ".join(capsys.readouterr().out.split())
        return
    volumes = [volume.split(":") for volume in service["volumes"]]
    (volume,) = [rest for name, rest in instructions() if name == "VOLUME"]
    assert [path for _, path in volumes] == [volume]
    assert {name for name, _ in volumes} <= set(compose["volumes"])
