"""Where a run goes on: one run in a folder, from its newest whole checkpoint, the work shared out anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from zero123.run_log import alone_in
from zero123.training.checkpoints import load_notes, newest_whole
from zero123.training.parallel import decided
from zero123.training.settings import TrainSettings


@contextmanager
def alone(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder; where there is one, no process of this run starts.

    Raises:
        ValueError: another run is in the folder, or it cannot be written; in one line.
    """
    with ExitStack() as stack:
        decided(accelerator, lambda: stack.enter_context(alone_in(folder)))
        yield


def plan(folder: Path, settings: TrainSettings, processes: int) -> dict[str, Any]:
    """Which checkpoint to go on from ("checkpoint", None in a new folder), and how to share a step's batches ("share").

    The batches of a step, whose pairs and noise depend on their number alone, are those of the checkpoint's run; fewer
    processes take more of them each. So are the "lanes" to which shards are dealt where they are streamed: as many as
    there were processes when the run began.

    Raises:
        ValueError: so many processes cannot share them evenly, or all checkpoints are damaged.
    """
    found = newest_whole(folder / "checkpoints")
    if found is None:
        return {"checkpoint": None, "share": settings.accumulate, "lanes": processes}
    blocks, notes = settings.accumulate * processes, load_notes(found)
    if notes.get("accumulate", settings.accumulate) == settings.accumulate:  # else somebody wants another number
        blocks = notes.get("blocks", blocks)
    share = share_of(blocks, processes)
    if share != settings.accumulate:
        text = "going on with %d processes, each of which takes %d batches a step, as many in all as before"
        logging.getLogger(__name__).warning(text, processes, share)
    return {"checkpoint": str(found), "share": share, "lanes": notes.get("lanes", processes)}


def share_of(blocks: int, processes: int) -> int:
    """How many of the `blocks` batches of an optimiser step each process takes.

    Raises:
        ValueError: they cannot be shared evenly.
    """
    if blocks % processes:
        fitting = ", ".join(str(n) for n in range(1, blocks + 1) if blocks % n == 0)
        raise ValueError(
            f"this run takes {blocks} batches a step, which {processes} processes cannot share evenly: "
            f"go on with a number of processes out of {fitting}, or start in a new folder"
        )
    return blocks // processes
