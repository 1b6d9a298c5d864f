"""What a checkpoint of a pack holds, and how a pack goes on from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.pack_state import Start, stacked
from phasecube.engine.record import Outcome, Status
from phasecube.engine.recording import Recorder, Rows
from phasecube.engine.trials import Trials

VERSION = 2  # 2: each lane has a step of its own
STATE = "state."
# Outcomes that a checkpoint may vouch for; a trial that failed is run again when asked for.
KEPT_OUTCOMES = (Outcome.DONE, Outcome.PRUNED, Outcome.DIVERGED, Outcome.TIMED_OUT)


@dataclass(frozen=True)
class Restored:
    """What is left to do, by place among the pack's trials: to go on with, and to start."""

    in_flight: dict[int, Start]
    waiting: Rows


def save_pack(
    folder: CheckpointFolder,
    experiment: Any,
    trials: Trials,
    recorder: Recorder,
    standing: Mapping[int, Start],
) -> None:
    """Write all rows of the pack, and where those stand that train now."""
    record = recorder.record
    tensors = {
        "scalars": torch.from_numpy(record.scalars_RMS),
        "status": torch.from_numpy(record.status_RF),
        "hits": torch.from_numpy(recorder.hits_R),
        **{f"vector.{name}": torch.from_numpy(v) for name, v in record.vectors.items()},
    }
    note: dict[str, Any] = {
        "version": VERSION,
        "run": _run_name(experiment, recorder),
        "trials": {str(trials.lanes[i]): _trial_name(trials, i) for i in range(len(trials))},
        "in_flight": list(standing),
        "elapsed_s": [start.elapsed_s for start in standing.values()],
    }
    lanes = stacked([start.tensors for start in standing.values()])
    tensors |= {STATE + name: rows for name, rows in lanes.items()}
    folder.save(tensors, note)


def restore_pack(
    folder: CheckpointFolder, experiment: Any, trials: Trials, recorder: Recorder
) -> Restored:
    """Put the rows of the newest whole checkpoint back and return what is left to do.

    A checkpoint of another experiment, engine, cadence or trial is not used.
    """
    everything = np.arange(len(trials))
    found = folder.newest()
    if found is None:
        return Restored({}, everything)
    tensors, note = found
    if note.get("version") != VERSION or note.get("run") != _run_name(experiment, recorder):
        return Restored({}, everything)
    places = {row: place for place, row in enumerate(note["in_flight"])}
    status_RF = tensors["status"].numpy()
    going: dict[int, Start] = {}
    waiting: list[int] = []
    for i, row in enumerate(trials.lanes.tolist()):
        if note["trials"].get(str(row)) != _trial_name(trials, i):
            waiting.append(i)
        elif status_RF[row, Status.OUTCOME] in KEPT_OUTCOMES:
            _restore_row(recorder, tensors, row)
        elif row in places:
            _restore_row(recorder, tensors, row)
            place = places[row]
            lane = {
                n.removeprefix(STATE): t[place] for n, t in tensors.items() if n.startswith(STATE)
            }
            going[i] = Start(lane, note["elapsed_s"][place])
        else:
            waiting.append(i)
    return Restored(going, np.array(waiting, np.int64))


def _restore_row(recorder: Recorder, tensors: dict[str, Tensor], row: int) -> None:
    record = recorder.record
    record.scalars_RMS[row] = tensors["scalars"][row].numpy()
    for name, values in record.vectors.items():
        values[row] = tensors[f"vector.{name}"][row].numpy()
    run = record.status_RF[row, Status.RUN]
    record.status_RF[row] = tensors["status"][row].numpy()
    record.status_RF[row, Status.RUN] = run
    recorder.hits_R[row] = int(tensors["hits"][row])


def _run_name(experiment: Any, recorder: Recorder) -> str:
    rule, stop = recorder.rule, recorder.stop
    return _hash(
        [
            *(experiment.name, experiment.version, int(recorder.engine), rule.dtype),
            *(rule.scalars, rule.steps.tolist(), rule.vector_steps.tolist()),
            *(sorted((k, list(v)) for k, v in rule.vectors.items()), asdict(stop)),
            *sorted((k, v.tolist()) for k, v in rule.cadences.items()),
        ]
    )


def _trial_name(trials: Trials, index: int) -> str:
    return _hash(trials.params(index))


def _hash(thing: Any) -> str:
    text = json.dumps(thing, sort_keys=True, default=lambda value: value.item())
    return blake2b(text.encode(), digest_size=16).hexdigest()
