"""The command line does what it says; a mistake is one line on standard error, code 2, and leaves nothing behind."""

import dataclasses
import functools
import math
import os
import re
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from command import model_at
from zero123 import __version__, cli
from zero123.images import io
from zero123.images.spread import spread_picture
from zero123.reconstruction import fit as fit_room
from zero123.reconstruction import from_photo as room
from zero123.reconstruction import from_views as room_of_views
from zero123.reconstruction import turntable
from zero123.reconstruction.fit import FitSettings
from zero123.reconstruction.from_views import ReconstructionSettings
from zero123.reconstruction.hull import HullSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def ball(tmp_path, monkeypatch):
    """A picture of a red ball; the current folder is a new one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZERO123_DEBUG", raising=False)
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path / "nothing"))
    place = (torch.arange(48) + 0.5) / 24 - 1
    alpha = ((0.7 - torch.hypot(place[:, None], place[None])) * 24).clamp(0, 1)
    grey = torch.full((48, 48), 0.2)
    io.save("ball.png", torch.stack((0.5 + 0.4 * place[:, None].expand(48, 48), grey, grey, alpha)))
    return tmp_path / "ball.png"


@pytest.fixture
def zero123(monkeypatch, capsys):
    """Runs the entry point in this process; code, standard output, lines on standard error."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zero123", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return run


