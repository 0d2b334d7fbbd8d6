"""A LoRA is a small file in the usual layout; laid into the weights it does what it did beside them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tiny_model import tiny_cache, tiny_view_model
from zero123.data.pairs import PairSampler
from zero123.geometry.orbit import OrbitPose, RelativePose
from zero123.models.int8 import place_int8
from zero123.models.lora import add_lora, apply_lora, lora_tensors, save_lora
from zero123.models.pretrained import load_model, save_model

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def _answer(model):
    condition = model.condition(
        torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
        RelativePose.from_degrees([30, 60], [0, 20]),
        OrbitPose(torch.zeros(2), torch.zeros(2), torch.full((2,), 1.8)),
    )
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(x, torch.tensor([1.0, 2.0]), condition)


def _factors(model, rank=2, scale=1.0):
    """Factors of one layer's update, and the update."""
    weight = model.unet.get_submodule(LAYER).weight
    generator = torch.Generator().manual_seed(3)
    down = torch.randn(rank, weight.shape[1], generator=generator)
    up = torch.randn(weight.shape[0], rank, generator=generator)
    return down, up, scale * up @ down


@pytest.mark.parametrize(
    ("down_name", "up_name"),
    [
        (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
        (f"base_model.model.{LAYER}.lora_A.weight", f"base_model.model.{LAYER}.lora_B.weight"),
        (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight"),
        (f"{LAYER}.lora_A.default.weight", f"{LAYER}.lora_B.default.weight"),
    ],
)
def test_files_of_diffusers_and_of_peft_are_added_to_the_weights(tmp_path, down_name, up_name):
    model = tiny_view_model()
    down, up, update = _factors(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    save_file({down_name: down, up_name: up}, tmp_path / "lora.safetensors")
    apply_lora(model, tmp_path / "lora.safetensors", strength=0.5)
    for name, value in model.state_dict().items():
        expected = before[name] + (0.5 * update if name == f"unet.{LAYER}.weight" else 0)
        torch.testing.assert_close(value, expected)


def test_alpha_scales_the_update_wherever_it_is_noted(tmp_path):
    down, up, update = _factors(tiny_view_model())
    names = (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight")
    tensor = {names[0]: down, names[1]: up}
    save_file({**tensor, f"unet.{LAYER}.alpha": torch.tensor(8.0)}, tmp_path / "tensor.safetensors")
    noted = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 8})}
    save_file(tensor, tmp_path / "note.safetensors", metadata=noted)
    for name in ("tensor", "note"):
        model = tiny_view_model()
        before = model.unet.get_submodule(LAYER).weight.clone()
        apply_lora(model, tmp_path / f"{name}.safetensors")
        torch.testing.assert_close(model.unet.get_submodule(LAYER).weight, before + 4 * update)


def test_it_is_loaded_with_the_model_and_refused_in_8_bits(tmp_path):
    down, up, _ = _factors(tiny_view_model())
    path = tmp_path / "pytorch_lora_weights.safetensors"
    save_file({f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up}, path)
    save_model(tiny_view_model(), tmp_path / "tiny")
    plain, changed = load_model(tmp_path / "tiny"), load_model(tmp_path / "tiny", lora=tmp_path)  # of a folder
    assert (_answer(plain) - _answer(changed)).abs().max() > 1e-3
    assert not any(p.is_meta for p in changed.parameters())
    again = load_model(tmp_path / "tiny")
    assert torch.equal(_answer(plain), _answer(again))  # what is mapped from the file is as it was
    with pytest.raises(ValueError, match="cannot be laid into weights kept in 8 bits; leave out int8"):
        load_model(tmp_path / "tiny", lora=path, place=place_int8)


def test_files_that_do_not_fit_are_named(tmp_path):
    model = tiny_view_model()
    down, up, _ = _factors(model)
    good = {f"unet.{LAYER}.lora_A.weight": down, f"unet.{LAYER}.lora_B.weight": up}
    cases = {
        "half": ({f"unet.{LAYER}.lora_A.weight": down}, "half of the update of down_blocks"),
        "kohya": (
            {"lora_unet_down_blocks_0.lora_x.weight": down},
            "is no LoRA tensor in the layout of diffusers or peft",
        ),
        "layer": ({k.replace("to_q", "to_x"): v for k, v in good.items()}, "which tiny does not have"),
        "shape": ({**good, f"unet.{LAYER}.lora_B.weight": torch.ones(3, 2)}, "changes a weight of"),
        "empty": ({}, "holds no LoRA"),
    }
    for name, (tensors, message) in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(ValueError, match=message):
            apply_lora(model, tmp_path / f"{name}.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ValueError, match="not a safetensors file"):
        apply_lora(model, tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="there is no LoRA file here"):
        apply_lora(model, tmp_path / "nothing")
    with pytest.raises(ValueError, match="tiny has no LoRA to write"):
        save_lora(model, tmp_path / "lora.safetensors")


class TestTraining:
    """What needs peft."""

    @pytest.fixture(autouse=True)
    def _peft(self):
        pytest.importorskip("peft", reason="peft is not installed (extra: lora)")

    def _model(self):
        model = tiny_view_model()
        add_lora(model, 2)
        generator = torch.Generator().manual_seed(4)
        for name, p in model.unet.named_parameters():
            if "lora_B" in name:
                p.data.copy_(0.3 * torch.randn(p.shape, generator=generator))
        return model

    def test_a_new_one_changes_nothing_and_is_all_that_is_trained(self):
        model = tiny_view_model()
        before = _answer(model)
        add_lora(model, 2)
        assert torch.equal(_answer(model), before)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        assert trained and all(n.startswith("unet.") and ".attn" in n and "lora_" in n for n in trained)
        layers = [n for n in tiny_view_model().unet.state_dict() if ".attn" in n and n.endswith("weight")]
        assert len(trained) == 2 * len([n for n in layers if ".norm" not in n])

    def test_laid_into_the_weights_it_does_what_it_did_beside_them(self, tmp_path):
        model = self._model()
        save_lora(model, tmp_path / "lora.safetensors")
        fused = tiny_view_model()
        apply_lora(fused, tmp_path / "lora.safetensors")
        torch.testing.assert_close(_answer(fused), _answer(model), rtol=1e-4, atol=1e-5)
        assert (_answer(fused) - _answer(tiny_view_model())).abs().max() > 1e-2

    def test_diffusers_reads_the_file(self, tmp_path):
        model, other = self._model(), tiny_view_model()
        save_lora(model, tmp_path / "pytorch_lora_weights.safetensors")
        other.unet.load_lora_adapter(tmp_path, prefix="unet", weight_name="pytorch_lora_weights.safetensors")
        torch.testing.assert_close(_answer(other), _answer(model), rtol=1e-4, atol=1e-5)

    def test_the_file_has_the_usual_names_and_both_factors(self, tmp_path):
        model = self._model()
        save_lora(model, tmp_path / "lora.safetensors")
        tensors = load_file(tmp_path / "lora.safetensors")
        assert tensors.keys() == lora_tensors(model).keys()
        assert tensors[f"unet.{LAYER}.lora_A.weight"].shape[0] == tensors[f"unet.{LAYER}.lora_B.weight"].shape[1] == 2
        with safe_open(tmp_path / "lora.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt", "base": "tiny"}

    def test_training_lowers_the_loss_and_leaves_the_weights(self, tmp_path):
        from dataclasses import replace

        from zero123.presets import FINETUNE_TRAINING
        from zero123.training.trainer import train

        model = tiny_view_model()
        frozen = {n: p.clone() for n, p in model.named_parameters()}
        changes = {"batch": 8, "steps": 40, "decay": 0, "warmup": 0, "learning_rate": 2e-2, "ema": 0.5}
        settings = replace(FINETUNE_TRAINING, **changes, precision="no", save_every=20, log_every=10, sample_every=0)
        train(model, PairSampler([tiny_cache(model)], [1.0]), tmp_path, settings)
        losses = [json.loads(line)["diffusion"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert losses[-1] < 0.98 * losses[0]
        after = {n.replace(".base_layer", ""): p for n, p in model.named_parameters()}
        assert all(torch.equal(p, after[n]) for n, p in frozen.items())
        weights = load_file(sorted((tmp_path / "checkpoints").iterdir())[-1] / "weights.safetensors")
        assert all("lora_" in name for name in weights)


def test_without_peft_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"LoRA needs the package peft: pip install 'zero123\[lora\]'"):
        add_lora(tiny_view_model(), 2)
