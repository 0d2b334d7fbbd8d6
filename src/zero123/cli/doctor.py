"""`zero123 doctor`: what this machine can do, what it lacks, and how that is had."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

from zero123 import __version__
from zero123.cli.console import say

EXTRAS = {
    "ui": "the web page, `zero123 ui`",
    "service": "the HTTP service, `zero123 serve`",
    "data": "fast renders of meshes, `zero123 data render`, and tar shards",
    "objaverse": "objects to train on, `zero123 data objaverse`",
    "lora": "fine-tuning a few weights, `zero123 train --preset finetune`",
    "matting": "objects before any background, `--background rembg`",
    "cluster": "many machines, `--cluster`",
    "track": "curves in TensorBoard and Weights & Biases",
    "docs": "building the manual",
    "dev": "testing and changing zero123 itself",
}
"""What the extras of the package are for; `all` is all that serve a user."""

_WORKSHOP = ("docs", "dev")
"""Extras that nobody lacks who only uses the program."""

_GIGABYTE = 1e9
_LEAST_MEMORY, _LEAST_DISK = 1.5, 0.5
"""Gigabytes below which `mini` makes no mesh, and no results can be written."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        state: "ok", "note" (works, could be more) or "problem".
        found: what there is.
        advice: what to do; empty where nothing.
    """

    name: str
    state: Literal["ok", "note", "problem"]
    found: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")] = False,
) -> None:
    """Explain this machine: devices, precision, memory, extras and how to get them; `mini` makes one view.

    Touches no network. Exit code 1 if something is broken, 0 if all that is missing is optional.
    """
    found = []
    for finding in findings():
        found.append(finding)
        if not as_json:
            say(f"{finding.state:8} {finding.name:12} {finding.found}")
            if finding.advice:
                say(f"{'':21} -> {finding.advice}")
    problems = sum(finding.state == "problem" for finding in found)
    if as_json:
        whole = {"zero123": __version__, "ok": not problems, "findings": [asdict(finding) for finding in found]}
        say(json.dumps(whole, indent=1))
    else:
        say(f"{problems} problems" if problems else "no problems; notes are optional")
    if problems:
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """Everything that is looked at, as it is found."""
    yield Finding("zero123", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield _python()
    packages = _packages()
    yield packages
    yield _disk("folder", Path.cwd(), "results are written here")
    yield _disk("temporary", Path(tempfile.gettempdir()), "set TMPDIR to another folder")
    if packages.state != "problem":
        yield from _computing()
    yield from _extras()
    yield from _programs()
    if packages.state != "problem":
        yield _mini()
    yield _network()


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("zero123")["Requires-Python"]
    told = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Finding("python", "ok", told)
    return Finding("python", "problem", told, f"install a Python {wanted}")


def _packages() -> Finding:
    """Whether everything that is always needed is there, in a version that was tried."""
    wanted = [one for one in metadata.requires("zero123") or () if "extra ==" not in one]
    wrong = [fault for fault in map(_fault, wanted) if fault]
    if not wrong:
        return Finding("packages", "ok", f"all {len(wanted)} that are needed, torch {metadata.version('torch')}")
    return Finding("packages", "problem", "; ".join(wrong), "pip install --upgrade zero123")


def _fault(requirement: str) -> str:
    """What is wrong with a package that is asked for; empty if nothing."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        there = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is missing"
    within = wanted.specifier.contains(there, prereleases=True)
    return "" if within else f"{wanted.name} {there} is not {wanted.specifier}"


def _computing() -> Iterator[Finding]:
    """Devices, precision, threads and memory."""
    import torch

    from zero123.jobs.local import memory_to_spare
    from zero123.jobs.workers import cores
    from zero123.machine import default_device, devices, fast_dtype, make_sure_it_compiles, usable_device

    for name, what in devices().items():
        yield _usable(name, what, usable_device)
    if default_device() == "cpu" and shutil.which("nvidia-smi"):
        yield Finding("cuda", "note", "a driver, but no GPU that this torch can use", "install torch built for CUDA")
    device = torch.device(default_device())
    yield Finding("precision", "ok", f"{_plain(fast_dtype(device))} on {device.type}; {_speeds(device)}")
    there, threads = len(cores()), torch.get_num_threads()
    busy = threads > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"
    advice = "on a busy machine OMP_WAIT_POLICY=PASSIVE or OMP_NUM_THREADS=1 is faster" if busy else ""
    yield Finding("threads", "note" if busy else "ok", f"{threads} of {there} cores", advice)
    yield _memory(memory_to_spare())
    try:
        make_sure_it_compiles(device)
        yield Finding("compiler", "ok", "for --compile")
    except ValueError as error:
        yield Finding("compiler", "note", "none for --compile", str(error))


def _usable(name: str, what: str, prove: Callable[[str], object]) -> Finding:
    try:
        prove(name)
    except ValueError as error:
        return Finding(name, "problem", what, str(error))
    return Finding(name, "ok", what)


