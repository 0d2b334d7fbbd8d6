"""A run's folder: its settings, its metrics as JSON lines, its pictures; one run at a time."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


@contextmanager
def alone_in(folder: str | Path, doing: str = "training") -> Iterator[None]:
    """Keep every other run out of a folder, made if missing, while the block runs.

    The operating system holds the lock, so one that was killed leaves none behind. `doing` is what others are told.

    Raises:
        OSError: another run is in the folder, or it cannot be written; in one line.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".run"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "another program"
        raise OSError(f"{folder}: {who} is {doing} here; wait for it or stop it, or choose another folder") from None
    try:
        _write(holder, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


class RunLog:
    """Writes what a run does into a folder, and picks up where an interrupted run stopped.

    Args:
        folder: made if it is not there.
        settings: a dataclass or dict, kept as `settings.json`.
        resume_step: lines of later steps, which an interrupted run left behind, are dropped from `metrics.jsonl`.
    """

    def __init__(self, folder: str | Path, settings: Any, resume_step: int = 0) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        values = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings
        self._replace("settings.json", json.dumps(values, indent=1, default=str) + "\n")
        self._metrics = self.folder / "metrics.jsonl"
        kept = [line for line in self.lines() if line["step"] <= resume_step]
        self._replace("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        self._start = time.monotonic()

    def write(self, step: int, **values: float) -> None:
        """Append one line: the step, seconds since this process began the run, and the values.

        Raises:
            OSError: it cannot be written, in one line naming the file.
        """
        line = {"step": step, "seconds": round(time.monotonic() - self._start, 1), **values}
        _write(self._metrics, json.dumps(line) + "\n", "a")

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines written so far; a last line cut short by a crash is left out."""
        if not self._metrics.exists():
            return []
        whole = []
        for line in self._metrics.read_text(encoding="utf-8").splitlines():
            try:
                whole.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return whole

    def _replace(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}.tmp"
        _write(temporary, text, of=self.folder / name)
        os.replace(temporary, self.folder / name)


def _write(path: Path, text: str, mode: str = "w", of: Path | None = None) -> None:
    """Write a text; where that fails, say in one line which file it was, or was the beginning `of`."""
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise type(error)(f"cannot write {of or path}: {error.strerror or error}") from error
