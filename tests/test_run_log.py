"""A run's log keeps whole lines and forgets what an interrupted run did after its last checkpoint."""

import json

import pytest

from small_disk import files_of_at_most
from zero123.run_log import RunLog, alone_in


def test_lines_come_back_as_written(tmp_path):
    log = RunLog(tmp_path / "run", {"rate": 0.1})
    log.write(1, loss=2.0)
    log.write(2, loss=1.0)
    assert [(line["step"], line["loss"]) for line in log.lines()] == [(1, 2.0), (2, 1.0)]
    assert json.loads((tmp_path / "run" / "settings.json").read_text()) == {"rate": 0.1}


def test_resuming_drops_later_lines_and_a_line_cut_short(tmp_path):
    log = RunLog(tmp_path, {})
    for step in (1, 2, 3):
        log.write(step, loss=0.5)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    log = RunLog(tmp_path, {}, resume_step=2)
    log.write(3, loss=0.25)
    assert [(line["step"], line["loss"]) for line in log.lines()] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    assert not list(tmp_path.glob(".*"))


def test_starting_anew_forgets_an_older_run(tmp_path):
    RunLog(tmp_path, {}).write(1, loss=0.5)
    assert RunLog(tmp_path, {}).lines() == []


def test_a_full_disk_is_told_with_the_file_it_was_met_at(tmp_path):
    with files_of_at_most(0):
        with pytest.raises(OSError, match=r"cannot write .*/settings\.json: File too large"):
            RunLog(tmp_path, {})
        with pytest.raises(OSError, match=r"cannot write .*/\.run: File too large"), alone_in(tmp_path):
            raise AssertionError
    with alone_in(tmp_path):  # it was left free
        RunLog(tmp_path, {})
