"""What is proven on the CPU holds on a GPU: the original's numbers, memory limits, offloading."""

import pytest
import torch

from deterministic import golden, normal, photo, tiny_state
from tiny_model import blobs, tiny_view_model
from zero123.diffusion.sampling import SamplingSettings
from zero123.geometry.orbit import RelativePose
from zero123.images.matting import Matte
from zero123.images.photo import Photo
from zero123.models.pretrained import load_model
from zero123.pipeline import NovelViews

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

MOVES = RelativePose.from_degrees([0.0, 40.0, 80.0, 120.0], [10.0] * 4, [0.0] * 4)
GPU = torch.device("cuda")


@pytest.fixture
def full_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def a_photo():
    rgba = torch.cat((blobs(1)[0], torch.ones(1, 32, 32)))
    return Photo(rgba, Matte("alpha", 1.0, cropped=False), rgba[3:])


def test_the_released_architecture_gives_the_originals_numbers(full_precision, tmp_path):
    torch.save({"state_dict": tiny_state()}, tmp_path / "tiny.ckpt")
    model = load_model(tmp_path / "tiny.ckpt", device=GPU)
    model.settings = type(model.settings)(**{**vars(model.settings), "image_size": 64})
    with torch.no_grad():
        condition = model.condition(photo(0.0, 64).to(GPU), RelativePose.from_degrees([45.0], [30.0], [0.3]))
        noise = model.network(normal("tiny_x", (1, 4, 8, 8)).to(GPU), torch.tensor([261], device=GPU), condition)
    assert (noise.cpu() - golden("tiny_forward")["t261"]).abs().max() <= 1e-4


def test_views_are_those_of_the_cpu(full_precision):
    model = tiny_view_model()
    here = NovelViews(model)(a_photo(), MOVES, SamplingSettings(steps=3))
    there = NovelViews(model.to(GPU))(a_photo(), MOVES, SamplingSettings(steps=3))
    torch.testing.assert_close(there, here, atol=1e-3, rtol=0)


def test_offloading_leaves_the_gpu_empty_and_the_pictures_alike(full_precision):
    model = tiny_view_model()
    expected = NovelViews(model)(a_photo(), MOVES, SamplingSettings(steps=3))
    offloaded = NovelViews(model, device=GPU, offload=True)
    before = torch.cuda.memory_allocated(GPU)
    pictures = offloaded(a_photo(), MOVES, SamplingSettings(steps=3))
    assert torch.cuda.memory_allocated(GPU) <= before + 2**20
    assert model.device.type == "cpu"
    torch.testing.assert_close(pictures, expected, atol=1e-3, rtol=0)
