"""three.js in a headless browser shows the GLB as we draw it: place, outline and colours."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from zero123.geometry.camera import Camera
from zero123.geometry.orbit import OrbitPose
from zero123.images import io
from zero123.meshes.bake import bake
from zero123.meshes.export import export_mesh
from zero123.meshes.mesh import Mesh
from zero123.meshes.raster import draw_picture

THREE = Path(os.environ.get("ZERO123_NODE_MODULES", "")) / "three"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
with_three = pytest.mark.skipif(
    BROWSER is None or not THREE.is_dir(),
    reason="no browser, or no three.js: npm install three, and set ZERO123_NODE_MODULES to its node_modules",
)
SIZE = 256
PAGE = """<!doctype html><style>body { margin: 0; overflow: hidden }</style>
<script type="importmap">{"imports": {"three": "/three/build/three.module.js"}}</script>
<script type="module">
import * as THREE from 'three';
import { GLTFLoader } from '/three/examples/jsm/loaders/GLTFLoader.js';
const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(%(size)d, %(size)d);
document.body.appendChild(renderer.domElement);
const scene = new THREE.Scene();
scene.background = new THREE.Color(1, 1, 1);
scene.add(new THREE.AmbientLight(0xffffff, Math.PI));
const camera = new THREE.PerspectiveCamera(%(lens)f, 1, 0.1, 10);
camera.position.set(%(x)f, %(y)f, %(z)f);
camera.lookAt(0, 0, 0);
const glb = await new GLTFLoader().loadAsync('/mesh.glb');
scene.add(glb.scene);
renderer.render(scene, camera);
</script>"""
FLAGS = [
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *(
        "--disable-sync",
        "--disable-quic",
        "--hide-scrollbars",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
    ),
]


@pytest.fixture
def served(tmp_path):
    """A folder with three.js in it, and where a browser finds it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "three").symlink_to(THREE.resolve())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()


def lopsided():
    """No symmetry; closed; a texture with a colour for each place."""
    solid = trimesh.creation.icosphere(4, 0.3)
    vertices = np.asarray(solid.vertices, np.float32)
    vertices[:, 0] += 0.15 * np.maximum(vertices[:, 0], 0) * (vertices[:, 2] > 0) + 0.3 * vertices[:, 2] ** 2
    vertices[:, 1] *= 1.3
    paint = lambda points, normals: np.clip(0.5 + 0.9 * points, 0.1, 0.9).astype(np.float32)  # noqa: E731
    return bake(Mesh(vertices, np.asarray(solid.faces, np.int64)), 256, paint)


@with_three
def test_three_shows_the_glb_as_we_draw_it(served, tmp_path):
    folder, address = served
    mesh, pose = lopsided(), OrbitPose.from_degrees(25.0, 20.0, 1.85)
    export_mesh(mesh, folder / "mesh.glb")
    camera = Camera.from_orbit(pose, hw=(SIZE, SIZE))
    x, y, z = pose.point().tolist()  # the file's axes: +Y up, our front, +x, to +Z
    lens = float(np.rad2deg(camera.field_of_view))
    (folder / "page.html").write_text(PAGE % {"size": SIZE, "lens": lens, "x": y, "y": z, "z": x})
    shot = tmp_path / "shot.png"
    places = (f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", f"--window-size={SIZE},{SIZE}")
    subprocess.run(
        [BROWSER, *FLAGS, *places, "--virtual-time-budget=20000", address], check=True, capture_output=True, timeout=120
    )
    seen, ours = io.load(shot)[:3, :SIZE, :SIZE], torch.from_numpy(draw_picture(mesh, camera))
    theirs, outline = (seen < 0.97).any(0), ours[3] > 0.5
    assert float((theirs & outline).sum() / (theirs | outline).sum()) > 0.98
    both = theirs & outline
    assert float((seen - ours[:3]).abs().mean(0)[both].mean()) < 0.02
