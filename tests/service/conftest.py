"""The smallest model, on disk, once for all tests of the service."""

import sys
from pathlib import Path

import pytest

from command import model_at

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")
