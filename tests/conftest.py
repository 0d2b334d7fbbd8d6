"""What all tests share: the models with known answers in this folder can be imported, and torch keeps to one core."""

import asyncio
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def event_loops_are_closed():
    """Gradio sets new event loops for every page it builds and closes none, which later tests would be blamed for."""
    made, new = [], asyncio.new_event_loop
    with patch.object(asyncio, "new_event_loop", lambda: made.append(new()) or made[-1]):
        yield
    for loop in made:
        if not loop.is_running():
            loop.close()