def _speeds(device: object) -> str:
    """Measured speeds of the number formats, fastest first."""
    import torch

    from zero123.machine import measured_speed

    assert isinstance(device, torch.device)
    found = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        try:
            found[_plain(dtype)] = measured_speed(device, dtype) / 1e9
        except RuntimeError:
            continue
    ordered = sorted(found.items(), key=lambda pair: -pair[1])
    return "measured " + ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in ordered)


def _plain(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _memory(spare: int | None) -> Finding:
    if spare is None:
        return Finding("memory", "note", "this system does not say how much is free")
    told = f"{spare / _GIGABYTE:.1f} GB free; mini takes 1, a released weight 3.4, or 2.4 with --int8"
    if spare < _LEAST_MEMORY * _GIGABYTE:
        return Finding("memory", "problem", told, "close other programs")
    return Finding("memory", "ok", told)


def _disk(name: str, folder: Path, advice: str) -> Finding:
    """Whether a folder can be written, and how much more fits."""
    from zero123.files import writable_folder

    try:
        writable_folder(folder)
        free = shutil.disk_usage(folder).free / _GIGABYTE
    except OSError as error:
        return Finding(name, "problem", str(error), advice)
    told = f"{folder}, {free:.1f} GB free"
    return Finding(name, "ok", told) if free >= _LEAST_DISK else Finding(name, "problem", told, advice)


def _extras() -> Iterator[Finding]:
    """What is installed of each extra, and how the rest is had."""
    from packaging.requirements import Requirement

    wanted: dict[str, list[str]] = {}
    for text in metadata.requires("zero123") or ():
        one = Requirement(text)
        for extra in EXTRAS:
            if (
                one.name != "zero123"
                and one.marker
                and not one.marker.evaluate()
                and one.marker.evaluate({"extra": extra})
            ):
                wanted.setdefault(extra, []).append(f"{one.name}{one.specifier}")
    for extra in (extra for extra in EXTRAS if extra in wanted):
        faults = [fault for fault in map(_fault, wanted[extra]) if fault]
        if not faults:
            yield Finding(f"[{extra}]", "ok", f"for {EXTRAS[extra]}")
        elif extra not in _WORKSHOP:
            advice = f"pip install 'zero123[{extra}]'"
            yield Finding(f"[{extra}]", "note", f"for {EXTRAS[extra]}; {', '.join(faults)}", advice)


def _programs() -> Iterator[Finding]:
    """Programs beside Python, and the folder for weights."""
    from zero123.data.render.cycles import find_blender

    try:
        yield Finding("blender", "ok", find_blender()[0])
    except ImportError as error:
        yield Finding("blender", "note", "none for --renderer blender", str(error))
    try:
        import imageio_ffmpeg

        yield Finding("ffmpeg", "ok", imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        yield Finding("ffmpeg", "note", "none: videos only as .webp and .gif", "install ffmpeg")
    from zero123.models.weights.registry import RELEASES, weights_folder

    yield _disk("weights", weights_folder(), "set ZERO123_WEIGHTS to a folder that can be written")
    here = [release.name for release in RELEASES if (weights_folder() / release.file).is_file()]
    told = f"{', '.join(here) or 'none'} here; mini is part of the package"
    yield Finding(
        "released", "ok", told, "" if here else "zero123 weights list shows what can be had, and its licences"
    )


def _mini() -> Finding:
    """The shipped model, loaded, and one view made with it."""
    import torch

    from zero123.geometry.orbit import relative_moves
    from zero123.pipeline import NovelViews

    place = torch.linspace(-1, 1, 128)
    disc = (torch.hypot(place[:, None], place[None]) < 0.7).float()
    start = time.perf_counter()
    try:
        views = NovelViews.from_pretrained("mini")
        loaded = time.perf_counter()
        picture = views(
            views.prepare(torch.stack((disc, 0.5 * disc, 0.2 * disc, disc))), relative_moves([30], [0], [0])
        )
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        return Finding("mini", "problem", f"makes no view: {error}", "pip install --force-reinstall --no-deps zero123")
    taken = f"loaded in {loaded - start:.1f} s, a view in {time.perf_counter() - loaded:.1f} s on {views.device}"
    if not bool(torch.isfinite(picture).all()) or float(picture.std()) < _BLANK:
        return Finding("mini", "problem", f"{taken}, but the view is empty", "try --dtype float32, or --device cpu")
    return Finding("mini", "ok", f"{taken}, {_plain(views.model.dtype)}")


_BLANK = 0.02
"""Standard deviation below which a picture shows nothing."""


def _network() -> Finding:
    asks = "only `weights get`, `data objaverse` and rembg's first use download, and only when asked"
    forbidden = " (HF_HUB_OFFLINE is set: they will refuse)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return Finding("network", "ok", f"none was used; {asks}{forbidden}")
