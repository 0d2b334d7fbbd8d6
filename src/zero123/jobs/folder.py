"""The folder a long job writes into: one run at a time, with one set of settings, and a list of what failed and why."""

from __future__ import annotations

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zero123.files import atomic_path, writable_folder

_FAILURES = "failures.jsonl"


class JobFolder:
    """A folder of results while a run writes into it; a context manager that keeps other runs out.

    Beside one folder per result, by their names, lie `KIND.json`, the settings, and `failures.jsonl` where some failed.

    Args:
        folder: made if it is not there.
        settings: as JSON values; must be those the folder was begun with, once there are results.
        kind: of job, one word.
        item: what a result is made of, one word; its key in the list of failures.

    Raises:
        OSError: not writable, or another run is at work in it.
        ValueError: begun with other settings; says which.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], kind: str, item: str) -> None:
        self.folder = writable_folder(folder)
        self._settings = json.loads(json.dumps(settings, default=str))
        self._kind, self._item = kind, item
        self._lock = FileLock(folder / f".{kind}.lock", timeout=0)
        self.failures: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> JobFolder:
        try:
            self._lock.acquire()
        except Timeout:
            raise OSError(
                f"{self.folder}: another run writes into this folder; wait for it, or choose another"
            ) from None
        try:
            self._sweep()
            self._check_settings()
            self.failures = self._read_failures()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._sweep()
            self._compact()
        finally:
            self._lock.release()

    def failed(self, name: str, reason: str, attempts: int) -> None:
        """Note a failure; the attempts of earlier runs are added."""
        before = self.failures.get(name, {}).get("attempts", 0)
        self.failures[name] = {self._item: name, "reason": reason, "attempts": before + attempts}
        with (self.folder / _FAILURES).open("a", encoding="utf-8") as file:  # the last line of an item counts
            file.write(json.dumps(self.failures[name]) + "\n")

    def succeeded(self, name: str) -> None:
        """Take an item off the list of failures."""
        self.failures.pop(name, None)

    def _read_failures(self) -> dict[str, dict[str, Any]]:
        """By item; lines cut short by a crash are left out."""
        path = self.folder / _FAILURES
        found = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
                found[str(entry[self._item])] = entry
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _compact(self) -> None:
        """One line per item that still fails; no file where none does."""
        path = self.folder / _FAILURES
        if not self.failures:
            path.unlink(missing_ok=True)
            return
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(f) + "\n" for f in self.failures.values()), encoding="utf-8")

    def _check_settings(self) -> None:
        path = self.folder / f"{self._kind}.json"
        if path.is_file():
            bound = self._has_results()
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                if bound:
                    raise ValueError(
                        f"{path}: damaged ({error}); delete it to go on with the settings of now"
                    ) from error
                before = None
            changed = differences(before, self._settings)
            if changed and bound:
                what = "; ".join(changed[:4])
                raise ValueError(f"{self.folder} was begun with other settings ({what}); use those, or another folder")
            if not changed:
                return
            (self.folder / _FAILURES).unlink(missing_ok=True)  # with these settings nothing has failed yet
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self._settings, indent=1) + "\n", encoding="utf-8")

    def _has_results(self) -> bool:
        """A run that made nothing, say because a setting was wrong, does not bind the next one."""
        return any(path.is_dir() and not path.name.startswith(".") for path in self.folder.iterdir())

    def _sweep(self) -> None:
        """Remove what killed workers left half done."""
        for pattern in (f".{self._kind}ing-*", f"..{self._kind}ing-*"):  # the second: on its way into the first
            for left in self.folder.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)


def staging(folder: Path, kind: str, name: str) -> Path:
    """A new name in which a worker writes a result before it is put in its place; swept away if it stays."""
    return folder / f".{kind}ing-{secrets.token_hex(4)}-{name}"


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What changed between two JSON values, each as `name: before, now after`."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(key for key in now if key not in before)]
        return [d for k in keys for d in differences(before.get(k), now.get(k), f"{name}.{k}" if name else str(k))]
    return [] if before == now else [f"{name}: {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
