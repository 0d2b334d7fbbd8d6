"""What a training run was begun with, written down beside it: it goes on with the same, or only if that is accepted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123.cli.console import say

if TYPE_CHECKING:
    from zero123.cli.start import Chosen
    from zero123.cli.train_options import SettingsOptions
    from zero123.training.settings import TrainSettings

_FILE = "start.json"


def begun_with(how: SettingsOptions, source: str | None, chosen: Chosen) -> dict[str, Any]:
    """What `start.json` holds beside the data: all that decides a run beside its settings."""
    own = sorted(how.model_changes)
    return {"preset": how.preset, "finetune_from": source, "model": own, "pairs": asdict(chosen)}


def with_data(begun: dict[str, Any], chosen: Chosen) -> dict[str, Any]:
    """The same with what its folders hold: by number and name of their objects, which decide what a step learns from.

    Raises:
        ValueError: a folder cannot be read; in one line.
    """
    return {**begun, "data": {str(folder): _objects(folder) for folder, _ in chosen.folders()}}


def refuse_changes(out: Path, settings: TrainSettings, begun: dict[str, Any], chosen: Chosen, accepted: bool) -> None:
    """Stop where the run in `out`, once it has a checkpoint, was otherwise, unless that is accepted; say what differs.

    Raises:
        ValueError: it differs and is not accepted; in one line.
    """
    from zero123.training.checkpoints import checkpoints
    from zero123.training.settings import changes_since, differences

    if not checkpoints(out / "checkpoints"):
        return
    now = with_data(begun, chosen)
    changes = differences(out, settings) + changes_since(out / _FILE, now, now, ())
    if not changes:
        return
    listed = "; ".join(changes)
    if not accepted:
        raise ValueError(f"{out}: its run was started otherwise ({listed}): start it so again, or --accept-changes")
    say(f"settings changed: {listed}")


def note_start(out: Path, begun: dict[str, Any]) -> None:
    """Write down what the run starts from, for `refuse_changes`, while no other run is in `out`.

    Raises:
        OSError: another run is there, or the folder cannot be written.
    """
    from zero123.files import atomic_path
    from zero123.run_log import alone_in

    with alone_in(out), atomic_path(out / _FILE) as temporary:
        temporary.write_text(json.dumps(begun, indent=1) + "\n", encoding="utf-8")


def _objects(folder: Path) -> str:
    """How many objects a folder of views holds, and a hash of their names in order: `6 objects (1f0c9a2e)`."""
    from zero123.data.formats.detect import open_source
    from zero123.data.shards.index import INDEX, ShardIndex, digest_of

    names: Sequence[str]
    if (folder / INDEX).is_file():  # of pictures or of latents
        names = [name for shard in ShardIndex.load(folder).shards for name in shard.objects]
    else:
        names = open_source(folder).names
    return f"{len(names)} objects ({digest_of(list(names))[:8]})"
