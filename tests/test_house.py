"""The rules of the house: who may import whom, how large things may grow, and what never enters."""

import ast
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest

import zero123

PACKAGE = Path(__file__).parent.parent / "src" / "zero123"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

FLOORS = {
    "geometry": 0,
    "run_log": 0,
    "files": 0,
    "machine": 0,
    "images": 1,
    "meshes": 1,
    "jobs": 1,
    "diffusion": 2,
    "fields": 2,
    "models": 3,
    "pipeline": 4,
    "data": 4,
    "training": 5,
    "reconstruction": 5,
    "evaluation": 6,
    "presets": 6,
    "batch": 6,
    "service": 7,
    "verbs": 7,
    "ui": 8,
    "cli": 9,
    "__main__": 10,
}
"""Every room of the house; imports go down or stay in the room."""

OWN = {".".join(("zero123", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for p in FILES}


def name_of(path):
    return ".".join(("zero123", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path):
    """All modules a file imports anywhere in it, in full; for `from a import b`, `a.b` where that is a module."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in OWN else node.module


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_every_room_has_a_floor():
    assert {room(name) for name in OWN} - {None} <= FLOORS.keys()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down_or_stay_in_the_room(path):
    here = room(name_of(path))
    wrong = [
        module
        for module in imports(path)
        if module.split(".")[0] == "zero123"
        and room(module) not in (None, here)
        and here is not None  # the front door shows what is inside; see the test below
        and FLOORS[room(module)] >= FLOORS[here]
    ]
    assert not wrong


def test_the_front_door_opens_no_room_before_it_is_asked_to():
    """`zero123/__init__.py` runs before every room; what it shows of them it may only fetch inside a function."""
    body = TREES[PACKAGE / "__init__.py"].body
    at_once = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not [ast.unparse(n) for n in at_once if "zero123" in ast.unparse(n)]
    for path in FILES:
        taken = [
            a.name
            for n in ast.walk(TREES[path])
            if isinstance(n, ast.ImportFrom) and n.module == "zero123"
            for a in n.names
        ]
        assert set(taken) <= {"__version__"} | set(FLOORS), name_of(path)


def test_every_public_name_is_there():
    assert sorted(zero123._HOMES) == zero123.__all__
    assert all(getattr(zero123, name).__name__ == name for name in zero123.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zero123.nothing  # noqa: B018


def test_no_module_imports_itself_over_others():
    graph = {name_of(path): {m for m in imports(path) if m in OWN} - {name_of(path)} for path in FILES}
    graph["zero123"] = set()  # the front door fetches what it shows when asked; see the test above
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_page_no_blender_and_no_torchvision_in_the_core(path):
    forbidden = {"torchvision", "pytorch_lightning", "lightning", "clip", "taming", "ldm"}
    if room(name_of(path)) != "ui":
        forbidden.add("gradio")
    if name_of(path) != "zero123.data.render.blender_script":  # runs inside Blender, alone
        forbidden.add("bpy")
    assert not {module.split(".")[0] for module in imports(path)} & forbidden


def test_neither_torchvision_nor_cuda_libraries_are_installed():
    names = {(d.metadata["Name"] or "").lower() for d in distributions()}
    assert not {n for n in names if n == "torchvision" or n.startswith("nvidia-")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_says_what_it_is_for(path):
    if path.name == "__init__.py" and not TREES[path].body:
        pytest.fail("an empty module says nothing")
    text = ast.get_docstring(TREES[path]) or ""
    assert text.splitlines()[:1] and text.splitlines()[0].endswith("."), "the first line is one whole sentence"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_under_300_lines_and_functions_under_60(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    functions = [n for n in ast.walk(TREES[path]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {f.name: length(f) for f in functions if length(f) >= 60}


def length(function):
    """Lines of a function without its docstring, so that nobody saves on words."""
    words = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    return function.end_lineno - function.lineno + 1 - (words.end_lineno - words.lineno + 1 if words else 0)


def test_no_drawer_for_everything():
    names = {part for path in FILES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not {n for n in names if re.fullmatch(r"(.*_)?(utils?|common|misc|helpers?)", n)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_pickle_is_ever_run(path):
    used = {ast.unparse(n.func) for n in ast.walk(TREES[path]) if isinstance(n, ast.Call)}
    loads = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "numpy.load", "np.load"}
    allowed = {"np.load"}  # of plain arrays; pickles inside are refused by numpy unless asked for
    assert not used & (loads - allowed)
    assert "allow_pickle=True" not in path.read_text(encoding="utf-8")
    if name_of(path) != "zero123.models.weights.checkpoint":  # walks through pickles with every name disarmed
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_command_line_speaks(path):
    prints = [n.lineno for n in ast.walk(TREES[path]) if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"]
    assert not prints or room(name_of(path)) == "cli"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_bare_except(path):
    assert all(n.type is not None for n in ast.walk(TREES[path]) if isinstance(n, ast.ExceptHandler))


def test_readme_names_every_module():
    tree = (PACKAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert not {path.name for path in FILES if not path.name.startswith("__") and path.name not in tree}
