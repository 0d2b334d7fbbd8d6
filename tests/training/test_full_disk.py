"""`zero123 train` on a disk that fills up at each place where it writes: one line, exit code 2, and it goes on."""

import pytest

from command import TINY, lines, model_at, run, same_bits, views_at
from small_disk import files_of_at_most


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    model_at(folder / "tiny")
    views_at(folder / "views")
    return folder


def train(data, out, *options):
    return run("train", data / "views", "-o", out, "--finetune-from", data / "tiny", *TINY, "--steps", 2, *options)


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    assert train(data, folder) == 0
    return folder


def test_every_place_is_named_in_one_line_and_the_run_ends_as_one_that_had_room(data, straight, tmp_path, capsys):
    out, cached = tmp_path / "run", ["--cache", tmp_path / "cache"]
    for size, options, says in (
        (20_000, cached, f"{tmp_path}/cache/views/images.npy: File too large"),
        (100, [], f"{out}/start.json: File too large"),
        (400, [], f"cannot write {out}/settings.json: File too large"),
        (2_000_000, [], f"cannot save {out}/checkpoints/step-00000002: File too large; the checkpoints before it st"),
    ):
        with files_of_at_most(size):
            assert train(data, out, *options) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {says}") and said.count("\n") == 1
        assert not (out / "checkpoints").exists() or not list((out / "checkpoints").iterdir())
    assert train(data, out) == 0
    assert same_bits(out, straight, 2) and lines(out) == lines(straight)


def test_a_model_that_finds_no_room_is_written_by_the_same_command_later(data, straight, tmp_path, capsys):
    import shutil

    out = shutil.copytree(straight, tmp_path / "run")
    before = (out / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    shutil.rmtree(out / "model")
    with files_of_at_most(1_000_000):
        assert train(data, out) == 2
    assert capsys.readouterr().err == f"error: {out}/model: File too large\n"
    assert not [p for p in out.iterdir() if "model" in p.name]
    assert train(data, out) == 0
    assert (out / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before
