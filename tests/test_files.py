"""Files appear whole or not at all, and folders that cannot be written are refused in one line."""

import errno

import pytest
import torch
from safetensors.torch import load_file

from small_disk import files_of_at_most
from zero123.data.arrays import GrowingArray
from zero123.files import atomic_path, save_tensors, writable_folder


def test_a_file_appears_whole_with_its_folders(tmp_path):
    with atomic_path(tmp_path / "a" / "b.txt") as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path / "a"
        temporary.write_text("new")
        assert not (tmp_path / "a" / "b.txt").exists()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_failure_leaves_nothing_behind_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writing_over_a_folder_is_refused(tmp_path):
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"), atomic_path(tmp_path / "b.txt"):
        raise AssertionError


def test_a_folder_that_cannot_be_made_is_named_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write into the folder .*file") as caught:
        writable_folder(tmp_path / "file" / "inside")
    assert "\n" not in str(caught.value)


def test_proving_a_folder_writable_leaves_it_empty(tmp_path):
    assert list(writable_folder(tmp_path / "new").iterdir()) == []


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "b.txt") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", "something else")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "b.txt"))
    assert list(tmp_path.iterdir()) == []


def test_tensors_are_written_with_the_rights_of_any_file_and_a_full_disk_is_named(tmp_path):
    (tmp_path / "plain").touch()
    save_tensors({"a": torch.arange(3)}, tmp_path / "a.safetensors", {"format": "pt"})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["a"], torch.arange(3))
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large") as caught:
        save_tensors({"a": torch.zeros(1000)}, tmp_path / "b.safetensors")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "b.safetensors"))


def test_an_array_that_outgrows_the_disk_is_named(tmp_path):
    rows = torch.zeros(1000, 8).numpy()
    full = pytest.raises(OSError, match="File too large")
    with files_of_at_most(4000), full as caught, GrowingArray(tmp_path / "rows.npy") as array:
        array.append(rows)
    assert caught.value.filename == str(tmp_path / "rows.npy")
