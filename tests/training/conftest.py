"""Every test trains in float32, whatever precision was used before it in this process."""

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture(scope="module", autouse=True)
def _own_precision():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
