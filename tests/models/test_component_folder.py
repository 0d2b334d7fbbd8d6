"""Model folders: what is saved comes back, what is broken is named, and no write leaves half a folder."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123.models.weights import WeightsError, load_component, save_component


class Scale(nn.Module):
    """A network of our own, with its settings beside it."""

    def __init__(self, width):
        super().__init__()
        self.config = {"width": width}
        self.gain = nn.Parameter(torch.arange(float(width)))
        self.register_buffer("grid", torch.arange(width) * 2.0, persistent=False)


def small_vae():
    torch.manual_seed(0)
    return AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, layers_per_block=1, latent_channels=4)


def small_unet():
    return UNet2DConditionModel(
        in_channels=8,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=2,
        layers_per_block=1,
    )


def small_clip():
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    return CLIPVisionModelWithProjection(config)


@pytest.mark.parametrize("make", [small_vae, small_unet, small_clip, lambda: Scale(5)])
@pytest.mark.parametrize("shard_bytes", [None, 4096])
def test_what_is_saved_comes_back(tmp_path, make, shard_bytes):
    network = make()
    save_component(network, tmp_path / "part", shard_bytes=shard_bytes)
    again = load_component(tmp_path / "part", type(network))
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert all(not tensor.is_meta for tensor in (*again.parameters(), *again.buffers()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part"]


@pytest.mark.parametrize("make", [small_vae, small_clip])
def test_the_libraries_read_our_folders(tmp_path, make):
    network = make()
    save_component(network, tmp_path / "part")
    again = type(network).from_pretrained(tmp_path / "part", local_files_only=True)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("make", [small_vae, small_clip])
@pytest.mark.parametrize("shard", [None, "4KB"])
def test_folders_of_the_libraries_are_read(tmp_path, make, shard):
    network = make()
    network.save_pretrained(tmp_path / "part", **({"max_shard_size": shard} if shard else {}))
    again = load_component(tmp_path / "part", type(network))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_a_folder_can_be_written_in_half_precision_and_read_in_single(tmp_path):
    save_component(Scale(3), tmp_path / "part", dtype=torch.float16)
    assert load_file(tmp_path / "part" / "diffusion_pytorch_model.safetensors")["gain"].dtype == torch.float16
    assert load_component(tmp_path / "part", Scale).gain.dtype == torch.float32
    assert load_component(tmp_path / "part", Scale, dtype=torch.bfloat16).gain.dtype == torch.bfloat16


def test_a_loaded_network_trains_and_leaves_its_file_alone(tmp_path):
    save_component(Scale(3), tmp_path / "part")
    before = (tmp_path / "part" / "diffusion_pytorch_model.safetensors").read_bytes()
    network = load_component(tmp_path / "part", Scale)
    assert network.gain.requires_grad
    with torch.no_grad():
        network.gain.add_(1)
    assert (tmp_path / "part" / "diffusion_pytorch_model.safetensors").read_bytes() == before


def refusal(folder, cls=Scale):
    with pytest.raises(WeightsError) as caught:
        load_component(folder, cls, "part")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("gain"), "part: missing tensor gain"),
        (lambda state: state.update(extra=torch.zeros(1)), "part: unknown tensor extra"),
        (lambda state: state.update(gain=torch.zeros(4)), r"part: tensor gain must have shape (3,), got (4,)"),
        (lambda state: state.update(gain=torch.tensor([1, 2, 3])), "part: tensor gain must hold torch.float32"),
        (lambda state: state["gain"].fill_(torch.nan), "part: tensor gain holds values that are not finite"),
        (lambda state: state["gain"].fill_(torch.inf), "part: tensor gain holds values that are not finite"),
    ],
)
def test_a_bad_tensor_is_named(tmp_path, change, message):
    save_component(Scale(3), tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = {"gain": torch.ones(3)}
    change(state)
    save_file(state, file)
    assert message in refusal(tmp_path)


def test_a_bad_folder_is_named(tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    folder = tmp_path / "part"
    folder.mkdir()
    assert "config.json: no such file" in refusal(folder)
    config = folder / "config.json"
    config.write_text("{")
    assert "not valid JSON" in refusal(folder)
    config.write_text("[1]")
    assert "must hold a JSON object" in refusal(folder)
    config.write_text('{"width": 3}')
    assert "no .safetensors file" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert "pytorch_model.bin: is a bare pickle" in refusal(folder)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0")
    assert "truncated" in refusal(folder)
    save_file({"gain": torch.ones(3)}, folder / "model.safetensors")
    assert torch.equal(load_component(folder, Scale).gain, torch.ones(3))
    for name in ("a", "b"):
        save_file({"gain": torch.ones(3)}, folder / f"{name}.safetensors")
    (folder / "model.safetensors").unlink()
    assert "2 .safetensors files" in refusal(folder)


def test_files_named_for_a_precision_and_pickled_ones_are_read(tmp_path):
    save_component(Scale(3), tmp_path)
    usual = tmp_path / "diffusion_pytorch_model.safetensors"
    usual.rename(tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    assert torch.equal(load_component(tmp_path, Scale).gain, Scale(3).gain)
    (tmp_path / "diffusion_pytorch_model.fp16.safetensors").unlink()
    torch.save({"gain": 2 * torch.ones(3)}, tmp_path / "diffusion_pytorch_model.bin")
    assert torch.equal(load_component(tmp_path, Scale).gain, 2 * torch.ones(3))
    save_file({"gain": torch.ones(3)}, usual)  # never the pickle where there is a choice
    assert torch.equal(load_component(tmp_path, Scale).gain, torch.ones(3))


def test_a_type_too_small_for_a_tensor_is_refused_and_the_tensor_named(tmp_path):
    network = Scale(3)
    network.gain.data[1] = 1e5
    with pytest.raises(WeightsError, match=r"tensor gain is too large for torch.float16"):
        save_component(network, tmp_path / "part", dtype=torch.float16)
    assert not list(tmp_path.iterdir())
    save_component(network, tmp_path / "part")
    with pytest.raises(WeightsError, match=r"tensor gain holds values that are not finite in torch.float16"):
        load_component(tmp_path / "part", Scale, dtype=torch.float16)


@pytest.mark.parametrize("make", [small_vae, small_clip, lambda: Scale(3)])
def test_settings_that_do_not_fit_are_an_error(tmp_path, make):
    network = make()
    save_component(network, tmp_path / "part")
    path = tmp_path / "part" / "config.json"
    settings = json.loads(path.read_text())
    for key in ("block_out_channels", "hidden_size", "width"):
        if key in settings:
            settings[key] = "wide"
    path.write_text(json.dumps(settings))
    assert "config.json does not describe a" in refusal(tmp_path / "part", type(network))


def test_a_shard_that_is_missing_or_elsewhere_is_named(tmp_path):
    save_component(small_clip(), tmp_path / "part", shard_bytes=4096)
    index = tmp_path / "part" / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    first = min(places["weight_map"].values())
    (tmp_path / "part" / first).rename(tmp_path / first)
    assert f"{first}: no such file" in refusal(tmp_path / "part", CLIPVisionModelWithProjection)
    for escape in (f"../{first}", "pytorch_model.bin"):
        places["weight_map"] = {key: escape if place == first else place for key, place in places["weight_map"].items()}
        index.write_text(json.dumps(places))
        assert "no .safetensors file of its folder" in refusal(tmp_path / "part", CLIPVisionModelWithProjection)
        first = escape


def test_a_failed_write_leaves_the_old_folder(tmp_path, monkeypatch):
    save_component(Scale(3), tmp_path / "part")

    def full(*arguments, **more):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space left"):
        save_component(Scale(9), tmp_path / "part")
    assert len(load_component(tmp_path / "part", Scale).gain) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_an_earlier_folder_is_replaced_as_a_whole(tmp_path):
    save_component(small_clip(), tmp_path / "part", shard_bytes=4096)
    save_component(Scale(3), tmp_path / "part")
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"picture")
    with pytest.raises(WeightsError, match="not a saved network"):
        save_component(Scale(3), tmp_path)
    assert (tmp_path / "holiday.jpg").exists()
