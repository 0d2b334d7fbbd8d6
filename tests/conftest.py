"""What all tests share: the models with known answers in this folder can be imported, and torch keeps to one core."""

import asyncio
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def an_event_loop_that_is_closed():
    """Gradio asks for this thread's event loop; where there is none, that makes one which nobody closes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
