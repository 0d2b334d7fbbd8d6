"""Checkpoints are read to the digit, and no file gets anything executed."""

import collections
import io
import os
import pathlib
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from zero123.models.weights import WeightsError, open_checkpoint, read_checkpoint


class Payload:
    """What a malicious checkpoint holds: unpickling it makes a file."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


class Callback:
    """An object of the training program, as Lightning stores it."""

    def __init__(self):
        self.monitor, self.best = "val/loss", {"score": torch.tensor(0.5), "path": pathlib.PurePosixPath("a/b")}


def tensors():
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(6, 5, generator=generator)
    return {
        "single": wide,
        "transposed": wide.T,
        "slice": wide[2:4, 1:3],
        "half": wide.half(),
        "brain": wide.bfloat16(),
        "whole": torch.arange(7),
        "scalar": torch.tensor(3.0),
        "flags": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(wide.clone()),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        read = found[key].read()
        assert found[key].dtype == read.dtype == value.dtype and found[key].shape == read.shape, key
        assert torch.equal(read, value.detach()), key


def test_lightning_checkpoint_gives_its_tensors_and_nothing_else(tmp_path):
    state = torch.nn.Sequential(torch.nn.Linear(2, 3)).state_dict()  # an OrderedDict that carries metadata
    state.update(tensors())
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    content = {
        "state_dict": state,
        "epoch": 3,
        "callbacks": {Callback: Callback(), "list": [Callback(), collections.defaultdict(list, a=[1])]},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": collections.Counter("abc"),
        "set": {1, 2},
    }
    torch.save(content, tmp_path / "last.ckpt")
    assert_same(read_checkpoint(tmp_path / "last.ckpt"), dict(state))


def test_a_file_says_how_it_came_about(tmp_path):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    content = {"state_dict": tensors(), "global_step": 105000, "optimizer_states": [optimizer.state_dict()]}
    torch.save(content, tmp_path / "last.ckpt")
    file = open_checkpoint(tmp_path / "last.ckpt")
    assert (file.global_step, file.has_optimizer, file.has_state_dict) == (105000, True, True)
    torch.save({"w": torch.ones(1)}, tmp_path / "bare.ckpt")
    file = open_checkpoint(tmp_path / "bare.ckpt")
    assert (file.global_step, file.has_optimizer, file.has_state_dict, file.note) == (None, False, False, None)


def test_bare_state_dict_and_safetensors_give_the_same(tmp_path):
    torch.save(tensors(), tmp_path / "a.bin")
    save_file(
        {key: value.detach().clone().contiguous() for key, value in tensors().items()}, tmp_path / "a.safetensors"
    )
    assert_same(read_checkpoint(tmp_path / "a.bin"), tensors())
    assert_same(read_checkpoint(tmp_path / "a.safetensors"), tensors())


def test_writing_to_a_tensor_read_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(4)}, path)
    before = path.read_bytes()
    read_checkpoint(path)["w"].read().zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "payload",
    [
        lambda mark: Payload(os.system, f"touch {mark}"),
        lambda mark: Payload(exec, f"open({str(mark)!r}, 'w')"),
        lambda mark: Payload(pathlib.Path.touch, pathlib.Path(mark)),
        lambda mark: Payload(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: collections.OrderedDict(a=Payload(io.open, str(mark), "w")),
    ],
)
@pytest.mark.parametrize("place", ["state_dict", "callbacks", "optimizer_states", "hyper_parameters", "moments"])
def test_a_planted_program_is_refused_and_never_run(tmp_path, payload, place):
    mark = tmp_path / "executed"
    moments = {0: {"exp_avg": torch.ones(2)}}
    content = {
        "state_dict": {"w": torch.ones(2)},
        "callbacks": {Callback: {"saved": [Callback()]}},
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-4}]}],
        "hyper_parameters": collections.OrderedDict(model=[{"target": "a.b"}]),
    }
    nested = {
        "callbacks": content["callbacks"][Callback],
        "optimizer_states": content["optimizer_states"][0]["param_groups"][0],
        "hyper_parameters": content["hyper_parameters"]["model"][0],
        "moments": moments[0],
    }
    nested.get(place, content["state_dict"])["evil"] = payload(mark)
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match=r"asks to run .*: refused, nothing was run"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not mark.exists()


def test_a_planted_call_into_another_library_stays_without_effect(tmp_path):
    mark = tmp_path / "executed"
    content = {"state_dict": {"w": torch.ones(2)}, "evil": Payload(torch.save, {"a": 1}, str(mark))}
    torch.save(content, tmp_path / "evil.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "evil.ckpt")["w"].read(), torch.ones(2))
    assert not mark.exists()


def test_a_bare_pickle_is_refused_unread(tmp_path):
    mark = tmp_path / "executed"
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(Payload(os.system, f"touch {mark}")))
    with pytest.raises(WeightsError, match="bare pickle"):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not mark.exists()


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_files_that_are_no_checkpoints_are_named_in_one_line(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.ckpt")
    assert "is a folder" in refusal(tmp_path)
    for name, content in {"empty.ckpt": b"", "text.ckpt": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        assert "is not a checkpoint" in refusal(tmp_path / name)
    (tmp_path / "text.safetensors").write_bytes(b"hello, this is text")
    assert "no safetensors file" in refusal(tmp_path / "text.safetensors")
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "other zip archive" in refusal(tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "without a state_dict" in refusal(tmp_path / "list.pt")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    state = {"w": torch.randn(300, 10), "b": torch.randn(10)}
    (torch.save if suffix == ".ckpt" else save_file)(state, whole)
    content = whole.read_bytes()
    for share in (0.02, 0.3, 0.7, 0.99):
        cut.write_bytes(content[: int(len(content) * share)])
        assert "truncated" in refusal(cut)


def rewritten(path, change):
    """The archive with `change(name, data)` applied to each entry."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if (changed := change(name, data)) is not None:
                archive.writestr(name, changed)


