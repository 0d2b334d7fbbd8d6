"""A Blender add-on: from a picture chosen in the sidebar, `zero123 reconstruct` makes a mesh at the 3D cursor.

One file, for Blender 4.2 and later. zero123 lives in a Python of its own and is run as a program beside Blender.
"""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

bl_info = {
    "name": "zero123: mesh from a picture",
    "author": "zero123",
    "version": (0, 1, 0),
    "blender": (4, 2, 0),
    "location": "3D View > Sidebar > zero123",
    "description": "Makes a textured mesh of the object in a picture",
    "category": "Import-Export",
}

TICK = 0.2
"""Seconds between two looks at the program."""


class Run:
    """`zero123 reconstruct` at work in a process of its own.

    Attributes:
        mesh: file that it will write.
        stage: what it is doing.
        share: of all its work that is done, in [0, 1].
    """

    def __init__(self, command: str, picture: str, options: list[str]) -> None:
        """Start it.

        Raises:
            ValueError: the command is none, or there is no such picture or program; in one line.
        """
        if not os.path.isfile(picture):
            raise ValueError(f"no such picture: {picture or '(none chosen)'}")
        try:
            words = [word.strip('"') for word in shlex.split(command, posix=os.name != "nt")]
        except ValueError as error:
            raise ValueError(f"the command {command!r} cannot be read: {error}") from error
        program = shutil.which(words[0]) if words else None
        if program is None:
            raise ValueError(f"no such program: {command!r}; set it in the add-on's preferences")
        self._folder = tempfile.mkdtemp(prefix="zero123-")
        self.mesh = os.path.join(self._folder, "model.glb")
        self.stage, self.share = "starting", 0.0
        self._said: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            [program, *words[1:], "reconstruct", picture, "-o", self.mesh, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "ZERO123_PROGRESS": "json"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Follow the program's words until it ends; lines of JSON are its progress."""
        for line in self._process.stderr:
            try:
                step = json.loads(line)
                share = (step["number"] - 1 + step["done"] / max(step["total"], 1)) / step["stages"]
                self.stage, self.share = str(step["stage"]), min(max(share, self.share), 1.0)
            except (ValueError, KeyError, TypeError):
                self._said.append(line.strip())

    def ended(self) -> bool:
        """Whether it has come to its end, well or not."""
        return self._process.poll() is not None

    def fault(self) -> str:
        """Why it failed, in one line; empty if it did not."""
        self._reader.join(5)
        if self._process.returncode == 0 and os.path.isfile(self.mesh):
            return ""
        told = [line for line in self._said if line]
        errors = [line for line in told if line.startswith("error: ")]
        return (errors or told or [f"zero123 ended with code {self._process.returncode} and no mesh"])[-1]

    def close(self) -> None:
        """End it, if it has not ended, and remove what it wrote."""
        if not self.ended():
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)
        self._process.stderr.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Zero123Preferences(bpy.types.AddonPreferences):
    """Where zero123 is."""

    bl_idname = __name__

    command: StringProperty(
        name="Command",
        description='How zero123 is started, such as /home/me/zero123/.venv/bin/zero123, or "python -m zero123"',
        default="zero123",
    )

    def draw(self, context):
        """The one field."""
        self.layout.prop(self, "command")


class Zero123Settings(bpy.types.PropertyGroup):
    """What is made of which picture."""

    picture: StringProperty(name="Picture", description="PNG, JPEG or WebP of one object", subtype="FILE_PATH")
    model: StringProperty(name="Model", description="mini, a downloaded weight, or a path", default="mini")
    faces: IntProperty(name="Triangles", description="At most this many", default=30_000, min=100, max=1_000_000)
    background: EnumProperty(
        name="Background",
        description="How the object is found in the picture",
        items=[
            ("auto", "Automatic", "Transparency, else a plain background, else GrabCut"),
            ("alpha", "Transparency", "The picture's own"),
            ("plain", "Plain", "One colour behind the object"),
            ("grabcut", "GrabCut", "Any background, roughly"),
            ("rembg", "rembg", "Any background, by a network; needs zero123[matting]"),
        ],
    )
    elevation_known: BoolProperty(name="Elevation known", description="Else it is estimated", default=False)
    elevation: FloatProperty(
        name="Elevation",
        description="Degrees above the horizon from which the picture was taken",
        default=10.0,
        min=-90.0,
        max=90.0,
    )
    more: StringProperty(name="More", description="Further options of `zero123 reconstruct`, such as --steps 20")
    stage: StringProperty(options={"SKIP_SAVE"})
    share: FloatProperty(options={"SKIP_SAVE"})

    def options(self) -> list[str]:
        """The same as options of the command line.

        Raises:
            ValueError: `more` cannot be read.
        """
        known = ["--elevation-deg", f"{self.elevation:g}"] if self.elevation_known else []
        chosen = ["--model", self.model, "--faces", str(self.faces), "--background", self.background, *known]
        return chosen + shlex.split(self.more)


