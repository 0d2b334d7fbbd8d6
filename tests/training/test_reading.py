"""A run reads what its settings say: shards in order or at random, some of the views, with so much that is broken."""

import json
import shutil

import pytest

from command import TINY, lines, model_at, run, same_bits, views_at
from small_views import view_set
from tiny_model import SIZE
from zero123.data.formats.detect import open_source
from zero123.data.shards.writer import ShardSettings, shard_views
from zero123.training.reading import ReadingSettings, cache_places


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return model_at(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return views_at(tmp_path_factory.mktemp("data") / "views")


@pytest.fixture(scope="module")
def shards(tmp_path_factory, views):
    folder = tmp_path_factory.mktemp("data") / "shards"
    shard_views(open_source(views), folder, ShardSettings(objects=2))
    return folder


def train(views, out, tiny, *options):
    return run("train", views, "-o", out, "--finetune-from", tiny, *TINY, *options)


def stream(*more):
    return ["--set", "reading=stream", "--set", "buffer=3", "--set", "threads=2", *more]


def test_a_streamed_run_that_was_stopped_goes_on_to_the_last_bit(tmp_path, tiny, shards):
    assert train(shards, tmp_path / "straight", tiny, *stream(), "--steps", 6) == 0
    assert train(shards, tmp_path / "halted", tiny, *stream(), "--steps", 2) == 0
    assert train(shards, tmp_path / "halted", tiny, *stream(), "--steps", 6) == 0
    assert same_bits(tmp_path / "straight", tmp_path / "halted", 6)
    assert lines(tmp_path / "straight") == lines(tmp_path / "halted")
    assert train(shards, tmp_path / "random", tiny, "--steps", 6) == 0
    assert not same_bits(tmp_path / "straight", tmp_path / "random", 6)  # another order


def test_a_streamed_run_with_broken_objects_goes_on_to_the_last_bit(tmp_path, tiny, shards):
    copy = shutil.copytree(shards, tmp_path / "shards")
    (copy / "shard-000001.tar").unlink()
    options = stream("--set", "broken_share=0.4")
    assert train(copy, tmp_path / "straight", tiny, *options, "--steps", 6) == 0
    assert train(copy, tmp_path / "halted", tiny, *options, "--steps", 4) == 0
    assert train(copy, tmp_path / "halted", tiny, *options, "--steps", 6) == 0
    assert same_bits(tmp_path / "straight", tmp_path / "halted", 6)
    assert lines(tmp_path / "straight")[-1]["skipped_objects"] == 2


@pytest.mark.parametrize("options", [[], stream()], ids=["random", "stream"])
def test_a_shard_cut_short_is_named_and_costs_a_run_its_own_objects_only(tmp_path, tiny, shards, options, capsys):
    copy = shutil.copytree(shards, tmp_path / "shards")
    (copy / "shard-000001.tar").write_bytes((copy / "shard-000001.tar").read_bytes()[:700])
    assert train(copy, tmp_path / "strict", tiny, *options, "--steps", 3) == 2
    error = capsys.readouterr().err
    assert "1 of 6 objects are broken" in error and "shard-000001.tar: has 700 bytes, must have" in error
    assert error.splitlines()[-1].startswith("error: ")
    lenient = [*options, "--set", "broken_share=0.4"]
    assert train(copy, tmp_path / "lenient", tiny, *lenient, "--steps", 3) == 0
    assert lines(tmp_path / "lenient")[-1]["skipped_objects"] == 2


def test_a_streamed_run_draws_pictures_and_fits_memory(tmp_path, tiny, shards):
    more = [
        "--set",
        "sample_every=2",
        "--set",
        "sample_count=2",
        "--set",
        "sample_steps=2",
        "--set",
        "sample_first=true",
    ]
    assert train(shards, tmp_path / "run", tiny, *stream(), *more, "--steps", 2, "--fit-memory", 2) == 0
    found = sorted(p.name for p in (tmp_path / "run" / "samples").iterdir())
    assert found == ["step-00000000.png", "step-00000002.png"]


@pytest.mark.parametrize("kind", ["folders", pytest.param("shards", marks=pytest.mark.thorough)])
def test_a_run_whose_objects_have_changed_since_goes_on_only_where_that_is_accepted(tmp_path, tiny, kind, capsys):
    data, views = tmp_path / kind, views_at(tmp_path / "folders", objects=3)

    def packed():
        if kind == "shards":
            shard_views(open_source(views), data, ShardSettings(objects=2))

    packed()
    assert train(data, tmp_path / "run", tiny, "--steps", 1) == 0
    shutil.move(views / "object02", views / "object09")
    packed()
    before = (tmp_path / "run" / "start.json").read_bytes()
    capsys.readouterr()
    assert train(data, tmp_path / "run", tiny, "--steps", 2) == 2
    error = capsys.readouterr().err
    assert f"started otherwise (data.{data}: 3 objects (" in error and "--accept-changes" in error
    assert error.count("\n") == 1 and (tmp_path / "run" / "start.json").read_bytes() == before
    noted = json.loads(before)
    assert list(noted.pop("data")) == [str(data)]
    (tmp_path / "run" / "start.json").write_text(json.dumps(noted))  # as versions that did not look at data left it
    assert train(data, tmp_path / "run", tiny, "--steps", 2) == 0
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2]


