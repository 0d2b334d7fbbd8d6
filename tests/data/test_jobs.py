"""Jobs over local processes: every item has one outcome, whatever the workers come to."""

import json
import os
import signal
import time
from collections import Counter
from functools import partial

import pytest

from zero123.jobs import Halt, JobFolder, Workers, differences, local, run, shift, staging
from zero123.jobs.cluster import _short_folder


def square(number):
    return number * number


def moody(item, folder):
    """Does what the item says: fail, die once, die always, hang, or say who did it."""
    kind, number = item
    (folder / f"{kind}-{number}-{time.monotonic_ns()}").touch()
    begun = len(list(folder.glob(f"{kind}-{number}-*")))
    if kind == "fail":
        raise ValueError(f"number {number}\nis bad")
    if kind == "mortal" or (kind == "once" and begun == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        time.sleep(600)
    if kind == "full":
        raise Halt("disk full")
    return os.getpid()


def sleeper(seconds):
    time.sleep(seconds)
    return os.getpid()


def forbidden(item):
    raise AssertionError


class Unborn:
    """A task that cannot be read in the worker."""

    def __call__(self, item):
        raise AssertionError

    def __reduce__(self):
        return os._exit, (3,)


def test_every_item_is_done_once_and_results_belong_to_their_items():
    outcomes = list(run(square, range(20), 2))
    assert sorted(o.item for o in outcomes) == list(range(20))
    assert all(o.result == o.item**2 and o.error is None and o.attempts == 1 and o.where for o in outcomes)


def test_nothing_to_do_starts_no_process(monkeypatch):
    monkeypatch.setattr(shift, "LocalPool", lambda *_: pytest.fail("started processes"))
    assert list(run(square, [])) == []


@pytest.mark.slow
def test_errors_deaths_and_hangs_cost_only_their_items(tmp_path):
    items = [("fail", 1), ("once", 2), ("mortal", 3), ("hang", 4), *(("fine", n) for n in range(8))]
    begun = time.monotonic()
    outcomes = {o.item: o for o in run(partial(moody, folder=tmp_path), items, Workers(2, time_limit=4, attempts=2))}
    assert outcomes.keys() == set(items) and time.monotonic() - begun < 120
    errors = {item: o.error for item, o in outcomes.items() if o.error}
    assert errors == {
        ("fail", 1): "number 1 is bad",
        ("mortal", 3): "the worker died (killed by SIGKILL, out of memory?), 2 times",
        ("hang", 4): "took longer than the limit of 4 seconds",
    }
    assert outcomes["once", 2].attempts == 2 and outcomes["fine", 0].attempts == 1
    often = Counter(path.name.rsplit("-", 1)[0] for path in tmp_path.iterdir())
    assert often == {"fail-1": 1, "once-2": 2, "mortal-3": 2, "hang-4": 1} | {f"fine-{n}": 1 for n in range(8)}


def test_a_free_worker_takes_what_a_busy_one_would_have_done():
    outcomes = list(run(sleeper, [3.0, *[0.05] * 12], 2))
    busy = next(o.result for o in outcomes if o.item == 3.0)
    assert outcomes[-1].item == 3.0  # the others did not wait for it
    assert Counter(o.result == busy for o in outcomes) == {True: 1, False: 12}


def test_what_no_item_would_survive_ends_the_run_and_its_workers(tmp_path):
    shift = run(partial(moody, folder=tmp_path), [("full", 0), *(("hang", n) for n in range(3))], 2)
    with pytest.raises(Halt, match="disk full"):
        list(shift)


def test_workers_that_never_start_are_told_rather_than_hired_for_ever():
    with pytest.raises(Halt, match=r"workers die before they take an item \(exit code 3\)"):
        list(run(Unborn(), [1, 2], 1))


def test_a_run_that_is_left_early_leaves_no_process():
    shift = run(sleeper, [0.0, 600.0, 600.0], 2)
    process = next(shift).result
    shift.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize("bad", [{"count": 0}, {"time_limit": 0.0}, {"attempts": 0}])
def test_impossible_workers_are_refused(bad):
    with pytest.raises(ValueError, match=r"at least 1|more than 0"):
        Workers(**bad)


def test_one_worker_per_gpu_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ValueError, match="no CUDA device is seen here"):
        list(run(forbidden, [1], Workers(gpus=True)))


def visible(item):
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_each_worker_sees_a_gpu_of_its_own_among_those_left_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    shown = {o.result for o in run(visible, range(40), Workers(gpus=True))}
    assert shown and shown <= {"2", "5"}


