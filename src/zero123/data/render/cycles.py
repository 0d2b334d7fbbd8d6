"""Blender's path tracer in a process of its own, driven by JSON lines; it needs another Python than ours."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from zero123.data.render.light import AreaLight, Light
from zero123.data.render.settings import CyclesSettings, Machine
from zero123.data.render.source import Source
from zero123.data.render.textures import texture_fault
from zero123.geometry.camera import Camera
from zero123.images import io
from zero123.jobs import Halt
from zero123.meshes.load import MeshError, check_whole, load

_SCRIPT = Path(__file__).with_name("blender_script.py")
_Z_UP = (".ply", ".stl")
_MENDED = (".obj", ".ply", ".stl")
"""Kinds in which Blender's readers put 0 where a file has a number that is none."""

_ANSWER = '{"ok": '
"""How the script's answers begin; other lines are Blender's own."""

_LIFE = 200
"""Objects after which Blender is started anew; what it leaks goes with it."""

_HOW = (
    "Blender as a Python module needs a Python 3.11 of its own: python3.11 -m venv blender && "
    "blender/bin/pip install 'bpy==4.5.*' 'numpy<2'; then --blender blender/bin/python, or ZERO123_BLENDER"
)


class BlenderError(RuntimeError):
    """Blender ended without an answer."""


class CyclesRenderer:
    """Renders mesh files with Blender, which is started when first needed and serves many objects.

    Args:
        settings: of Cycles.
        machine: where Blender is and what it computes with.
        need_textures: refuse objects whose textures are missing.

    Raises:
        ImportError: no Blender is found; says how to install it.
    """

    def __init__(self, settings: CyclesSettings, machine: Machine, need_textures: bool = True) -> None:
        self._command = find_blender(machine.blender)
        self._settings, self._device = settings, machine.device
        self._need_textures, self._threads = need_textures, machine.threads
        self._process: subprocess.Popen[str] | None = None
        self._noise: IO[bytes] | None = None
        self._version = ""
        self._served = 0

    def describe(self) -> dict[str, Any]:
        """Name, version and settings, for the manifest."""
        self._start()
        return {"name": "blender", "version": self._version, "device": self._device, **asdict(self._settings)}

    def render(self, source: Source, camera: Camera, light: Light | AreaLight) -> Tensor:
        """Straight-alpha sRGB pictures, (V, 4, H, W) in [0, 1].

        Raises:
            MeshError: the object cannot be rendered, in one line.
            BlenderError: Blender died of it; the next object gets a new one.
            Halt: there is no room for temporary files.
        """
        with tempfile.TemporaryDirectory(prefix="zero123-") as folder:
            path = source.path
            if path is None:
                from zero123.meshes.export import export_mesh

                path = export_mesh(source.parts()[0], Path(folder) / "object.glb")
            if not path.is_file():
                raise MeshError(f"{path}: no such file")
            check_whole(path)
            if path.suffix.lower() in _MENDED:
                load(path)  # refuses what it would otherwise draw wrong
            fault = texture_fault(path, decode=False) if self._need_textures else None
            if fault:
                raise MeshError(f"{path}: {fault}")
            try:
                self._ask(path, self._job(path.resolve(), camera, light, folder))
                views = [io.load(Path(folder) / f"{k:03d}.png", max(camera.hw)) for k in range(len(camera.position))]
            except ValueError as error:
                if shutil.disk_usage(folder).free < 8 * camera.hw[0] * camera.hw[1]:
                    raise Halt(
                        f"{tempfile.gettempdir()} is full; make room, or set TMPDIR to another folder"
                    ) from error
                raise
        opaque = torch.ones_like(views[0][:1])
        return torch.stack([view if len(view) == 4 else torch.cat((view, opaque)) for view in views])

    def close(self) -> None:
        """End Blender."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
        if self._noise is not None:
            self._noise.close()
            self._noise = None

    def _job(self, path: Path, camera: Camera, light: Light | AreaLight, out: str) -> dict[str, Any]:
        kind = "area" if isinstance(light, AreaLight) else "studio"
        return {
            "mesh": str(path),
            "turn": path.suffix.lower() not in _Z_UP,
            "cameras": camera.to_opengl().reshape(-1, 16).tolist(),
            "field_of_view": camera.field_of_view,
            "hw": list(camera.hw),
            "light": {"kind": kind, **asdict(light)},
            "cycles": asdict(self._settings),
            "need_textures": self._need_textures,
            "out": out,
        }

    def _ask(self, path: Path, job: dict[str, Any]) -> None:
        if self._served >= _LIFE:
            self.close()
        self._start()
        self._served += 1
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; the missing answer says so
        answer = self._answer()
        if not answer["ok"]:
            reason = str(answer["reason"]).removeprefix("RuntimeError: Error: ")
            raise MeshError(reason if path.name in reason else f"{path}: not readable by Blender ({reason})")

    def _start(self) -> None:
        if self._process is not None:
            return
        # Its Python is not ours, and must not find our packages.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [*self._command, json.dumps({"device": self._device, "threads": self._threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env=environment,
            encoding="utf-8",
        )
        self._served = 0
        try:
            hello = self._answer()
        except BlenderError as error:
            raise ImportError(f"{self._command[0]} does not run Blender: {error}. {_HOW}") from error
        if not hello["ok"]:
            self.close()
            raise ImportError(hello["reason"])
        self._version = hello["version"]

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None and self._noise is not None
        for line in self._process.stdout:  # Blender greets before our script has its output
            if line.startswith(_ANSWER):
                return dict(json.loads(line))
        code = self._process.wait()
        self._noise.seek(0)
        said = self._noise.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        raise BlenderError(f"Blender ended with code {code}" + (f": {said[-1].strip()[:200]}" if said else ""))


def find_blender(given: str | None = None) -> list[str]:
    """The command that runs our script in Blender.

    Args:
        given: a Python that has `bpy`, or a Blender; None for what ZERO123_BLENDER names, or this Python if it can.

    Raises:
        ImportError: none of them; says how to install one.
    """
    given = given or os.environ.get("ZERO123_BLENDER")
    if not given:
        if importlib.util.find_spec("bpy") is None:
            raise ImportError(f"the renderer 'blender' needs Blender. {_HOW}")
        given = sys.executable
    program = shutil.which(os.path.expanduser(given))
    if program is None:
        raise ImportError(f"no such program: {given}. {_HOW}")
    if _is_blender(program):
        return [program, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(_SCRIPT), "--"]
    return [program, "-I", str(_SCRIPT)]


def _is_blender(program: str) -> bool:
    """Whether a program is a Blender rather than a Python: by its name, or else by what it says it is."""
    name = Path(program).name.lower()
    if "python" in name or "blender" in name:
        return "python" not in name
    try:
        said = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False  # it will not run as a Python either, which is then told
    return said.stdout.lstrip().startswith(b"Blender")
