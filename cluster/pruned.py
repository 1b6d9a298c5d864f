"""What is written of pruning: why a trial went (pruned.jsonl), and which never go (spared.json).

The first is derived and may be lost: the store says that a trial was pruned and where, and why
can be worked out again. The second is a user's wish, by `phasecube retry --pruned`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasecube.engine.errors import StudyError
from phasecube.engine.store import write_by_rename

if TYPE_CHECKING:
    from phasecube.sweeps.adaptive_sections import PrunerSection
    from phasecube.sweeps.pruner_optuna import Verdict

PRUNED, SPARED = "pruned.jsonl", "spared.json"


def note_pruned(
    study: Path, pruner: PrunerSection, verdict: Verdict, digests: Sequence[str]
) -> None:
    """Append why the trials with these digests are pruned."""
    line = {
        "trials": list(digests),
        **{name: value for name, value in asdict(verdict).items() if name != "point"},
        "pruner": pruner.model_dump(include={"kind", "measure", "goal", "options"}),
    }
    # In one write, so that lines of several processes stand one after another.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    handle = os.open(study / PRUNED, flags, 0o666)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def read_pruned(study: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole; none where the file is gone."""
    try:
        lines = (study / PRUNED).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # torn by a death while it was written
    return found


def read_spared(study: Path) -> frozenset[str]:
    """Return the digests of trials that are never judged; StudyError if the file is not whole."""
    path = study / SPARED
    try:
        return frozenset(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError) as error:
        raise StudyError(
            f"{path} is not whole ({error}); delete it, and its trials are judged again"
        ) from error


def spare(study: Path, digests: Collection[str]) -> None:
    """Add trials that are never judged again."""
    every = sorted(read_spared(study) | set(digests))
    write_by_rename(study / SPARED, (json.dumps(every, indent=0) + "\n").encode())