def test_a_cluster_without_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ImportError, match=r"zero123\[cluster\]"):
        list(run(square, [1], 1, cluster="auto"))


# Room for workers


def threads(item):
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def test_a_worker_keeps_to_its_cores_and_the_parents_environment_stays(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    (outcome,) = run(threads, [1], Workers(1, threads=2))
    assert outcome.result == (2, "2")
    assert os.environ["OMP_NUM_THREADS"] == "5" and "OPENBLAS_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (Workers(), 8),
        (Workers(threads=3), 2),
        (Workers(threads=9), 1),
        (Workers(memory=3_000), 3),
        (Workers(memory=20_000), 1),
    ],
)
def test_as_many_work_as_cores_and_memory_are_there_for(monkeypatch, workers, expected):
    monkeypatch.setattr(local, "cores", lambda: range(8))
    monkeypatch.setattr(local, "memory_to_spare", lambda: 10_000)
    assert local.LocalPool(threads, workers).slots() == expected


def test_memory_to_spare_is_less_than_there_is():
    found = local.memory_to_spare()
    assert found is None or 0 < found <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_more_workers_than_gpus_share_them(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [local._gpu(slot) for slot in range(4)] == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("variables", "own"),
    [({}, False), ({"TMPDIR": "/scratch/" + "x" * 60}, True), ({"TMPDIR": "/" + "x" * 60, "RAY_TMPDIR": "/r"}, False)],
)
def test_sockets_of_a_cluster_of_this_machine_get_a_short_folder(monkeypatch, variables, own):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _short_folder() == ("/tmp/ray" if own else None)


# The folder of a job


def test_a_folder_goes_on_with_its_settings_only_and_names_those_that_changed(tmp_path):
    with JobFolder(tmp_path, {"a": {"b": 1}, "c": [1, 2]}, "test", "thing") as folder:
        folder.failed("x", "bad", 2)
        (tmp_path / "result").mkdir()
    with JobFolder(tmp_path, {"a": {"b": 1}, "c": (1, 2)}, "test", "thing") as folder:
        assert folder.failures == {"x": {"thing": "x", "reason": "bad", "attempts": 2}}
        folder.failed("x", "worse", 1)
        assert folder.failures["x"]["attempts"] == 3
    other = JobFolder(tmp_path, {"a": {"b": 2}, "c": [1, 2]}, "test", "thing")
    with pytest.raises(ValueError, match=r"begun with other settings \(a.b: 1, now 2\)"):
        other.__enter__()
    with JobFolder(tmp_path, {"a": {"b": 1}, "c": [1, 2]}, "test", "thing") as folder:  # the refused one holds no lock
        folder.succeeded("x")
    assert not (tmp_path / "failures.jsonl").exists()


def test_settings_that_made_nothing_bind_nobody_and_their_failures_are_forgotten(tmp_path):
    with JobFolder(tmp_path, {"a": 1}, "test", "thing") as folder:
        folder.failed("x", "bad", 1)
    with JobFolder(tmp_path, {"a": 2}, "test", "thing") as folder:
        assert folder.failures == {}
    assert json.loads((tmp_path / "test.json").read_text()) == {"a": 2}


def test_a_folder_has_one_run_at_a_time_which_sweeps_what_was_left(tmp_path):
    left, kept = staging(tmp_path, "test", "x"), tmp_path / ".testify"
    left.mkdir()
    kept.mkdir()
    with JobFolder(tmp_path, {}, "test", "thing"):
        assert not left.exists() and kept.exists()
        with pytest.raises(OSError, match="another run writes into this folder"):
            JobFolder(tmp_path, {}, "test", "thing").__enter__()


def test_a_failure_cut_short_by_a_crash_is_left_out(tmp_path):
    (tmp_path / "failures.jsonl").write_text('{"thing": "x", "reason": "bad", "attempts": 1}\n{"thing": "y", "rea')
    (tmp_path / "test.json").write_text("{}")
    with JobFolder(tmp_path, {}, "test", "thing") as folder:
        assert list(folder.failures) == ["x"]


def test_damaged_settings_are_told_where_there_are_results(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        JobFolder(tmp_path, {}, "test", "thing").__enter__()


def test_differences_name_the_innermost_change():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}) == [
        "a.c: 2, now 3",
        "a.d: null, now 4",
    ]
    assert differences({"a": [1]}, {"a": [1]}) == []
