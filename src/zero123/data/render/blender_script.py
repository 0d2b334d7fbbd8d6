"""Runs inside Blender, alone: reads jobs as JSON lines from standard input, renders them, answers with JSON lines.

It is started by `cycles.py` with the Python that has `bpy`, or by `blender --background --python`, and imports nothing
of this package, whose Python and numpy may be others. A job is

    {"mesh": path, "turn": bool, "cameras": [16 numbers, ...], "field_of_view": radians, "hw": [height, width],
     "light": {"kind": "area" | "studio", ...}, "cycles": {...}, "need_textures": bool, "out": folder}

and leaves `000.png`, ... in the folder. Cameras are world-from-camera by rows with OpenGL axes. The answer is
`{"ok": true}` or `{"ok": false, "reason": line}`.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
from typing import Any, TextIO

import bpy
import numpy as np
from mathutils import Matrix, Vector

_OLDEST = (4, 1)
_GREY = 0.448  # linear light of the sRGB grey 0.7 that the other renderer gives to what has no colour
_FARTHEST = 1e5


class Refused(Exception):
    """What is wrong with an object, in one line."""


def main() -> None:
    """Answer jobs until the input ends."""
    answers = _private_output()
    if sys.platform == "linux":  # the kernel ends this process when the one that started it is gone, however it ended
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    options = json.loads(sys.argv[-1])
    try:
        if bpy.app.version < _OLDEST:
            raise Refused(f"Blender {bpy.app.version_string} is too old; 4.1 or newer is needed")
        devices = _devices(options["device"])
    except Refused as error:
        _say(answers, ok=False, reason=str(error))
        return
    _say(answers, ok=True, version=bpy.app.version_string, devices=devices)
    for line in sys.stdin:
        try:
            _render(json.loads(line), options)
            _say(answers, ok=True)
        except Refused as error:
            _say(answers, ok=False, reason=str(error))
        except Exception as error:  # noqa: BLE001  importers raise whatever they like; the next object may be well
            _say(answers, ok=False, reason=" ".join(f"{type(error).__name__}: {error}".split()))


def _private_output() -> TextIO:
    """Keep standard output for answers; what Blender prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")  # sent line by line
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")


def _render(job: dict[str, Any], options: dict[str, Any]) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _devices(options["device"])  # reset with the rest
    _import(job["mesh"], job["cycles"])
    _check_textures(job["mesh"], job["need_textures"])
    _normalise(job["mesh"], job["turn"])
    _colour_the_plain()
    _light(scene, job["light"])
    _set_up(scene, job, options)
    camera = _camera(scene, job["field_of_view"])
    for index, values in enumerate(job["cameras"]):
        camera.matrix_world = Matrix([values[k : k + 4] for k in range(0, 16, 4)])
        scene.render.filepath = os.path.join(job["out"], f"{index:03d}.png")
        bpy.ops.render.render(write_still=True)


def _import(path: str, cycles: dict[str, Any]) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=path, merge_vertices=cycles["merge_vertices"])
    elif suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=path, forward_axis="NEGATIVE_Z", up_axis="Y")
    elif suffix in (".ply", ".stl"):
        read = bpy.ops.wm.ply_import if suffix == ".ply" else bpy.ops.wm.stl_import
        read(filepath=path, forward_axis="Y", up_axis="Z")
    elif suffix == ".fbx":
        new = "fbx_import" in dir(bpy.ops.wm)
        bpy.ops.wm.fbx_import(filepath=path) if new else bpy.ops.import_scene.fbx(filepath=path)
    else:
        raise Refused(f"{path}: Blender reads no {suffix or 'such'} file here")
    for thing in bpy.data.objects:
        if thing.type in ("LIGHT", "CAMERA"):
            thing.hide_render = True  # of the file's own scene
    for collection in bpy.data.collections:
        if collection.name.startswith("glTF_not_exported"):
            for thing in collection.all_objects:
                thing.hide_render = True  # shapes the importer draws bones with


def _check_textures(path: str, needed: bool) -> None:
    """Refuse an object whose pictures are lost, or show it grey; Cycles would show it pink."""
    for tree in filter(None, (material.node_tree for material in bpy.data.materials)):
        for node in [node for node in tree.nodes if node.bl_idname == "ShaderNodeTexImage"]:
            fault = _picture_fault(node.image)
            if fault and needed:
                raise Refused(f"{path}: its texture {fault}")
            if fault:
                for link in node.outputs["Color"].links:
                    if link.to_socket.name == "Base Color":
                        link.to_socket.default_value = (_GREY, _GREY, _GREY, 1)
                tree.nodes.remove(node)


