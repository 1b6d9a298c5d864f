"""What a checkpoint of a pack holds, and how a pack goes on from one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.record import Outcome, Status
from phasecube.engine.recording import Recorder, Rows
from phasecube.engine.trials import Trials

if TYPE_CHECKING:
    from phasecube.engine.pack_loop import Group

VERSION = 1
# Outcomes that a checkpoint may vouch for; a trial that failed is run again when asked for.
KEPT_OUTCOMES = (Outcome.DONE, Outcome.PRUNED, Outcome.DIVERGED, Outcome.TIMED_OUT)


@dataclass(frozen=True)
class InFlight:
    """Trials that stood at `step`: their places among the pack's trials, and their tensors."""

    indices: Rows
    step: int
    elapsed_s: float
    tensors: dict[str, Tensor]

    def take(self, places: slice) -> InFlight:
        """Return a part of the lanes."""
        tensors = {name: t[places] for name, t in self.tensors.items()}
        return InFlight(self.indices[places], self.step, self.elapsed_s, tensors)


@dataclass(frozen=True)
class Restored:
    """What is left to do: trials to go on with, and trials to start."""

    in_flight: InFlight | None
    waiting: Rows

    def split(self, lanes: int) -> list[InFlight]:
        """Return the trials in flight, at most `lanes` at a time."""
        found = self.in_flight
        if found is None:
            return []
        return [found.take(slice(i, i + lanes)) for i in range(0, len(found.indices), lanes)]


def save_pack(
    folder: CheckpointFolder,
    experiment: Any,
    trials: Trials,
    recorder: Recorder,
    group: Group | None,
) -> None:
    """Write all rows of the pack, and the state of the lanes that train now."""
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
        "in_flight": [],
        "step": 0,
        "elapsed_s": 0.0,
    }
    if group is not None:
        saved = group.state.saved(group.n_lanes)
        tensors |= {f"state.{name}": t for name, t in saved.items()}
        note["in_flight"] = group.state.trials.lanes[: group.n_lanes].tolist()
        note["step"], note["elapsed_s"] = group.state.step, group.elapsed_s
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
        return Restored(None, everything)
    tensors, note = found
    if note.get("version") != VERSION or note.get("run") != _run_name(experiment, recorder):
        return Restored(None, everything)
    places = {row: place for place, row in enumerate(note["in_flight"])}
    status_RF = tensors["status"].numpy()
    going, waiting = [], []
    for i, row in enumerate(trials.lanes.tolist()):
        if note["trials"].get(str(row)) != _trial_name(trials, i):
            waiting.append(i)
        elif status_RF[row, Status.OUTCOME] in KEPT_OUTCOMES:
            _restore_row(recorder, tensors, row)
        elif row in places:
            _restore_row(recorder, tensors, row)
            going.append(i)
        else:
            waiting.append(i)
    if not going:
        return Restored(None, np.array(waiting, np.int64))
    order = torch.tensor([places[row] for row in trials.lanes[going].tolist()])
    state = {
        name.removeprefix("state."): t[order]
        for name, t in tensors.items()
        if name.startswith("state.")
    }
    in_flight = InFlight(np.array(going), note["step"], note["elapsed_s"], state)
    return Restored(in_flight, np.array(waiting, np.int64))


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
