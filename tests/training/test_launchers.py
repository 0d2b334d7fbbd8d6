"""`zero123 train` as clusters start it: by accelerate, by torchrun, by Slurm alone; killed, it goes on exactly."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from command import TINY, environment, lines, model_at, same_bits, views_at
from zero123.data.formats.detect import open_source
from zero123.data.shards.writer import ShardSettings, shard_views

pytestmark = pytest.mark.slow

MODULE = ["-m", "zero123"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "2"]
ACCELERATE += ["--multi_gpu"]  # which is also how it starts several processes on CPUs
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
BOUND = 60  # seconds after a death in which every other process must have ended


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    model_at(folder / "tiny")
    views_at(folder / "views")
    shard_views(open_source(folder / "views"), folder / "shards", ShardSettings(objects=2))
    return folder


def verb(data, out, steps, *options):
    options = (*TINY, "--set", "reading=stream", "--set", "buffer=3", "--steps", str(steps), *options)
    return ["train", str(data / "shards"), "-o", str(out), "--finetune-from", str(data / "tiny"), *options]


def finished(launcher, *arguments):
    done = subprocess.run(
        [*launcher, *MODULE, *arguments], capture_output=True, text=True, env=environment(), timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """Eight steps of two processes that nobody stopped."""
    folder = tmp_path_factory.mktemp("straight")
    finished(TORCHRUN, *verb(data, folder, 8))
    return folder


def wait_for(ready, process, seconds=120):
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until and process.poll() is None, "the run did not come so far"
        time.sleep(0.02)


def has_saved(folder):
    return lambda: any((folder / "checkpoints").glob("step-*"))


def goes_on_exactly(data, run, launcher, straight):
    """A run that died ends, two steps after its newest checkpoint, in the digits of one that was left alone."""
    steps = int(sorted((run / "checkpoints").glob("step-*"))[-1].name[-8:]) + 2
    finished(launcher, *verb(data, run, steps))
    finished(TORCHRUN, *verb(data, straight, steps))
    return same_bits(run, straight, steps) and lines(run) == lines(straight)


def test_accelerate_launch_trains_two_processes_to_the_digits_of_torchrun(data, straight, tmp_path):
    finished(ACCELERATE, *verb(data, tmp_path, 8))
    assert json.loads((tmp_path / "checkpoints/step-00000008/state.json").read_text())["notes"]["blocks"] == 2
    assert same_bits(tmp_path, straight, 8) and lines(tmp_path) == lines(straight)


@pytest.mark.thorough
def test_what_accelerate_started_ends_when_one_process_is_killed_and_goes_on_exactly(data, tmp_path):
    command = [*ACCELERATE, *MODULE, *verb(data, tmp_path, 3000)]
    with open(tmp_path / "said", "w") as said, subprocess.Popen(command, stderr=said, env=environment()) as launcher:
        try:
            wait_for(has_saved(tmp_path), launcher)
            os.kill(int((tmp_path / ".run").read_text().split()[1]), signal.SIGKILL)  # the first of the two
            start = time.monotonic()
            assert launcher.wait(BOUND) != 0
        finally:
            launcher.kill()
    assert time.monotonic() - start < BOUND
    assert goes_on_exactly(data, tmp_path, ACCELERATE, tmp_path / "straight")


def started_alone(command, rank, port, errors):
    """A process of two as `runs/train.sbatch` starts it: no launcher watches it."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    own = environment(**{name: str(value) for name, value in told.items()})
    return subprocess.Popen([sys.executable, *MODULE, *command], stderr=errors, stdout=subprocess.DEVNULL, env=own)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("victim", [0, 1])
