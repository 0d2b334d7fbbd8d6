"""`Worker`: what its callers hear when tasks end well, badly, too late or with the process."""

import errno
import threading
import time

import pytest
import worker_tasks as tasks

from command import model_at
from tiny_model import SIZE
from zero123.images.io import PictureError
from zero123.service import worker as worker_module
from zero123.service.worker import Cancelled, Event, TimeLimit, Worker, WorkerDied


@pytest.fixture(scope="module")
def worker():
    worker = Worker(threads=1)
    yield worker
    worker.close()


def test_the_process_stays_between_calls_and_holds_the_models_it_loaded(worker, tmp_path):
    before = worker.call(tasks.pid)
    size, same, _ = worker.call(tasks.size_of, model_at(tmp_path / "model"))
    assert (size, same, worker.call(tasks.pid)) == (SIZE, True, before)


def test_reports_arrive_in_order_in_the_callers_thread(worker):
    heard = []
    assert worker.call(tasks.counting, 3, on_event=lambda e: heard.append((e, threading.get_ident()))) == 3
    assert [event.message for event, _ in heard] == ["at 0", "at 1", "at 2"]
    assert {thread for _, thread in heard} == {threading.get_ident()}
    assert isinstance(heard[0][0], Event)
    assert heard[2][0].picture.name == "2.png"


def test_mistakes_come_back_as_what_they_are_in_one_line(worker):
    before = worker.call(tasks.pid)
    with pytest.raises(PictureError, match=r"^no object in it$"):
        worker.call(tasks.wrong, "picture")
    with pytest.raises(OSError, match=r"^/full/disk: No space left on device$") as full:
        worker.call(tasks.wrong, "disk")
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match="unexpected KeyError: 'nothing'"):
        worker.call(tasks.wrong, "odd")
    with pytest.raises(RuntimeError, match="cannot be handed over"):
        worker.call(tasks.wrong, "result")
    assert worker.call(tasks.pid) == before


def test_a_cancelled_task_ends_at_its_next_report_and_the_process_lives(worker):
    before, wanted = worker.call(tasks.pid), threading.Event()
    with pytest.raises(Cancelled):
        worker.call(tasks.until_stopped, on_event=lambda _: wanted.set(), cancelled=wanted)
    with pytest.raises(TimeLimit, match=r"limit of 0\.1 seconds"):
        worker.call(tasks.until_stopped, time_limit_s=0.1)
    assert worker.call(tasks.pid) == before


def test_a_call_that_waits_for_its_turn_can_be_cancelled(worker):
    wanted, begun = threading.Event(), threading.Event()

    def first():
        with pytest.raises(Cancelled):
            worker.call(tasks.until_stopped, on_event=lambda _: begun.set(), cancelled=wanted)

    other = threading.Thread(target=first)
    other.start()
    assert begun.wait(30)
    gone = threading.Event()
    gone.set()
    with pytest.raises(Cancelled, match="before it began"):
        worker.call(tasks.pid, cancelled=gone)
    wanted.set()
    other.join(30)
    assert not other.is_alive()


def test_a_dead_process_is_said_once_and_replaced_by_the_next_call(worker, monkeypatch):
    before = worker.call(tasks.pid)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        worker.call(tasks.dying)
    after = worker.call(tasks.pid)
    assert after != before
    monkeypatch.setattr(worker_module, "_GRACE", 0.2)
    start = time.monotonic()
    with pytest.raises(TimeLimit):
        worker.call(tasks.deaf, 60, time_limit_s=0.1)
    assert time.monotonic() - start < 10


def test_closing_tells_the_caller_under_way():
    worker, begun, heard = Worker(threads=1), threading.Event(), []

    def caller():
        with pytest.raises(WorkerDied, match="closed") as error:
            worker.call(tasks.deaf, 60, on_event=lambda _: begun.set())
        heard.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    assert begun.wait(60)
    worker.close()
    thread.join(30)
    assert heard
    with pytest.raises(WorkerDied, match="is closed"):
        worker.call(tasks.pid)
