"""The pictures of a method on disk: made object by object, kept, and not made again when a run goes on."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123.evaluation.cases import Case, Cases
from zero123.evaluation.methods import Answer, Method, read_pictures, write_pictures
from zero123.files import atomic_path, replace_folder, writable_folder

Progress = Callable[[int, int], None]
_MADE = "made.json"
_DOUBT = "doubt.npy"


class Gallery:
    """The folder of the pictures of one run.

    Args:
        folder: made if it is not there.
        made_with: everything the pictures depend on, as JSON values.
        samples: of each target.

    Raises:
        ValueError: the folder holds pictures that were made with something else; the line says with what.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, made_with: dict[str, Any], samples: int) -> None:
        self.folder, self._samples = folder, samples
        record = writable_folder(folder) / _MADE
        if record.is_file():
            other = differences(json.loads(record.read_text(encoding="utf-8")), made_with)
            if other:
                raise ValueError(f"{folder} holds pictures made with {'; '.join(other)}: choose another folder")
            return
        with atomic_path(record) as temporary:
            temporary.write_text(json.dumps(made_with, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def has(self, case: Case) -> bool:
        """Whether the pictures of a case, and of these very views of it, are there."""
        return self._record(case).get("views_sha256") == case.digest

    def keep(self, case: Case, answer: Answer) -> None:
        """Write the pictures of a case, all of them or none."""
        new = self.folder / f".{secrets.token_hex(4)}"
        try:
            write_pictures(new, case.numbers[1:], answer.views)
            if answer.doubt is not None:
                np.save(new / _DOUBT, answer.doubt.numpy().astype(np.float16))
            record = {"views_sha256": case.digest, "elevation": answer.elevation}
            (new / _MADE).write_text(json.dumps(record) + "\n", encoding="utf-8")
            home = self.folder / case.name
            home.parent.mkdir(parents=True, exist_ok=True)
            replace_folder(new, home)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def views(self, case: Case) -> Tensor:
        """The pictures of a case, (T, K, 3, S, S) in [0, 1]."""
        return read_pictures(self.folder / case.name, case.numbers[1:], self._samples)

    def answer(self, case: Case) -> Answer:
        """The whole answer, as it was kept."""
        doubt = self.folder / case.name / _DOUBT
        said = torch.from_numpy(np.load(doubt, allow_pickle=False)).float() if doubt.is_file() else None
        return Answer(self.views(case), self.elevation(case), said)

    def elevation(self, case: Case) -> float | None:
        """Where the method believed the input was taken from, radians."""
        value = self._record(case).get("elevation")
        return None if value is None else float(value)

    def _record(self, case: Case) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / case.name / _MADE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def make_all(cases: Cases, method: Method, gallery: Gallery, progress: Progress | None = None) -> None:
    """Make what the gallery lacks; what is there is left alone, so an interrupted run goes on where it stopped."""
    for index, case in enumerate(cases):
        if not gallery.has(case):
            gallery.keep(case, method(case))
        if progress is not None:
            progress(index + 1, len(cases))


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """What two descriptions, JSON values by name, disagree in: `NAME BEFORE, now NOW` each."""
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} {_short(old)}, now {_short(new)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