def _picture_fault(picture: Any) -> str | None:
    if picture is None or picture.source != "FILE":
        return None if picture else "is missing; put it there"
    if not picture.packed_file and not os.path.exists(bpy.path.abspath(picture.filepath)):
        return f"{os.path.basename(picture.filepath)} is missing; put it there"
    return f"{picture.name} is damaged" if 0 in picture.size else None


def _normalise(path: str, turn: bool) -> None:
    """Move all into the unit cube: longest side 1, its bounding box centred at the origin, front turned to +x."""
    low, high = _bounds(path)
    side = float((high - low).max())
    if not (math.isfinite(side) and side > 1e-30):
        raise Refused(f"{path}: its longest side is {side:g}; there is nothing to see")
    away = float(np.abs(low + high).max() / 2)
    if away > _FARTHEST * side:
        raise Refused(f"{path}: lies {away / side:.2g} times its size away from the origin; move it there")
    roots = [thing for thing in bpy.data.objects if thing.parent is None]
    stand = bpy.data.objects.new("stand", None)  # a parent of all, so that animated roots move with it too
    bpy.context.scene.collection.objects.link(stand)
    centre = Matrix.Translation(-Vector(((low + high) / 2).tolist()))
    spin = Matrix.Rotation(math.pi / 2 if turn else 0, 4, "Z")  # Blender's front is -y, ours +x
    stand.matrix_world = spin @ Matrix.Scale(1 / side, 4) @ centre
    for thing in roots:
        thing.parent = stand
        thing.matrix_parent_inverse = Matrix.Identity(4)
    bpy.context.view_layer.update()


def _bounds(path: str) -> tuple[Any, Any]:
    """Corners of the box around all vertices that are rendered, as they stand, modifiers applied."""
    corners = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        thing = instance.object
        if thing.hide_render or thing.type not in ("MESH", "CURVE", "SURFACE", "FONT", "META"):
            continue
        mesh = thing.to_mesh()
        if mesh is not None and len(mesh.polygons):
            points = np.empty(3 * len(mesh.vertices), np.float32)
            mesh.vertices.foreach_get("co", points)
            place = np.array(instance.matrix_world, np.float64)
            world = points.reshape(-1, 3).astype(np.float64) @ place[:3, :3].T + place[:3, 3]
            corners += [world.min(0), world.max(0)]
        thing.to_mesh_clear()
    if not corners:
        raise Refused(f"{path}: holds no triangles")
    if not np.isfinite(corners).all():
        raise Refused(f"{path}: holds points that are not finite numbers")
    return np.min(corners, axis=0), np.max(corners, axis=0)


def _colour_the_plain() -> None:
    """Show vertex colours that no material uses, and grey where there is neither colour nor material."""
    for mesh in bpy.data.meshes:
        colours = mesh.color_attributes[0].name if len(mesh.color_attributes) else ""
        if not len(mesh.materials):
            mesh.materials.append(_matt(colours))
        for material in filter(None, mesh.materials if colours else ()):
            tree = material.node_tree
            kinds = {node.bl_idname: node for node in (tree.nodes if tree else ())}
            surface = kinds.get("ShaderNodeBsdfPrincipled")
            if surface is None or kinds.keys() & {"ShaderNodeVertexColor", "ShaderNodeAttribute", "ShaderNodeTexImage"}:
                continue
            tint = tree.nodes.new("ShaderNodeMix")
            tint.data_type, tint.blend_type = "RGBA", "MULTIPLY"
            tint.inputs["Factor"].default_value = 1
            tint.inputs[6].default_value = surface.inputs["Base Color"].default_value  # A of the colours
            tree.links.new(_attribute(tree, colours), tint.inputs[7])
            tree.links.new(tint.outputs[2], surface.inputs["Base Color"])


def _matt(colours: str) -> Any:
    material = bpy.data.materials.new("matt")
    material.use_nodes = True
    surface = material.node_tree.nodes["Principled BSDF"]
    surface.inputs["Roughness"].default_value = 1
    surface.inputs["Base Color"].default_value = (_GREY, _GREY, _GREY, 1)
    if colours:
        material.node_tree.links.new(_attribute(material.node_tree, colours), surface.inputs["Base Color"])
    return material