@pytest.mark.parametrize("kind", ["fresh", "cached", "streamed"])
def test_first_views_leaves_the_others_unread(tmp_path, tiny, kind, capsys):
    folder = views_at(tmp_path / "views", objects=4)
    for spoilt in folder.glob("*/00[23].png"):
        spoilt.write_bytes(b"broken")
    options = {"fresh": [], "cached": ["--cache", tmp_path / "cache"], "streamed": stream()}[kind]
    if kind == "streamed":
        shard_views(open_source(folder), tmp_path / "shards", ShardSettings(objects=2, verify=False))
        folder = tmp_path / "shards"
    assert train(folder, tmp_path / "two", tiny, *options, "--steps", 4, "--set", "first_views=2") == 0
    assert "skipped_objects" not in lines(tmp_path / "two")[-1]
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    capsys.readouterr()
    assert train(folder, tmp_path / "all", tiny, *options, "--steps", 4) == 2
    error = capsys.readouterr().err
    assert "of 4 objects are broken, more than the 1.000% that may be" in error and error.count("\n") == 1


def test_a_share_of_broken_objects_is_allowed_where_it_is_said(tmp_path, tiny, capsys):
    folder = views_at(tmp_path / "views")
    (folder / "object03" / "001.npy").unlink()
    (folder / "object03" / "002.npy").unlink()
    (folder / "object03" / "003.npy").unlink()
    assert train(folder, tmp_path / "strict", tiny, "--steps", 3) == 2
    error = capsys.readouterr().err
    assert "1 of 6 objects are broken" in error and "object03" in error and error.count("\n") == 1
    assert train(folder, tmp_path / "lenient", tiny, "--steps", 3, "--set", "broken_share=0.2") == 0
    assert lines(tmp_path / "lenient")[-1]["skipped_objects"] == 1
    cached = ["--cache", tmp_path / "cache", "--set", "broken_share=0.2"]
    assert train(folder, tmp_path / "cached", tiny, "--steps", 2, *cached) == 0
    skipped = json.loads((tmp_path / "cache" / "views" / "skipped.json").read_text())["skipped"]
    assert list(skipped) == ["object03"]


def test_a_cache_made_otherwise_is_refused_in_one_line(tmp_path, tiny, views, capsys):
    cached = ["--cache", tmp_path / "cache", "--steps", 2]
    assert train(views, tmp_path / "first", tiny, *cached) == 0
    assert "encoding " in capsys.readouterr().out
    assert train(views, tmp_path / "second", tiny, *cached) == 0  # it is taken as it is
    assert "encoding " not in capsys.readouterr().out
    for option, says in ((("--edges", "blended"), "edges: original -> blended"), (("--set", "first_views=3"), "-> 3")):
        assert train(views, tmp_path / "third", tiny, *cached, *option) == 2
        error = capsys.readouterr().err
        assert says in error and "remove it to make it anew" in error and error.count("\n") == 1


def test_folders_of_one_name_are_cached_apart(tmp_path, tiny):
    one, other = (views_at(tmp_path / name / "views", objects=2, seed=seed) for name, seed in (("a", 0), ("b", 50)))
    places = cache_places([one, other, one.parent / "more"], tmp_path / "cache")
    assert [place.name for _, place in places] == ["views", "views-1", "more"]
    assert run("train", one, other, "-o", tmp_path / "run", "--finetune-from", tiny, *TINY, "--steps", 1, "--cache",
               tmp_path / "cache") == 0  # fmt: skip
    first, second = ((tmp_path / "cache" / name / "images.npy").read_bytes() for name in ("views", "views-1"))
    assert first != second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "reading=stream"], "reading=stream is for tar shards; make them with `zero123 data shard`"),
        (["--set", "reading=backwards"], "reading must be one of random, stream, got 'backwards'"),
        (["--set", "first_views=1"], "first_views must be at least 2, or 0 for all views, got 1"),
        (["--set", "broken_share=2"], "broken_share must be in 0 to 1, got 2.0"),
        (["--set", "buffer=0"], "buffer must be at least 1"),
        (["--set", "data.read=random"], "there is no setting 'data.read'; did you mean data."),
        (["--set", "reading=stream", "--cache", "cache"], "reading=stream reads shards at every step, not a cache"),
        (["--set", "views=2", "--cache", "cache"], "sets of views are drawn from pictures, not from a cache"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, tiny, views, options, message, capsys):
    assert train(views, tmp_path / "out", tiny, "--steps", 2, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_weights_and_latents_are_not_streamed(tmp_path, tiny, views, shards, capsys):
    assert run("train", f"{shards}=2", views, "-o", tmp_path / "out", "--finetune-from", tiny, *TINY, *stream()) == 2
    assert "views: reading=stream is for tar shards" in capsys.readouterr().err
    twice = shutil.copytree(shards, tmp_path / "twice")
    assert run("train", f"{shards}=2", twice, "-o", tmp_path / "out", "--finetune-from", tiny, *TINY, *stream()) == 2
    assert "every object once an epoch: give folders without weights" in capsys.readouterr().err
    assert run("data", "encode", views, "-o", tmp_path / "latents", "--model", tiny, "--device", "cpu") == 0
    assert train(tmp_path / "latents", tmp_path / "out", tiny, *stream()) == 2
    assert "holds encoded views; they are read at random: reading=random" in capsys.readouterr().err


def test_views_of_a_size_that_is_not_the_models_are_cached_at_the_models(tmp_path, tiny):
    for index in range(2):
        view_set(index, 3, 2 * SIZE).save(tmp_path / "views" / f"object{index}")
    assert train(tmp_path / "views", tmp_path / "run", tiny, "--cache", tmp_path / "cache", "--steps", 1) == 0
    assert json.loads((tmp_path / "cache" / "views" / "about.json").read_text())["size"] == SIZE


def test_reading_has_the_values_of_a_run_that_names_none():
    own = ReadingSettings()
    assert (own.reading, own.first_views, own.broken_share) == ("random", 0, 0.01)
