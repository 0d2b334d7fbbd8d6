"""What is packed for others: the model is in the wheel, nothing that is not ours, and `all` is all."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "zero123"


@pytest.fixture(scope="module")
def builders():
    return pytest.importorskip("hatchling.builders.wheel"), pytest.importorskip("hatchling.builders.sdist")


@pytest.fixture(scope="module")
def packed(builders):
    """Files of the wheel with where they come from."""
    wheel, _ = builders
    return {one.distribution_path: Path(one.path) for one in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}


@pytest.fixture(scope="module")
def project(builders):
    return builders[0].WheelBuilder(str(ROOT)).metadata.core


def test_every_module_the_types_and_all_data_are_in_the_wheel(packed):
    ours = {p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    ours |= set((ROOT / "examples" / "pictures").glob("*.*"))  # to try the page with
    assert {path.resolve() for path in packed.values()} == {path.resolve() for path in ours}
    assert {"zero123/py.typed", "zero123/cli/__init__.py", "zero123/evaluation/anchors.json"} <= packed.keys()


def test_mini_is_whole_in_the_wheel(packed):
    inside = {path.removeprefix("zero123/weights/mini/") for path in packed if path.startswith("zero123/weights/mini/")}
    index = next(name for name in inside if name.startswith("unet/") and name.endswith(".index.json"))
    parts = set(re.findall(r"[\w-]+\.safetensors", (PACKAGE / "weights" / "mini" / index).read_text()))
    assert parts and {f"unet/{part}" for part in parts} <= inside
    assert "README.md" in inside


def test_the_wheel_is_small_enough_to_send(packed):
    megabytes = sum(path.stat().st_size for path in packed.values()) / 1e6
    assert megabytes < 100, "a package index takes no file over 100 MB without being asked"


def test_neither_meshes_nor_caches_nor_other_peoples_files_are_packed(builders, packed):
    source = {one.distribution_path for one in builders[1].SdistBuilder(str(ROOT)).recurse_included_files()}
    for path in source | packed.keys():
        assert not re.search(
            r"(^|/)(\.hypothesis|__pycache__|\.venv|out|dist|\.ci)/|\.(pyc|ckpt|pt|pth|blend)$", path
        ), path
    assert {"pyproject.toml", "README.md", "LICENSE", "ATTRIBUTION.md", "tests/test_house.py"} <= source


def test_all_is_every_extra_that_serves_a_user(project):
    extras = project.optional_dependencies
    served = [extras[name] for name in extras.keys() - {"all", "dev", "docs"}]
    assert set(extras["all"]) == {package for packages in served for package in packages}
