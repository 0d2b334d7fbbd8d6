"""A stored tensor is read when asked, takes only its own bytes, and gives them back."""

import gc
import json
import mmap
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import zero123.models.weights.stored as stored
from zero123.models.weights import (
    StoredTensor,
    WeightsError,
    build_component,
    open_checkpoint,
    place_tensor,
    read_checkpoint,
)


def state():
    generator = torch.Generator().manual_seed(0)
    return {f"layer{n}": torch.randn(50, 3 + n, generator=generator) for n in range(12)} | {"step": torch.tensor(7)}


@pytest.fixture(params=[".ckpt", ".safetensors"])
def file(request, tmp_path):
    path = tmp_path / f"weights{request.param}"
    (torch.save if request.param == ".ckpt" else save_file)(state(), path)
    return path


def mappings(path):
    """Start and end of the parts of `path` that this process has mapped, in file offsets."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            span, _, offset = line.split()[:3]
            start, end = (int(number, 16) for number in span.split("-"))
            found.append((int(offset, 16), int(offset, 16) + end - start))
    return found


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="asks Linux what is mapped")
def test_a_file_is_mapped_only_while_a_tensor_of_it_lives(file, monkeypatch):
    monkeypatch.setattr(stored, "_TILE", mmap.ALLOCATIONGRANULARITY)
    tensors = read_checkpoint(file)
    assert not mappings(file)
    first = tensors["layer0"].read()
    assert 1 <= len(mappings(file)) <= 2
    del first
    gc.collect()
    assert not mappings(file)


@pytest.mark.parametrize("tile", [mmap.ALLOCATIONGRANULARITY, 2 * mmap.ALLOCATIONGRANULARITY, 2**27])
def test_tensors_across_the_borders_of_tiles_are_whole(tmp_path, monkeypatch, tile):
    monkeypatch.setattr(stored, "_TILE", tile)
    big = {f"w{n}": torch.arange(n * 30_000, dtype=torch.float32).reshape(-1, 3) for n in range(1, 6)}
    save_file(big, tmp_path / "a.safetensors")
    torch.save({key: value.T for key, value in big.items()}, tmp_path / "a.ckpt")
    for key, value in big.items():
        assert torch.equal(read_checkpoint(tmp_path / "a.safetensors")[key].read(), value)
        assert torch.equal(read_checkpoint(tmp_path / "a.ckpt")[key].read(), value.T)


def test_a_change_is_made_on_reading_and_known_before(file):
    tensor = read_checkpoint(file)["layer2"].then(lambda t: t.T.half())
    assert tensor.shape == (5, 50)
    assert (tensor.dtype, tensor.ndim, tensor.nbytes) == (torch.float16, 2, 500)
    assert torch.equal(tensor.read(), state()["layer2"].T.half())


def test_a_tensor_in_memory_reads_as_itself():
    tensor = torch.ones(3)
    assert StoredTensor.of(tensor).read() is tensor


def test_a_file_that_became_shorter_is_named(file):
    tensor = read_checkpoint(file)["layer11"]
    file.write_bytes(b"")
    with pytest.raises(WeightsError, match="was it changed"):
        tensor.read()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.uint8])
def test_every_type_comes_back(tmp_path, dtype):
    value = torch.arange(6).reshape(2, 3).to(dtype)
    save_file({"a": value, "empty": torch.zeros(0, 4, dtype=dtype)}, tmp_path / "a.safetensors")
    read = {key: tensor.read() for key, tensor in read_checkpoint(tmp_path / "a.safetensors").items()}
    assert torch.equal(read["a"], value)
    assert read["empty"].shape == (0, 4)
    assert read["empty"].dtype == dtype


def test_tensors_at_odd_places_are_read(tmp_path):
    """No rule of the format asks for alignment, though every writer keeps it."""
    header = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    header["b"] = {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]}
    text = json.dumps(header).encode()
    numbers = bytes([1, 2, 3]) + struct.pack("<2f", 0.5, -2.0)
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    try:
        tensors = read_checkpoint(tmp_path / "odd.safetensors")
    except WeightsError:  # a library that asks for it after all
        return
    assert tensors["b"].read().tolist() == [0.5, -2.0]


def test_the_note_of_a_safetensors_file_is_found(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"zero123": "{}", "format": "pt"})
    assert open_checkpoint(tmp_path / "a.safetensors").note == "{}"


def test_networks_are_built_one_tensor_at_a_time():
    alive, most = 0, 0

    class Counted:
        """Counts itself while the tensor that holds it lives."""

        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def lazily(shape):
        def read():
            tensor = torch.zeros(shape)
            tensor.counted = Counted()
            return tensor

        return StoredTensor(torch.Size(shape), torch.float32, read)

    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(5)))

    tensors = {key: lazily(tuple(value.shape)) for key, value in Deep().state_dict().items()}
    network = build_component(Deep, {}, tensors, "deep", dtype=torch.float16)
    assert most == 1
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float16}


def test_a_place_of_ones_own_gets_every_tensor_ready():
    seen = {}

    def place(network, key, tensor):
        seen[key] = (tensor.dtype, tuple(tensor.shape))
        place_tensor(network, key, 2 * tensor)

    linear = torch.nn.Linear(2, 3)
    config = {"in_features": 2, "out_features": 3}
    network = build_component(torch.nn.Linear, config, linear.state_dict(), "linear", dtype=torch.bfloat16, place=place)
    assert seen == {"weight": (torch.bfloat16, (3, 2)), "bias": (torch.bfloat16, (3,))}
    assert torch.equal(network.weight, 2 * linear.weight.bfloat16())
