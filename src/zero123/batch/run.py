"""A batch from its beginning, or from where it was stopped, to its end; every picture is made, or told why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from zero123 import jobs
from zero123.batch import results
from zero123.batch.one import NOBODY_CAN, Order, make, told
from zero123.batch.pictures import Picture
from zero123.batch.settings import BatchSettings, ModelChoice, as_json
from zero123.jobs import JobFolder, Outcome, Workers
from zero123.jobs.cluster import gpus_of


@dataclass(frozen=True)
class Result:
    """What became of a picture.

    Attributes:
        picture: as it was given.
        state: "made" now, "there" since an earlier run, or "failed".
        reason: why it failed, in one line; else None.
        tried: whether there was work to do in this run.
    """

    picture: Picture
    state: Literal["made", "there", "failed"]
    reason: str | None = None
    tried: bool = False


def make_all(
    pictures: Sequence[Picture],
    out: Path,
    settings: BatchSettings,
    model: ModelChoice,
    workers: Workers | None = None,
    cluster: str | None = None,
    *,
    retry_failed: bool = False,
) -> Iterator[Result]:
    """Make views, and meshes if asked for, of every picture in `out/<name>/`, whole or not at all.

    Pictures whose results are there are skipped, as are those that failed before; one whose file has changed since is
    made again. Beside the results lie `batch.json` (the settings), `manifest.jsonl` (each picture's manifest) and
    `failures.jsonl` (what failed, with reasons). The same seed gives the same pictures whatever the number of workers,
    on processors or GPUs of one kind.

    Args:
        pictures: each with a name of its own.
        out: folder of the results; with a cluster, one that every node sees, as the pictures.
        settings: what is made.
        model: with what.
        workers: how many, and how long a picture may take; without a count, one per GPU or as many as cores and memory
            are there for.
        cluster: address of a Ray cluster; None for processes of this machine.
        retry_failed: try again what failed before.

    Yields:
        Each picture's result: first of those that are there or failed before, then as they are done.

    Raises:
        ValueError: there is no such model or device, or the folder was begun with other settings.
        OSError: the folder is not writable, another run uses it, the disk is full, no cluster answers, or no worker
            can load the model.
        ImportError: Ray is not installed.
    """
    model = model.settled(None if cluster is None else gpus_of(cluster))
    identity = model.identity()
    values = as_json(settings, identity)
    order = Order(out.resolve(), settings, model, identity, cluster is not None)
    workers = _fitted(workers or Workers(), model, cluster)
    try:
        with JobFolder(out, values, "batch", "picture") as folder:
            todo = []
            for picture in pictures:
                state = _state(picture, folder, values, retry_failed)
                if state is None:
                    todo.append(picture)
                else:
                    yield state
            with _Collected(out), closing(jobs.run(partial(make, order=order), todo, workers, cluster)) as outcomes:
                for outcome in outcomes:  # the workers end before the folder is left
                    yield _noted(outcome, folder)
    except OSError as error:
        if error.errno in NOBODY_CAN:
            raise OSError(told(error, out)) from error
        raise


class _Collected:
    """Around a run: the manifest of all results as it is at the beginning, and again at the end, whatever that is."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> None:
        results.collect(self._out)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            results.collect(self._out)
        except OSError:
            if kind is None:  # else it is the same full disk, say, of which that error tells
                raise


def _fitted(workers: Workers, model: ModelChoice, cluster: str | None) -> Workers:
    """One worker per GPU where there are some; else as many as have room, or one on a device that cannot be shared."""
    device = torch.device(model.device or "cpu")
    if device.type == "cpu":
        return replace(workers, memory=model.memory())
    if device == torch.device("cuda"):  # no number: any
        return replace(workers, gpus=True)
    if cluster is not None:
        raise ValueError(f"device must be cpu or cuda on a cluster, got {model.device!r}")
    return replace(workers, count=workers.count or 1)


def _state(picture: Picture, folder: JobFolder, settings: dict[str, Any], retry_failed: bool) -> Result | None:
    """What a picture is before anything is done; None where there is work to do."""
    try:
        if results.is_done(folder.folder, picture, settings):
            folder.succeeded(picture.name)
            return Result(picture, "there")
    except ValueError as error:
        folder.failed(picture.name, str(error), 0)
        return Result(picture, "failed", str(error))
    before = folder.failures.get(picture.name)
    if before is not None and before["attempts"] and not retry_failed:
        reason = f"{before.get('reason')} (failed in an earlier run; --retry-failed tries again)"
        return Result(picture, "failed", reason)
    return None


def _noted(outcome: Outcome[Picture, dict[str, Any]], folder: JobFolder) -> Result:
    """Write down what became of a picture."""
    picture, error = outcome.item, outcome.error
    if error is None and results.read(folder.folder / picture.name) is None:
        error = f"written on {outcome.where}, not seen here; -o must be a folder that all machines share"
    if error is None:
        folder.succeeded(picture.name)
        results.note(folder.folder, outcome.result or {})
        return Result(picture, "made", tried=True)
    folder.failed(picture.name, error, outcome.attempts)
    return Result(picture, "failed", error, tried=True)