class Zero123Reconstruct(bpy.types.Operator):
    """Make a textured mesh of the object in the picture, and put it at the 3D cursor."""

    bl_idname = "zero123.reconstruct"
    bl_label = "Make mesh"
    bl_options = {"REGISTER", "UNDO"}

    run = None
    """The run at work; one at a time."""

    @classmethod
    def poll(cls, context):
        """Only where nothing is being made."""
        return cls.run is None

    def execute(self, context):
        """Start, and look after it by a timer; without windows, wait for its end."""
        settings = context.scene.zero123
        command = context.preferences.addons[__name__].preferences.command
        try:
            picture = bpy.path.abspath(settings.picture)
            Zero123Reconstruct.run = Run(command, picture, settings.options())
        except (ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.scene, self.picture = context.scene, picture
        if bpy.app.background:
            while not self.run.ended():
                time.sleep(TICK)
            return self.finish(context)
        self.timer = context.window_manager.event_timer_add(TICK, window=context.window)
        context.window_manager.progress_begin(0, 100)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        """Show how far it is; end with it, or with Escape or the panel's Cancel."""
        run = self.run
        if run is None or event.type == "ESC":  # Cancel takes the run away
            self.leave(context)
            self.report({"INFO"}, "zero123: cancelled")
            return {"CANCELLED"}
        if event.type == "TIMER":
            settings = context.scene.zero123
            settings.stage, settings.share = run.stage, run.share
            context.window_manager.progress_update(100 * run.share)
            for area in context.screen.areas:
                if area.type == "VIEW_3D":
                    area.tag_redraw()
            if run.ended():
                return self.finish(context)
        return {"PASS_THROUGH"}

    def finish(self, context):
        """Put the mesh into the scene, or say why there is none."""
        fault = self.run.fault()
        try:
            if fault:
                self.report({"ERROR"}, fault.removeprefix("error: "))
                return {"CANCELLED"}
            placed = import_mesh(context, self.run.mesh, Path(self.picture).stem)
        finally:
            self.leave(context)
        self.report({"INFO"}, f"zero123: {placed.name}, {len(placed.data.polygons)} triangles")
        return {"FINISHED"}

    def leave(self, context):
        """End what still runs, and take the timer away."""
        stop()
        if not bpy.app.background:
            context.window_manager.event_timer_remove(self.timer)
            context.window_manager.progress_end()


class Zero123Cancel(bpy.types.Operator):
    """End the reconstruction that is running; nothing is put into the scene."""

    bl_idname = "zero123.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context):
        """Only while something is being made."""
        return Zero123Reconstruct.run is not None

    def execute(self, context):
        """End it; the operator that looks after it sees that it is gone."""
        stop()
        return {"FINISHED"}


class Zero123Panel(bpy.types.Panel):
    """The add-on's place in the sidebar of the 3D view."""

    bl_idname = "ZERO123_PT_panel"
    bl_label = "Mesh from a picture"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "zero123"

    def draw(self, context):
        """Fields and the button; while it runs, how far it is."""
        settings, layout = context.scene.zero123, self.layout
        layout.prop(settings, "picture")
        layout.prop(settings, "model")
        layout.prop(settings, "faces")
        layout.prop(settings, "background")
        row = layout.row()
        row.prop(settings, "elevation_known")
        if settings.elevation_known:
            row.prop(settings, "elevation", text="")
        layout.prop(settings, "more")
        if Zero123Reconstruct.run is None:
            layout.operator(Zero123Reconstruct.bl_idname, icon="MESH_MONKEY")
        else:
            layout.progress(factor=settings.share, text=settings.stage)
            layout.operator(Zero123Cancel.bl_idname, icon="X")


def import_mesh(context, path: str, name: str):
    """Read a GLB file into the scene, at the cursor, under a name, chosen; its pictures come with it.

    Returns:
        The mesh object.
    """
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=path)
    new = [one for one in bpy.data.objects if one not in before]
    for one in new:
        if one.parent is None:
            one.location += context.scene.cursor.location
    meshes = [one for one in new if one.type == "MESH"]
    for one in meshes:
        one.name = one.data.name = name
    bpy.ops.object.select_all(action="DESELECT")
    for one in meshes:
        one.select_set(True)
    context.view_layer.objects.active = meshes[0]
    return meshes[0]


def stop() -> None:
    """End what runs, if anything does."""
    run, Zero123Reconstruct.run = Zero123Reconstruct.run, None
    if run is not None:
        run.close()


@persistent
def _before_another_file(*_) -> None:
    stop()


CLASSES = (Zero123Preferences, Zero123Settings, Zero123Reconstruct, Zero123Cancel, Zero123Panel)


def register() -> None:
    """What Blender calls when the add-on is switched on."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.Scene.zero123 = PointerProperty(type=Zero123Settings)
    bpy.app.handlers.load_pre.append(_before_another_file)


def unregister() -> None:
    """What Blender calls when the add-on is switched off, or when it ends."""
    stop()
    bpy.app.handlers.load_pre.remove(_before_another_file)
    del bpy.types.Scene.zero123
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
