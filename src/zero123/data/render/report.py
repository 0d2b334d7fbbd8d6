"""The folder of a rendering: which settings it was begun with, and which objects failed and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zero123.files import atomic_path, writable_folder

_SETTINGS = "render.json"
_FAILURES = "failures.jsonl"
_LOCK = ".render.lock"
_STAGING = ".rendering-"


class RenderFolder:
    """A folder of view sets while a run writes into it; a context manager that keeps others out.

    Args:
        folder: made if it is not there.
        settings: as JSON values; must be those the folder was begun with.

    Raises:
        OSError: not writable, or another run is at work in it.
        ValueError: begun with other settings; says which.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = writable_folder(folder)
        self._settings = json.loads(json.dumps(settings, default=str))
        self._lock = FileLock(folder / _LOCK, timeout=0)
        self.failures: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> RenderFolder:
        try:
            self._lock.acquire()
        except Timeout:
            raise OSError(
                f"{self.folder}: another run renders into this folder; wait for it, or choose another"
            ) from None
        try:
            self._sweep()
            self._check_settings()
            self.failures = read_failures(self.folder)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sweep()
        self._compact()
        self._lock.release()

    def failed(self, name: str, reason: str, attempts: int) -> None:
        """Note a failure; the attempts of earlier runs are added."""
        before = self.failures.get(name, {}).get("attempts", 0)
        self.failures[name] = {"object": name, "reason": reason, "attempts": before + attempts}
        with (self.folder / _FAILURES).open("a", encoding="utf-8") as file:  # the last line of an object counts
            file.write(json.dumps(self.failures[name]) + "\n")

    def succeeded(self, name: str) -> None:
        """Take an object off the list of failures."""
        self.failures.pop(name, None)

    def _compact(self) -> None:
        """One line per object that still fails; no file where none does."""
        path = self.folder / _FAILURES
        if not self.failures:
            path.unlink(missing_ok=True)
            return
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(f) + "\n" for f in self.failures.values()), encoding="utf-8")

    def _check_settings(self) -> None:
        path = self.folder / _SETTINGS
        if path.is_file():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: damaged ({error}); delete it to go on with the settings of now") from error
            changed = differences(before, self._settings)
            if changed:
                what = "; ".join(changed[:4])
                raise ValueError(f"{self.folder} was begun with other settings ({what}); use those, or another folder")
            return
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self._settings, indent=1) + "\n", encoding="utf-8")

    def _sweep(self) -> None:
        """Remove what killed workers left half done."""
        for pattern in (f"{_STAGING}*", f".{_STAGING}*"):  # the second: a view set on its way into the first
            for left in self.folder.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)


def staging_name(name: str, mark: str) -> str:
    """Name of the folder in which an object is written before it is put in its place."""
    return f"{_STAGING}{mark}-{name}"


def read_failures(folder: Path) -> dict[str, dict[str, Any]]:
    """The failures of a folder by object: `object`, `reason`, `attempts`; lines cut short by a crash are left out."""
    path = folder / _FAILURES
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            found[str(entry["object"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return found


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What changed between two JSON values, each as `name: before, now after`."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [d for k in keys for d in differences(before.get(k), now.get(k), f"{name}.{k}" if name else str(k))]
    return [] if before == now else [f"{name}: {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