def test_without_a_launcher_the_other_process_ends_by_itself_with_one_line(data, tmp_path, victim):
    port = free_port()
    files = [open(tmp_path / f"said-{rank}", "w+") for rank in range(2)]  # noqa: SIM115
    pair = [started_alone(verb(data, tmp_path / "run", 3000), rank, port, files[rank]) for rank in range(2)]
    try:
        wait_for(has_saved(tmp_path / "run"), pair[0])
        pair[victim].kill()
        assert pair[1 - victim].wait(BOUND) == 2
    finally:
        for process, file in zip(pair, files, strict=True):
            process.kill()
            process.wait()
            file.close()
    said = (tmp_path / f"said-{1 - victim}").read_text()
    assert "another process of the run has died; nothing up to the newest checkpoint is lost" in said
    if victim == 1:
        assert goes_on_exactly(data, tmp_path / "run", TORCHRUN, tmp_path / "straight")


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_another_number_of_processes_goes_on_with_the_same_pairs_to_rounding(data, straight, tmp_path, processes):
    """From a checkpoint of two, and from one of one process whose steps had as many batches."""
    run = tmp_path / "run"
    if processes == 1:
        shutil.copytree(straight, run)
        shutil.rmtree(run / "checkpoints" / "step-00000008")
        done = finished([sys.executable], *verb(data, run, 8))
        assert (
            "going on with 1 processes, each of which takes 2 batches a step, as many in all as before" in done.stderr
        )
        expected = straight
    else:
        expected = tmp_path / "expected"
        finished([sys.executable], *verb(data, expected, 8, "--set", "accumulate=2"))
        shutil.copytree(expected, run)
        shutil.rmtree(run / "checkpoints" / "step-00000008")
        finished(TORCHRUN, *verb(data, run, 8, "--set", "accumulate=2"))
    for ours, theirs in zip(lines(run), lines(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)
    one, other = (load_file(f / "checkpoints/step-00000008/weights.safetensors") for f in (run, expected))
    assert all((one[key] - other[key]).abs().max() < 5e-3 for key in one)


SLURM = {
    "scontrol": 'case $1 in show) echo 127.0.0.1;; *) echo "$@" >> "$TOLD";; esac',
    "srun": 'shift; SLURM_PROCID=0 SLURM_LOCALID=0 exec "$@"',
    "zero123": f'exec {sys.executable} -m zero123 "$@"',
}
"""What of a cluster's programs the job script calls, with one task on this machine."""


def test_the_slurm_job_that_is_told_its_time_is_up_saves_ends_and_is_queued_again(data, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    bash = shutil.which("bash")
    if bash is None or shutil.which("tee") is None:
        pytest.skip("there is no bash")
    for name, text in SLURM.items():
        (tmp_path / name).write_text(f"#!{bash}\n{text}\n")
        (tmp_path / name).chmod(0o755)
    told, run = tmp_path / "told", tmp_path / "run"
    cluster = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    own = environment(**cluster, MASTER_PORT=str(free_port()), TOLD=str(told), WEIGHTS=str(data / "tiny"), STEPS="3000")
    own |= {"PATH": f"{tmp_path}:{own['PATH']}", "READING": "stream", "BATCH": "2"}
    script = Path(__file__).parents[2] / "runs" / "train.sbatch"
    options = [*TINY, "--set", "precision=no", "--set", "buffer=3"]
    command = [bash, str(script), str(data / "shards"), str(run), *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(command, env=own, **quiet) as job:
        try:
            wait_for(has_saved(run), job)
            os.kill(int((run / ".run").read_text().split()[1]), signal.SIGUSR1)
            assert job.wait(BOUND) != 0
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    step = lines(run)[-1]["step"]
    assert f"stopped as asked after step {step}; the same command goes on" in (run / "slurm.log").read_text()
    assert (run / "checkpoints" / f"step-{step:08d}").is_dir() and told.read_text() == "requeue 7\n"


def refused(launcher, *arguments):
    """Exit code, and what is said in lines that begin with "error: ", each once."""
    command = [*launcher, *MODULE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=280, check=False)
    return done.returncode, sorted({line for line in done.stderr.splitlines() if line.startswith("error: ")})


def test_a_number_of_processes_that_does_not_fit_is_refused_in_one_line(data, straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    code, (said,) = refused([*TORCHRUN[:-1], "3"], *verb(data, run, 9))
    assert code != 0 and "this run takes 2 batches a step, which 3 processes cannot share evenly" in said
    assert said.endswith("go on with a number of processes out of 1, 2, or start in a new folder")


def test_what_accelerate_would_start_otherwise_than_it_says_is_refused_in_one_line(data, tmp_path):
    code, (said,) = refused([*ACCELERATE[:-1], "--cpu"], *verb(data, tmp_path / "run", 2))
    assert code != 0 and "accelerate launch --cpu starts one process, whatever --num_processes says" in said
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_the_folder_is_refused_in_one_line_and_changes_nothing(data, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, *MODULE, *verb(data, run, 3000)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment()) as first:
        try:
            wait_for(has_saved(run), first)
            before = {name: (run / name).read_bytes() for name in ("start.json", "settings.json", ".run")}
            code, (said,) = refused(command[:1], *command[3:], "--accept-changes", "--edges", "blended")
            assert first.poll() is None
            assert {name: (run / name).read_bytes() for name in before} == before
        finally:
            first.kill()
    assert code == 2 and f"{run}: process {first.pid} on " in said and "is training here; wait for it" in said


def test_changed_settings_are_refused_in_one_line_that_names_both_values(data, straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    code, (said,) = refused([sys.executable], *verb(data, run, 8, "--set", "ema=0.5", "--edges", "blended"))
    assert code == 2 and "--accept-changes" in said
    assert "ema: 0.9999 -> 0.5" in said and "pairs.edges: original -> blended" in said
    assert "blended" not in (run / "start.json").read_text()
