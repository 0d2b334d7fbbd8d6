"""Number formats are those the processor multiplies itself; what compiling needs is looked for before it is begun."""

import pytest
import torch

from zero123 import machine


@pytest.mark.parametrize(
    ("amx", "avx", "dtype"),
    [(True, False, torch.bfloat16), (False, True, torch.bfloat16), (False, False, torch.float32)],
)
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, amx, avx, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    assert machine.fast_dtype(torch.device("cpu")) == dtype


def test_a_version_of_torch_that_cannot_say_means_float32(monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert machine.fast_dtype(torch.device("cpu")) == torch.float32


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_computes_in_sixteen_bits(monkeypatch, native, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert machine.fast_dtype(torch.device("cuda")) == dtype
    assert machine.fast_dtype(torch.device("mps")) == torch.float16


def test_compiling_without_a_compiler_is_refused_before_it_is_tried(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match="compiling needs a C\\+\\+ compiler"):
        machine.make_sure_it_compiles(torch.device("cpu"))
    compiler = tmp_path / "g++"
    compiler.write_text("")
    compiler.chmod(0o755)
    machine.make_sure_it_compiles(torch.device("cpu"))


def test_only_a_gpu_has_memory_of_its_own():
    assert machine.free_memory(torch.device("cpu")) is None