def _attribute(tree: Any, name: str) -> Any:
    node = tree.nodes.new("ShaderNodeVertexColor")
    node.layer_name = name
    return node.outputs["Color"]


def _light(scene: Any, light: dict[str, Any]) -> None:
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    if light["kind"] == "area":
        _lamp(scene, "AREA", light["energy"], location=light["position"]).data.size = light["size"]
        if light["bulb"] > 0:
            _lamp(scene, "POINT", light["bulb"], location=light["bulb_position"]).data.shadow_soft_size = 0.1
        grey = scene.world.node_tree.nodes["Background"].inputs["Color"]
        grey.default_value = (0.0509, 0.0509, 0.0509, 1)  # a new scene's own
        return
    _sky(scene.world.node_tree, light["sky"])
    for name in ("key", "fill"):
        if light[name] > 0:  # a lamp's irradiance E leaves E / pi of a white surface, so pi undoes it
            lamp = _lamp(scene, "SUN", math.pi * light[name], colour=light["tint"])
            lamp.rotation_euler = Vector(light[f"{name}_direction"]).to_track_quat("Z", "Y").to_euler()  # shines to -z


def _lamp(scene: Any, kind: str, energy: float, **more: Any) -> Any:
    data = bpy.data.lights.new(kind, type=kind)
    data.energy, data.color = energy, more.get("colour", (1, 1, 1))
    lamp = bpy.data.objects.new(kind, data)
    lamp.location = more.get("location", (0, 0, 0))
    scene.collection.objects.link(lamp)
    return lamp


def _sky(tree: Any, sky: float) -> None:
    """Radiance sky (0.75 + 0.375 z) of direction z: its irradiance over pi is sky (0.75 + 0.25 z) of the normal."""
    where = tree.nodes.new("ShaderNodeTexCoord")
    axes = tree.nodes.new("ShaderNodeSeparateXYZ")
    ramp = tree.nodes.new("ShaderNodeMath")
    ramp.operation = "MULTIPLY_ADD"
    ramp.inputs[1].default_value, ramp.inputs[2].default_value = 0.375 * sky, 0.75 * sky
    background = tree.nodes["Background"]
    background.inputs["Color"].default_value = (1, 1, 1, 1)
    tree.links.new(where.outputs["Generated"], axes.inputs[0])
    tree.links.new(axes.outputs["Z"], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], background.inputs["Strength"])


def _set_up(scene: Any, job: dict[str, Any], options: dict[str, Any]) -> None:
    settings, cycles, render = job["cycles"], scene.cycles, scene.render
    render.engine = "CYCLES"
    render.resolution_y, render.resolution_x = job["hw"]
    render.film_transparent = settings["transparent"]
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    render.threads_mode, render.threads = "FIXED", options["threads"]
    render.use_persistent_data = True  # the scene is the same in all views of an object
    scene.view_settings.view_transform = settings["view_transform"]
    cycles.device = "CPU" if options["device"] == "cpu" else "GPU"
    cycles.samples, cycles.use_denoising = settings["samples"], settings["denoise"]
    cycles.diffuse_bounces, cycles.glossy_bounces = settings["diffuse_bounces"], settings["glossy_bounces"]
    cycles.transmission_bounces = settings["transmission_bounces"]
    cycles.transparent_max_bounces = settings["transparent_bounces"]
    cycles.filter_width = settings["filter_width"]


def _camera(scene: Any, field_of_view: float) -> Any:
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", 32
    data.lens = 16 / math.tan(field_of_view / 2)
    data.clip_start, data.clip_end = 0.01, 1000
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)
    return scene.camera


def _devices(kind: str) -> list[str]:
    """Turn on the devices of a kind; CUDA_VISIBLE_DEVICES decides which there are."""
    if kind == "cpu":
        return ["CPU"]
    settings = bpy.context.preferences.addons["cycles"].preferences
    try:
        settings.compute_device_type = kind.upper()
    except TypeError:
        raise Refused(f"this Blender computes with no {kind} device; use --device cpu") from None
    settings.get_devices()
    own = [device for device in settings.devices if device.type == kind.upper()]
    for device in settings.devices:
        device.use = device in own
    if not own:
        raise Refused(f"Blender sees no {kind} device here; use --device cpu")
    return [device.name for device in own]


if __name__ == "__main__":
    main()