def test_tensors_cannot_reach_beyond_their_numbers(tmp_path):
    path = tmp_path / "a.ckpt"
    for change in (
        lambda name, data: data[:-8] if name.endswith("data/0") else data,
        lambda name, data: None if name.endswith("data/0") else data,
        lambda name, data: data.replace(b"K\x64", b"K\xff") if name.endswith("data.pkl") else data,
    ):
        torch.save({"w": torch.randn(100)}, path)
        rewritten(path, change)
        assert "tensor w" in refusal(path)


def test_an_archive_laid_out_anew_is_still_read(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"w": torch.arange(100.0), "v": torch.arange(3).double()}, path)
    rewritten(path, lambda name, data: data)  # loses the alignment that torch keeps
    assert_same(read_checkpoint(path), {"w": torch.arange(100.0), "v": torch.arange(3).double()})


def test_a_garbled_table_of_contents_is_an_error_and_never_a_crash(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"w": torch.randn(20, 3)}, "other": Callback()}, path)
    original = path.read_bytes()
    generator = torch.Generator().manual_seed(1)
    for _ in range(150):
        path.write_bytes(original)
        places = torch.randint(0, 10**6, (2,), generator=generator).tolist()

        def garble(name, data, places=places):
            if not name.endswith("data.pkl"):
                return data
            data = bytearray(data)
            data[places[0] % len(data)] = places[1] % 256
            return bytes(data)

        rewritten(path, garble)
        try:
            read_checkpoint(path)
        except WeightsError as error:
            assert "\n" not in str(error)


def test_attributes_set_by_a_pickle_do_not_reach_the_reader(tmp_path):
    build = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01s\x86b."
    path = tmp_path / "a.ckpt"
    torch.save({"w": torch.ones(2)}, path)
    rewritten(path, lambda name, data: build if name.endswith("data.pkl") else data)
    refusal(path)
    torch.save({"w": torch.ones(2)}, path)
    assert torch.equal(read_checkpoint(path)["w"].read(), torch.ones(2))
