"""Shards: the same bytes every time, back to the same files, resumed where a run stopped, and honest when damaged."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from small_views import SIZE, filled, view_set
from zero123.data.broken import TooManyBroken
from zero123.data.formats.detect import open_source
from zero123.data.shards import writer
from zero123.data.shards.index import ShardIndex
from zero123.data.shards.lane import Lane, OpenShard, buffered, training_shards
from zero123.data.shards.reader import faults, index_tars
from zero123.data.shards.stream import PairStream, StreamedPairs, StreamSettings
from zero123.data.shards.tar import key_of, name_of
from zero123.data.shards.unshard import unshard
from zero123.data.shards.writer import ShardSettings, shard_views
from zero123.data.source_pairs import PairSettings, SourcePairs
from zero123.data.view_set import ViewSetError
from zero123.jobs import Outcome

OBJECTS = 10
THREE = ShardSettings(objects=3)


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    folder = filled(tmp_path_factory.mktemp("views"), OBJECTS, 3)
    (folder / "object04" / "manifest.json").write_text('{"views": [{"lens": {"field_of_view_deg": 50}}]}')
    return folder


@pytest.fixture
def shards(views, tmp_path):
    shard_views(open_source(views), tmp_path / "shards", THREE)
    return tmp_path / "shards"


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def tars(folder):
    return {name: data for name, data in contents(folder).items() if name.endswith((".tar", ".json"))}


def test_what_comes_back_is_what_went_in_to_the_bit(views, shards, tmp_path):
    assert sorted(p.name for p in shards.glob("*.tar")) == [f"shard-{k:06d}.tar" for k in range(4)]
    broken = unshard(shards, tmp_path / "back")
    assert len(broken) == 0 and contents(tmp_path / "back") == contents(views)
    assert (tmp_path / "back" / "object00").stat().st_mode & 0o777 == 0o755


def test_the_same_input_gives_the_same_bytes_from_other_folders_other_times_and_other_processes(
    views, shards, tmp_path
):
    import shutil

    copy = shutil.copytree(views, tmp_path / "copy", copy_function=shutil.copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    shard_views(open_source(copy), tmp_path / "again", ShardSettings(objects=3, processes=2))
    assert tars(tmp_path / "again") == tars(shards)
    shard_views(open_source(shards), tmp_path / "third", THREE)  # from shards to shards
    assert tars(tmp_path / "third") == tars(shards)


def test_members_are_webdatasets_samples_and_carry_nothing_of_the_machine(shards):
    with tarfile.open(shards / "shard-000001.tar") as tar:
        members = tar.getmembers()
    keys = [m.name.partition(".")[0] for m in members]
    assert list(dict.fromkeys(keys)) == ["object03", "object04", "object05"]
    assert [m.name.partition(".")[2] for m in members[:4]] == ["000.npy", "000.png", "001.npy", "001.png"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_webdataset_itself_reads_them(views, shards):
    webdataset = pytest.importorskip("webdataset")
    samples = list(webdataset.WebDataset(str(shards / "shard-000000.tar"), shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in samples] == ["object00", "object01", "object02"]
    assert samples[1]["002.png"] == (views / "object01" / "002.png").read_bytes()


@pytest.mark.parametrize("name", ["a.b", "a%2Eb", "50%", "a/b", ".hidden", "ä ö"])
def test_names_of_any_kind_survive_as_keys(name):
    assert name_of(key_of(name)) == name and "." not in key_of(name) and "/" not in key_of(name)


def test_objects_with_dots_in_their_names_come_back(tmp_path):
    view_set(0).save(tmp_path / "views" / "chair.v2")
    shard_views(open_source(tmp_path / "views"), tmp_path / "shards")
    assert open_source(tmp_path / "shards").names == ["chair.v2"]
    unshard(tmp_path / "shards", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "views")


def test_shards_read_like_the_folders_they_were_made_of(views, shards):
    folders, packed = open_source(views), open_source(shards)
    assert list(packed.names) == list(folders.names)
    for index in (0, 4, OBJECTS - 1):
        one, other = folders.load(index), packed.load(index)
        assert np.array_equal(one.levels, other.levels) and one.camera.field_of_view == other.camera.field_of_view
        assert np.array_equal(packed.load(index, [2, 0]).levels, one.levels[[2, 0]])
        assert packed.views(index) == 3
    settings = PairSettings(size=SIZE)
    batches = [SourcePairs([s], lambda p, g: p, settings).batch(1, 4) for s in (folders, packed)]
    assert torch.equal(batches[0].photo, batches[1].photo) and torch.equal(batches[0].latent, batches[1].latent)


def test_the_split_of_a_release_stays_in_its_shards(views, tmp_path):
    import shutil

    release = shutil.copytree(views, tmp_path / "release")
    names = [f"object{k:02d}" for k in (5, 1, 0, 9)]
    (release / "valid_paths.json").write_text(json.dumps(names))
    shard_views(open_source(release), tmp_path / "shards", THREE)
    assert list(open_source(tmp_path / "shards", "training").names) == names[:3]
    unshard(tmp_path / "shards", tmp_path / "back")
    assert json.loads((tmp_path / "back" / "valid_paths.json").read_text()) == names


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(views, shards, tmp_path, monkeypatch):
    real, written = writer.write_tar, []

    def dies(path, objects):
        if len(written) == 2:
            real(path, objects)
            raise KeyboardInterrupt
        written.append(path)
        return real(path, objects)

    monkeypatch.setattr(writer, "write_tar", dies)
    with pytest.raises(KeyboardInterrupt):
        shard_views(open_source(views), tmp_path / "out", THREE)
    names = sorted(p.name for p in (tmp_path / "out").glob("*.tar"))
    assert names == ["shard-000000.tar", "shard-000001.tar"] and not (tmp_path / "out" / "index.json").exists()
    before = [(tmp_path / "out" / name).stat().st_mtime_ns for name in names]
    monkeypatch.setattr(writer, "write_tar", real)
    shard_views(open_source(views), tmp_path / "out", THREE)
    assert tars(tmp_path / "out") == tars(shards)
    assert [(tmp_path / "out" / name).stat().st_mtime_ns for name in names] == before
    monkeypatch.setattr(writer, "write_tar", lambda *_: pytest.fail("wrote a shard that was there"))
    shard_views(open_source(views), tmp_path / "out", THREE)


def test_a_process_killed_while_writing_leaves_whole_shards_only(views, tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from zero123.data.formats.detect import open_source\nfrom zero123.data.shards import writer\n"
        "def cut(source, index, plain=writer.raw_files, verify=True):\n"
        "    if index == 4: os.kill(os.getpid(), 9)\n"
        "    return plain(source, index)\n"
        "work = writer.ShardWork(open_source(sys.argv[1]), cut)\n"
        "writer.write_shards(work, Path(sys.argv[2]), writer.ShardSettings(objects=3))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, views, tmp_path / "out"], timeout=60, check=False)
    assert done.returncode == -9
    assert [p.name for p in (tmp_path / "out").glob("shard-*.tar")] == ["shard-000000.tar"]
    shard_views(open_source(views), tmp_path / "out", THREE)  # the lock of the dead is not in the way
    assert faults(tmp_path / "out") == {} and len(open_source(tmp_path / "out").names) == OBJECTS


def dies_once(source, index, folder):
    """The files of an object; the first process that is asked for the fourth is killed."""
    if index == 4 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return writer.raw_files(source, index)


@pytest.mark.slow
def test_one_of_several_processes_that_is_killed_costs_nothing(views, shards, tmp_path):
    work = writer.ShardWork(open_source(views), partial(dies_once, folder=tmp_path))
    seen = []
    settings = ShardSettings(objects=3, processes=2)
    _, broken = writer.write_shards(work, tmp_path / "out", settings, lambda done, total: seen.append((done, total)))
    assert (tmp_path / "died").exists() and len(broken) == 0
    assert tars(tmp_path / "out") == tars(shards) and not list((tmp_path / "out").glob(".shard-*.tar"))
    assert len(seen) == 4 and seen == sorted(seen) and seen[-1] == (OBJECTS, OBJECTS)


def test_a_shard_that_no_process_survives_is_named_and_the_others_stay(views, shards, tmp_path, monkeypatch):
    def run(task, items, workers):
        for number in reversed(items):
            dead = "the worker died (killed by SIGKILL, out of memory?), 3 times" if number == 1 else None
            yield Outcome(number, None if dead else task(number), dead, 1)

    monkeypatch.setattr(writer.jobs, "run", run)
    with pytest.raises(OSError, match=r"cannot write .*shard-000001\.tar: the worker died .* 3 times; finished sh"):
        shard_views(open_source(views), tmp_path / "out", ShardSettings(objects=3, processes=2))
    whole = tars(shards)
    assert {name for name in tars(tmp_path / "out") if "/" not in name} == {"shard-000002.tar", "shard-000003.tar"}
    monkeypatch.undo()
    shard_views(open_source(views), tmp_path / "out", THREE)
    assert tars(tmp_path / "out") == whole


def test_a_full_disk_leaves_no_half_shard_and_keeps_the_old(views, shards, monkeypatch):
    before = tars(shards)

    def full(path, objects):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_tar", full)
    (shards / "shard-000002.tar").unlink()
    with pytest.raises(OSError, match="No space left"):
        shard_views(open_source(views), shards, THREE)
    after = tars(shards)
    assert after == {name: data for name, data in before.items() if name != "shard-000002.tar"}
    assert not list(shards.rglob(".shard-*.tar"))


def test_two_runs_in_one_folder_are_refused(views, tmp_path):
    with writer._alone_in(tmp_path), pytest.raises(OSError, match="another run writes shards"):
        shard_views(open_source(views), tmp_path, THREE)


def test_shards_do_not_go_into_the_folder_they_are_made_of(views):
    before = sorted(views.iterdir())
    with pytest.raises(ValueError, match="go into a folder of their own") as caught:
        shard_views(open_source(views), views / ".")
    assert "\n" not in str(caught.value) and sorted(views.iterdir()) == before


def test_broken_objects_are_left_out_named_and_packed_when_they_are_mended(views, shards, tmp_path):
    import shutil

    copy = shutil.copytree(views, tmp_path / "copy")
    camera = (copy / "object04" / "001.npy").read_bytes()
    (copy / "object04" / "001.npy").write_bytes(camera[:60])
    with pytest.raises(TooManyBroken, match="object04"):
        shard_views(open_source(copy), tmp_path / "out", THREE)
    index, broken = shard_views(open_source(copy), tmp_path / "out", ShardSettings(objects=3, share=0.1))
    assert list(broken.reasons) == ["object04"] and index.shards[1].objects == ["object03", "object05"]
    (copy / "object04" / "001.npy").write_bytes(camera)
    shard_views(open_source(copy), tmp_path / "out", THREE)
    assert tars(tmp_path / "out") == tars(shards)


def damage(shards, kind):
    path = shards / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    if kind == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "missing":
        path.unlink()
    elif kind == "bad header":
        with tarfile.open(path) as tar:
            place = tar.getmembers()[7].offset
        data[place : place + 200] = b"\xff" * 200
        path.write_bytes(data)
    else:
        with tarfile.open(path) as tar:
            member = tar.getmembers()[1]
        data[member.offset_data + 60 : member.offset_data + 200] = bytes(140)
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("kind", "lost"), [("cut short", {3, 4, 5}), ("missing", {3, 4, 5}), ("bad header", {4}), ("bad picture", {3})]
)
def test_a_damaged_shard_is_named_and_only_what_is_lost_is_skipped(shards, kind, lost):
    damage(shards, kind)
    assert list(faults(shards)) == ["shard-000001.tar"]
    source = open_source(shards)
    for index in range(OBJECTS):
        if index in lost:
            with pytest.raises(
                ViewSetError, match=f"object0{index}" if kind == "bad picture" else r"shard-000001\.tar"
            ):
                source.load(index)
        else:
            source.load(index)


@pytest.mark.parametrize(("kind", "lost"), [("cut short", {3, 4, 5}), ("bad picture", {3, 4, 5})])
def test_nothing_of_a_shard_that_was_altered_is_unpacked_as_if_it_were_whole(shards, tmp_path, kind, lost):
    damage(shards, kind)
    broken = unshard(shards, tmp_path / "back", share=1.0)
    assert set(broken.reasons) == {f"object0{index}" for index in lost}
    assert all("shard-000001.tar" in reason for reason in broken.reasons.values())
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        f"object0{index}" for index in range(OBJECTS) if index not in lost
    }


def stream(shards, size=2, seed=0, encode=None, share=0.3, **settings):
    return PairStream(shards, size, PairSettings(size=SIZE, seed=seed, share=share), StreamSettings(**settings), encode)


def names_of(views, photos):
    from zero123.data.pictures import training_pictures

    source = open_source(views)
    known = {
        p.numpy().tobytes(): name for i, name in enumerate(source.names) for p in training_pictures(source.load(i))
    }
    return [known[p.numpy().tobytes()] for p in photos]


def taken(dataset, batches):
    found = iter(dataset)
    return torch.cat([next(found).photo for _ in range(batches)])


def test_a_stream_gives_every_object_once_an_epoch_in_orders_that_seed_and_epoch_decide(views, shards):
    photos = taken(stream(shards, buffer=4), 10)
    first, second = names_of(views, photos[:10]), names_of(views, photos[10:])
    assert sorted(first) == sorted(second) == sorted(open_source(views).names) and first != second
    assert torch.equal(taken(stream(shards, buffer=4), 10), photos)
    assert not torch.equal(taken(stream(shards, buffer=4, seed=1), 10), photos)


def test_a_stream_that_goes_on_gives_what_it_would_have_given(shards):
    assert torch.equal(taken(stream(shards, buffer=4), 9)[8:], taken(stream(shards, buffer=4, skip=4), 5))


def test_readers_share_no_object_and_leave_none_out(views, shards):
    from torch.utils.data import DataLoader

    seen = []
    for rank in range(2):
        loader = DataLoader(stream(shards, size=1, rank=rank, ranks=2), batch_size=None, num_workers=2)
        batches = iter(loader)
        # two shards a rank, one a worker: its objects come once before any comes again
        own = names_of(views, torch.cat([next(batches).photo for _ in range(6)]))
        seen.append(set(own))
        del batches
    assert not seen[0] & seen[1]
    with pytest.raises(ViewSetError, match="4 shards cannot be dealt to 5 readers"):
        next(iter(stream(shards, rank=0, ranks=5)))


@pytest.mark.parametrize(
    ("kind", "lost"), [("cut short", {3, 4, 5}), ("missing", {3, 4, 5}), ("bad header", {4}), ("bad picture", {3})]
)
def test_a_stream_skips_what_a_damaged_shard_lost_and_counts_it(views, shards, kind, lost):
    damage(shards, kind)
    dataset = PairStream(shards, 1, PairSettings(size=SIZE, share=0.3, first_views=2), StreamSettings(buffer=4))
    met = set(names_of(views, taken(dataset, 40)))
    named = {f"object0{k}" for k in lost}
    assert set(dataset.broken.reasons) == {f"{shards}/{name}" for name in named}
    assert all("shard-000001.tar: " in reason for reason in dataset.broken.reasons.values())
    assert met >= set(open_source(views).names) - named
    with pytest.raises(TooManyBroken):
        taken(stream(shards, share=0.01), 40)


def test_the_buffer_shuffles_without_loss_and_never_holds_more_than_its_size():
    mixed = buffered(100, 16, np.random.default_rng(0)).tolist()
    assert sorted(mixed) == list(range(100)) and mixed != list(range(100))
    assert all(read < 16 + given for given, read in enumerate(mixed))
    assert sorted(buffered(3, 16, np.random.default_rng(0))) == [0, 1, 2]
    assert buffered(5, 1, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
    assert buffered(0, 16, np.random.default_rng(0)).tolist() == []


def lane_of(shards, which, buffer=3, seen=None):
    def keep(opened, place, epoch):
        if seen is not None:
            seen.append((epoch, opened.shard.shard.name, place))
        return opened.shard.shard.objects[place]

    return Lane(training_shards([shards]), which, 0, buffer, keep)


def test_a_lane_reads_each_of_its_shards_once_an_epoch_front_to_end_and_holds_no_more_than_its_buffer(shards):
    seen = []
    lane = lane_of(shards, (1, 2), seen=seen)
    for number in range(3 * OBJECTS):
        lane.get(number)
        assert lane.held <= 3
    whole = [step for step in seen if step[0] < 3]
    assert len(set(whole)) == len(whole)  # nothing twice
    order = list(dict.fromkeys((epoch, name) for epoch, name, _ in whole))
    assert whole == [(epoch, name, place) for epoch, name in order for place in range(3 if "3" not in name else 1)]


def test_lanes_share_no_object_in_an_epoch_and_leave_none_out(views, shards):
    for lanes in (1, 2, 3, 4):
        given = {0: [], 1: []}
        for which in range(lanes):
            epochs = []
            lane = lane_of(shards, (which, lanes), seen=epochs)
            for number in range(2 * OBJECTS):
                name, (epoch, _) = lane.get(number), lane._located(number)
                given.setdefault(epoch, []).append(name)
        for epoch in (0, 1):
            assert sorted(given[epoch]) == list(open_source(views).names)


def streamed(shards, lanes=1, share=0.3, **options):
    pairs = StreamedPairs([shards], lambda p, _: p, PairSettings(size=SIZE, share=share), buffer=4, **options)
    pairs.deal(lanes)
    return pairs


@pytest.mark.parametrize("kind", [None, "missing", "bad header", "bad picture"])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_a_batch_is_the_same_whatever_was_read_before_also_beside_damage(shards, kind, lanes):
    if kind is not None:
        damage(shards, kind)
    straight, by_turns = streamed(shards, lanes), [streamed(shards, lanes, threads=2) for _ in range(2)]
    batches = [straight.batch(step, 2) for step in range(16)]
    for step, batch in enumerate(batches):  # two processes, and one that begins here
        for again in (by_turns[step % 2].batch(step, 2), streamed(shards, lanes).batch(step, 2)):
            assert torch.equal(again.photo, batch.photo) and torch.equal(again.latent, batch.latent)
            assert torch.equal(again.relative.azimuth, batch.relative.azimuth)
    assert torch.equal(straight.batch(3, 2).photo, batches[3].photo)  # going back is allowed
    assert len(straight.broken) == {None: 0, "missing": 3}.get(kind, 1)
    assert not any(torch.equal(a.photo, b.photo) for a, b in itertools.pairwise(batches))


def test_going_on_reads_only_what_is_still_to_be_given(shards, monkeypatch):
    read = []
    files = OpenShard.files
    monkeypatch.setattr(OpenShard, "files", lambda self, place: (read.append(place), files(self, place))[1])
    streamed(shards).batch(400, 2)  # after 80 epochs
    assert len(read) <= 2 + 4


def test_several_folders_are_one_stream(views, shards, tmp_path):
    view_set(50, 3).save(tmp_path / "more" / "another")
    shard_views(open_source(tmp_path / "more"), tmp_path / "other")
    pairs = StreamedPairs([shards, tmp_path / "other"], lambda p, _: p, PairSettings(size=SIZE), buffer=4)
    photos = pairs.batch(0, OBJECTS + 1).photo
    assert len({photo.numpy().tobytes() for photo in photos}) == OBJECTS + 1
    pairs.deal(99)  # no more lanes than shards
    assert len(pairs._lanes) == 5


def test_objects_for_validation_are_not_streamed(views, tmp_path):
    import shutil

    release = shutil.copytree(views, tmp_path / "release")
    (release / "valid_paths.json").write_text(json.dumps([f"object{k:02d}" for k in (5, 1, 0, 9)]))
    shard_views(open_source(release), tmp_path / "shards", THREE)  # the second shard is for validation alone
    met = names_of(views, streamed(tmp_path / "shards").batch(0, 9).photo)
    assert set(met) == {"object05", "object01", "object00"}


def test_a_stream_of_broken_objects_ends(shards):
    for path in shards.glob("*.tar"):
        path.unlink()
    with pytest.raises(TooManyBroken, match="4 of 10 objects are broken"):
        streamed(shards).batch(0, 8)
    with pytest.raises(ViewSetError, match="no object is left to train on: 10 of 10 objects skipped"):
        streamed(shards, share=1.0).batch(0, 1)
    with pytest.raises(ValueError, match="buffer must be over 0"):
        StreamedPairs([shards], lambda p, _: p, buffer=0)


def test_tars_made_elsewhere_get_an_index(views, shards, tmp_path):
    names = ShardIndex.load(shards)
    (shards / "index.json").unlink()
    with pytest.raises(ViewSetError, match="tars without"):
        open_source(shards)
    made = index_tars(shards)
    assert [s.objects for s in made.shards] == [s.objects for s in names.shards]
    assert [s.starts for s in made.shards] == [s.starts for s in names.shards]
    assert np.array_equal(open_source(shards).load(7).levels, open_source(views).load(7).levels)
    damage(shards, "bad header")
    with pytest.raises(ViewSetError, match=r"shard-000001\.tar: damaged or cut short after object04"):
        index_tars(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "not an index"),
        ({"version": 99}, "newer than this program"),
        ({"kind": "x"}, "unknown kind"),
        ({"shards": [{"name": "a"}]}, "not a readable index"),
        (
            {"shards": [{"name": "../a", "bytes": 0, "sha256": "", "objects": [], "views": [], "starts": [0]}]},
            "another folder",
        ),
    ],
)
def test_a_bad_index_says_why(shards, change, message):
    content = json.loads((shards / "index.json").read_text())
    (shards / "index.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ViewSetError, match=message):
        open_source(shards)


def test_a_member_that_leads_out_of_the_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../x.000.png"))
    with pytest.raises(ViewSetError, match=r"members of a shard are named OBJECT\.FILE"):
        index_tars(tmp_path)
    assert Path(tmp_path / "a.tar").exists()