def process(*arguments):
    environment = {k: v for k, v in os.environ.items() if k != "ZERO123_DEBUG"}
    command = [sys.executable, "-c", "from zero123.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


def contents(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


# What it is like to use


def test_help_is_instant_and_imports_nothing_heavy():
    check = (
        "import sys\nfrom zero123 import cli\nsys.argv = ['zero123', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'transformers', 'PIL', 'cv2', 'trimesh'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=240)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (run.returncode, run.stderr) == (0, "")
    assert all(verb in run.stdout for verb in ("views", "orbit", "reconstruct", "demo", "train", "evaluate", "data"))
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 0.5  # seconds of the processor's time


def test_version_and_no_verb(zero123):
    assert zero123("--version") == (0, f"zero123 {__version__}\n", "")
    code, out, _ = zero123()
    assert code == 0
    assert "reconstruct" in out


@pytest.mark.parametrize("verb", ["views", "orbit", "reconstruct", "demo", "codec", "train", "evaluate", "data"])
def test_every_verb_explains_itself(zero123, verb):
    code, out, err = zero123(verb, "--help")
    assert (code, err) == (0, "")
    assert "Usage" in out


def test_views_writes_what_it_says(zero123, ball, model):
    moves = ("--azimuth-deg", 30, "--azimuth-deg", 60, "--elevation-deg", -20)
    code, out, err = zero123("views", ball, *moves, "--steps", 2, "--scale", 1.5, "--model", model, "-o", "result")
    assert code == 0, err
    assert out.splitlines()[-1] == "2 views in result/views, all of them in result/sheet.png"
    assert "object found by alpha" in out
    result = ball.parent / "result"
    assert contents(result) == ["input.png", "mask.png", "sheet.png", "views", "views/000.png", "views/001.png"]
    assert io.load(result / "views" / "001.png").shape == (3, 32, 32)
    assert io.load(result / "mask.png").shape[-2:] == (48, 48)
    first = (result / "views" / "000.png").read_bytes()
    zero123("views", ball, *moves, "--steps", 2, "--scale", 1.5, "--model", model, "-o", "again")
    assert (ball.parent / "again" / "views" / "000.png").read_bytes() == first
    zero123("views", ball, *moves, "--steps", 2, "--scale", 1.5, "--seed", 1, "--model", model, "-o", "again")
    assert (ball.parent / "again" / "views" / "000.png").read_bytes() != first


def test_a_plane_of_symmetry_that_is_told_shows_in_the_views(zero123, ball, model):
    asked = ("views", ball, "--azimuth-deg", 60, "--steps", 1, "--scale", 1, "--model", model)
    pictures = {}
    for told in ("none", "30", "210", "-70", "auto"):
        code, out, err = zero123(*asked, "--symmetry", told, "-o", f"told{told}")
        assert code == 0, err
        assert ("taken to be alike about" in out) == (told == "auto")
        pictures[told] = (ball.parent / f"told{told}" / "views" / "000.png").read_bytes()
    assert pictures["30"] == pictures["210"]  # a plane has two sides
    assert len(set(pictures.values())) == 4
    about = re.search(r"alike about (-?\d+)° to the right of the camera; --symmetry DEGREES tells", out)
    code, _, err = zero123(*asked, "--symmetry", about[1], "-o", "as found")
    assert code == 0, err
    assert (ball.parent / "as found" / "views" / "000.png").read_bytes() == pictures["auto"]


def test_samples_of_a_view_are_told_apart_by_name(zero123, ball, model):
    fast = ("--steps", 2, "--guidance-interval", 0.5, 5, "--int8", "--dtype", "float32", "--model", model)
    code, out, err = zero123("views", ball, "--samples", 2, *fast, "-o", "result")
    assert code == 0, err
    pictures = sorted((ball.parent / "result" / "views").iterdir())
    assert [path.name for path in pictures] == ["000-0.png", "000-1.png", "000-spread.npy", "000-spread.png"]
    assert "where the model guesses: spread of the 2 samples in result/views/*-spread.png and .npy" in out
    spread, (first, second) = np.load(pictures[2]), (io.load(path) for path in pictures[:2])
    doubt = math.exp(-3)  # of a fresh draft, everywhere
    expected = ((first - second).square().mean(0) / 2 + doubt**2).sqrt()
    np.testing.assert_allclose(spread, expected, atol=1.5 / 255)  # pictures are rounded to 8 bits
    assert torch.allclose(io.load(pictures[3]), spread_picture(torch.from_numpy(spread)), atol=0.6 / 255)
    assert io.load(ball.parent / "result" / "sheet.png").shape[-1] == 4 * (32 + 8)  # picture, two samples, spread
    assert pictures[0].read_bytes() != pictures[1].read_bytes()
    zero123("views", ball, "--seed", 1, *fast, "-o", "again")
    assert (ball.parent / "again" / "views" / "000.png").read_bytes() == pictures[1].read_bytes()


def test_bars_are_for_terminals_and_give_way_to_an_error(zero123, ball, model, monkeypatch):
    assert "drawing" not in zero123("views", ball, "--steps", 1, "--model", model)[2]
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = zero123("views", ball, "--steps", 1, "--model", model)
    assert (code, "drawing 1 views" in err, "drawing" in out) == (0, True, False)
    code, _, err = zero123("views", ball, "--model", "nobody")
    assert code == 2
    assert "error: nobody: no such model" in err.splitlines()[-1]


def test_orbit_writes_a_video_into_a_folder_named_after_the_picture(zero123, ball, model):
    code, out, err = zero123("orbit", ball, "--frames", 3, "--steps", 1, "--scale", 1, "--model", model)
    assert code == 0, err
    assert out.splitlines()[-1] == "out/ball/orbit.mp4"
    assert contents(ball.parent / "out") == ["ball", "ball/input.png", "ball/mask.png", "ball/orbit.mp4"]
    assert (ball.parent / "out" / "ball" / "orbit.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.fixture
def quick(monkeypatch):
    """A small reconstruction of a ball; what models draw and how fits converge is tested elsewhere."""
    small = ReconstructionSettings(
        hull=HullSettings(cells=24), fit=FitSettings(grids=(16,), steps=(6,), rays=512), picture_size=32
    )
    original, pictures = room.from_views, turntable.render_turntable

    def from_views(images, camera, settings, progress, *others):
        images = images[:1].expand_as(images)
        return original(
            images,
            camera,
            dataclasses.replace(small, faces=settings.faces, texture=settings.texture),
            progress,
            *others,
        )

    monkeypatch.setattr(room, "from_views", from_views)
    monkeypatch.setattr(turntable, "render_turntable", functools.partial(pictures, count=3, hw=(32, 32)))


@pytest.mark.parametrize("verb", ["reconstruct", "demo"])
def test_reconstruct_and_demo_write_what_they_say(zero123, ball, model, quick, verb):
    rest = ("-o", "r/ball.glb", "--steps", 1, "--scale", 1, "--faces", 500) if verb == "reconstruct" else ("-o", "r")
    code, out, err = zero123(verb, ball, "--model", model, *rest)
    assert code == 0, err
    mesh = "ball.glb" if verb == "reconstruct" else "model.glb"
    expected = {"input.png", "mask.png", "reconstruction-views.png", "turntable.mp4", mesh}
    if verb == "demo":
        expected |= {"sheet.png", "orbit.mp4", "views", *(f"views/{k:03d}.png" for k in range(12))}
        assert out.splitlines()[-1].startswith("r: views/, sheet.png, orbit.mp4, model.glb")
    else:
        assert out.splitlines()[-1] == "r/ball.glb, turning in r/turntable.mp4"
    assert set(contents(ball.parent / "r")) == expected
    assert (ball.parent / "r" / mesh).read_bytes()[:4] == b"glTF"


def test_what_a_stopped_fit_had_is_kept_and_said(zero123, ball, model, quick, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_room, "SHOW_EVERY", 2)
    monkeypatch.setattr(room_of_views, "surface_of", stopped)
    code, out, err = zero123("reconstruct", ball, "--steps", 1, "--scale", 1, "--model", model, "-o", "r/m.glb")
    assert (code, err) == (130, "error: stopped\n")
    assert "what there is so far is kept in r: reconstruction-views.png, preview.png" in out
    assert set(contents(ball.parent / "r")) == {"input.png", "mask.png", "reconstruction-views.png", "preview.png"}


def test_an_empty_background_is_no_object(zero123, ball, model):
    before = contents(ball.parent)
    io.save("blank.png", torch.full((3, 48, 48), 0.7))
    code, out, err = zero123("reconstruct", "blank.png", "--model", model)
    assert (code, out) == (2, "")
    assert "no object" in err and err.count("\n") == 1
    assert contents(ball.parent) == sorted([*before, "blank.png"])


def test_remarks_on_a_picture_are_said_before_the_work(zero123, ball, model, quick):
    two = io.load("ball.png")
    two[:, :15, :15] = torch.tensor([0.9, 0.2, 0.2, 1.0])[:, None, None]
    two[3, 13:15, :15] = two[3, :15, 13:15] = 0
    io.save("two.png", two)
    code, out, err = zero123("reconstruct", "two.png", "--steps", 1, "--scale", 1, "--model", model, "--time", "30s")
    assert code == 0, err
    assert "note: 2 separate things are seen and made into one object; crop the picture to the one wanted" in out


def test_the_poles_are_heights_a_picture_can_be_taken_from(zero123, ball, model, quick):
    rest = ("--steps", 1, "--scale", 1, "--model", model, "--photo-elevation-deg", 90, "-o", "r/m.ply")
    code, out, err = zero123("reconstruct", ball, *rest)
    assert code == 0, err
    assert "picture taken to be from 90° above the horizon" in out
    assert "note: the picture is taken from straight above; all sides of the object are guessed" in out


def test_what_else_is_wanted_of_a_mesh_lies_beside_it(zero123, ball, model, quick):
    wanted = ("--format", "obj", "--turntable", "gif", "--depth-normals", "--export-dataset", "scene", "--texture", 64)
    code, out, err = zero123("reconstruct", ball, "--steps", 1, "--scale", 1, "--model", model, "--faces", 300, *wanted)
    assert code == 0, err
    assert out.splitlines()[-1] == "out/ball/model.obj, turning in out/ball/turntable.gif"
    made = set(contents(ball.parent / "out" / "ball"))
    assert {
        "model.obj",
        "model.mtl",
        "model.png",
        "turntable.gif",
        "sides/000-depth.npy",
        "sides/007-normals.png",
    } <= made
    assert io.load(ball.parent / "out" / "ball" / "model.png").shape == (3, 64, 64)
    scene = set(contents(ball.parent / "scene"))
    assert {"transforms.json", "points.ply", "images/020.png", "sparse/0/images.txt", "sparse/0/points3D.txt"} <= scene


# Mistakes


def refused(result, folder, before, message):
    code, out, err = result
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert code == 2
    assert out == ""
    assert contents(folder) == before


def bomb():
    """A PNG of a few bytes that says it is 30000 pixels a side."""
    chunks = b""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


def bad_picture(kind, folder):
    path = folder / "bad.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is no picture")
    elif kind == "truncated":
        path = folder / "bad.jpg"
        io.save(path, torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)))
        path.write_bytes(path.read_bytes()[:800])
    elif kind == "1x1":
        io.save(path, torch.ones(3, 1, 1))
    elif kind == "transparent":
        io.save(path, torch.zeros(4, 32, 32))
    elif kind == "bomb":
        path.write_bytes(bomb())
    return path


PICTURES = {
    "missing": "no such picture",
    "folder": "is a folder",
    "text": "is not a picture",
    "truncated": "is damaged or cut short",
    "1x1": "too small",
    "transparent": "transparent everywhere",
    "bomb": "over 100 million",
}


@pytest.mark.parametrize("verb", ["views", "reconstruct"])
@pytest.mark.parametrize("kind", PICTURES)
def test_bad_pictures_are_refused(zero123, ball, model, kind, verb):
    path = bad_picture(kind, ball.parent)
    before = contents(ball.parent)
    refused(zero123(verb, path, "--model", model), ball.parent, before, PICTURES[kind])


ARGUMENTS = {
    ("views", "--elevation-deg", "nan"): "elevation_deg must be a number from -180 to 180, got nan",
    ("views", "--azimuth-deg", "inf"): "azimuth_deg must be",
    ("views", "--radius", "9"): "radius must be",
    ("views", "--azimuth-deg", "many"): "azimuth-deg",
    ("views", "--steps", "0"): "steps must be in 1 to 1000, got 0",
    ("views", "--scale", "nan"): "scale must be in 0 to 100, got nan",
    ("views", "--seed", "-1"): "seed must be",
    ("views", "--device", "abacus"): "device 'abacus' cannot be used",
    ("views", "--background", "magic"): "magic",
    ("views", "--photo-elevation-deg", "nan"): "the photo's elevation must be",
    ("views", "--model", "nobody"): "nobody: no such model",
    ("views", "--dtype", "int4"): "dtype must be one of float32, bfloat16, float16, got 'int4'",
    ("views", "--solver", "magic"): "solver must be one of",
    ("views", "--spacing", "magic"): "spacing must be one of",
    ("views", "--symmetry", "left"): "--symmetry must be auto, none or degrees, got 'left'",
    ("views", "--symmetry", "nan"): "symmetry must be from -360 to 360 degrees, got nan",
    ("views", "--guidance-interval", "5", "1"): "guidance_interval must be two rising noise levels",
    ("views", "--guidance-interval", "5"): "--guidance-interval",
    ("views", "--samples", "0"): "samples",
    ("views", "--max-memory", "0.1"): "max_memory of 0.1 GB is too little: one view with this model takes",
    ("views", "--model", "105000"): "105000 is not on this machine; `zero123 weights get 105000`",
    ("views", "--color", "red"): "--color",
    ("orbit", "--frames", "1"): "frames",
    ("orbit", "--elevation-deg", "nan"): "must be a number from -180 to 180, got nan",
    ("reconstruct", "-o", "mesh.blend"): "ends in .glb, .obj, .ply, .stl",
    ("reconstruct", "--faces", "1"): "faces",
    ("reconstruct", "--format", "fbx"): "--format must be glb, obj, ply, stl, got fbx",
    ("reconstruct", "--format", "ply", "-o", "mesh.glb"): "another format than --format ply",
    ("reconstruct", "--time", "soon"): "time must be at least 10s, as 30s, 2m or 1h, got 'soon'",
    ("reconstruct", "--time", "30s", "--method", "sjc"): "--time is of --method views: sjc ends after --steps",
    ("reconstruct", "--turntable", "avi"): "--turntable must be mp4, gif, webp, got avi",
    ("paint",): "paint",
}


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_bad_arguments_are_refused(zero123, ball, model, arguments):
    before = contents(ball.parent)
    verb, *rest = arguments
    named = () if "--model" in rest or not rest else ("--model", model)
    refused(zero123(verb, ball, *rest, *named), ball.parent, before, ARGUMENTS[arguments])


@pytest.mark.parametrize("verb", ["views", "orbit", "reconstruct"])
def test_an_output_that_cannot_be_written_is_refused(zero123, ball, model, verb):
    (ball.parent / "file").write_text("in the way")
    before = contents(ball.parent)
    out = "file/out/m.glb" if verb == "reconstruct" else "file/out"
    result = zero123(verb, ball, "--model", model, "-o", out)
    refused(result, ball.parent, before, "cannot write into the folder file/out")
    refused(zero123(verb, ball, "--model", model, "-o", f"/proc/no/{out}"), ball.parent, before, "/proc/no/file/out")


def break_folder(folder, kind):
    weights = next((folder / "unet").glob("*.safetensors"))
    state = load_file(weights)
    if kind == "missing":
        del state["conv_in.weight"]
    elif kind == "misshapen":
        state["conv_in.weight"] = torch.zeros(3, 3)
    else:
        state["conv_in.weight"][0] = float("nan")
    save_file(state, weights)


@pytest.mark.parametrize("kind", ["missing", "misshapen", "not finite"])
def test_a_broken_model_is_refused(zero123, ball, kind):
    folder = ball.parent / "broken"
    model_at(folder)
    break_folder(folder, kind)
    before = contents(ball.parent)
    result = zero123("views", ball, "--model", folder)
    refused(result, ball.parent, before, "conv_in.weight")
    assert "unet" in result[2]


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_malicious_checkpoint_is_refused_in_a_process_of_its_own(ball):
    torch.save({"state_dict": {"a": Evil(f"touch {ball.parent / 'owned'}")}}, "evil.ckpt")
    before = contents(ball.parent)
    run = process("views", ball, "--model", "evil.ckpt")
    refused((run.returncode, run.stdout, run.stderr), ball.parent, before, "refused, nothing was run")


def test_a_good_run_in_a_process_of_its_own_ends_well(ball, model):
    run = process("views", ball, "--steps", 1, "--model", model, "-o", "r")
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "Warning" not in run.stderr
    assert (ball.parent / "r" / "sheet.png").is_file()


def test_errors_of_our_own_making_are_said_without_a_traceback_and_shown_on_request(zero123, ball, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug\nof ours")

    monkeypatch.setattr(io, "load", broken)
    code, _, err = zero123("views", ball)
    assert (code, err) == (1, "error: unexpected RuntimeError: a bug of ours; set ZERO123_DEBUG=1 to see where\n")
    monkeypatch.setenv("ZERO123_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["zero123", "views", str(ball)])
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


def test_an_interrupt_is_said_and_leaves_the_shells_code(zero123, ball, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "load", interrupted)
    assert zero123("views", ball) == (130, "", "error: stopped\n")


def test_objects_are_made_fitted_and_judged(zero123, ball, model):
    made = ("--count", 3, "--views", 3, "--size", 32, "--processes", 1)
    code, out, err = zero123("data", "procedural", "-o", "sets", *made)
    assert code == 0, err
    assert "3 objects in sets, 0 failed" in out
    assert len(list((ball.parent / "sets").rglob("002.npy"))) == 3
    code, out, err = zero123("codec", ball.parent / "sets", "-o", "codec")
    assert code == 0, err
    assert "codec/vae" in out
    code, out, err = zero123("evaluate", ball.parent / "sets", "-o", "scores", "--model", model, "--targets", 2)
    assert code == 0, err
    assert (ball.parent / "scores" / "scores.json").is_file()


def test_data_that_is_not_there_is_named(zero123, ball):
    (ball.parent / "sets").mkdir()
    before = contents(ball.parent)
    for arguments, message in (
        (("data", "render", "sets", "-o", "more"), "no meshes found"),
        (("codec", "sets", "-o", "more"), "holds no view sets"),
        (("codec", "nowhere", "-o", "more"), "nowhere"),
        (("evaluate", "sets", "-o", "more"), "holds no view sets that match"),
        (("train", "sets", "--codec", "nowhere", "-o", "more"), "nowhere"),
        (("train", "sets=much", "--codec", "nowhere", "-o", "more"), "sets=much: expected FOLDER, or FOLDER=WEIGHT"),
        (("train", "sets=nan", "--codec", "nowhere", "-o", "more"), "sets=nan: expected FOLDER, or FOLDER=WEIGHT"),
    ):
        refused(zero123(*arguments), ball.parent, before, message)
