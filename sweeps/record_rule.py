"""Which measures a sweep records, and the one step grid of all its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import Fault
from phasecube.engine.experiment import Measure
from phasecube.engine.measures import labels as measure_labels
from phasecube.engine.record import RecordRule
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.asked import measures_known
from phasecube.sweeps.pruner_rungs import rungs_of
from phasecube.sweeps.sections import RecordSection
from phasecube.sweeps.steps_section import Cadence


def measures_of(experiment: Any, section: RecordSection) -> dict[str, Measure]:
    """Return the measures to record: those asked for, or all that are recorded by default."""
    known = measures_known(experiment)
    if section.measures is None:
        return {name: m for name, m in known.items() if m.recorded}
    return {name: known.get(name, Measure(name)) for name in section.measures}


def step_grid(cadence: Cadence | list[int], lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the increasing steps at which some trial records: 0, the cadence, each last step."""
    last = max(lengths)
    if isinstance(cadence, list):
        steps = np.asarray([s for s in cadence if s <= last], np.int64)
    elif cadence.every is not None:
        steps = np.arange(0, last + 1, cadence.every)
    elif cadence.log is not None:
        steps = np.rint(np.geomspace(1, last, cadence.log)).astype(np.int64)
    else:
        raise ValueError(f"{cadence} names no steps")
    return np.unique(np.concatenate([[0], steps, np.asarray(lengths)])).astype(np.int64)


def record_rule(
    experiment: Any,
    section: RecordSection,
    measures: Mapping[str, Measure],
    lengths: Sequence[int],
    trials: Sequence[Mapping[str, Any]],
    pruner: PrunerSection | None = None,
) -> RecordRule:
    """Return the rule; labels of a vector measure are the union over one trial a static group.

    Rungs are recorded too, and what is judged there is taken there whatever its cadence.
    """
    scalars = tuple(name for name, m in measures.items() if m.dim is None)
    vectors: dict[str, tuple[str, ...]] = {}
    for name in (name for name, m in measures.items() if m.dim is not None):
        labels: dict[str, None] = {}
        for trial in trials:
            own = experiment.params_type
            params = own(**{n: trial[n] for n in own.model_fields})
            labels.update(dict.fromkeys(measure_labels(experiment, name, params)))
        vectors[name] = tuple(labels)
    rungs = np.zeros(0, np.int64) if pruner is None else rungs_of(pruner.rungs, max(lengths))
    steps = np.union1d(step_grid(section.steps, lengths), rungs)
    vector_steps = step_grid(_recorded_at(section, vector=True), lengths)
    cadences = {
        name: _taken_at(cadence, vector_steps if name in vectors else steps, lengths)
        for name, cadence in section.cadence.items()
    }
    if pruner is not None and pruner.measure in cadences:
        cadences[pruner.measure] = np.union1d(cadences[pruner.measure], rungs)
    vector_steps = vector_steps if vectors else np.zeros(0, np.int64)
    return RecordRule(steps, scalars, vector_steps, vectors, section.dtype, cadences)


def cadence_faults(
    section: RecordSection, measures: Mapping[str, Measure], lengths: Sequence[int]
) -> list[Fault]:
    """Return a fault for each cadence with steps at which its measure is not recorded.

    Cadences of unknown measures are passed over; `asked_faults` names those.
    """
    found = []
    for name, cadence in section.cadence.items():
        if name not in measures or (isinstance(cadence, Cadence) and cadence.log is not None):
            continue
        path, last = f"record.cadence.{name}", max(lengths)
        recorded = _recorded_at(section, vector=measures[name].dim is not None)
        key = "vector_steps" if recorded is section.vector_steps else "steps"
        grid = step_grid(recorded, lengths)
        asked = cadence if isinstance(cadence, list) else range(0, last + 1, cadence.every or 1)
        # No more are looked at than the grid has, and one: enough to find one off it.
        off = np.setdiff1d([s for s in asked[: len(grid) + 1] if s <= last], grid)
        if len(off):
            message = f"step {off[0]} is not among record.{key}, and a cadence only thins them; "
            if isinstance(cadence, Cadence) and isinstance(recorded, Cadence) and recorded.every:
                message += f"take a multiple of {recorded.every}"
            else:
                message += f"record at it too, or use {{ log = {max(2, len(grid) // 4)} }}"
            found.append(Fault(path, message))
    return found


def _recorded_at(section: RecordSection, *, vector: bool) -> Cadence | list[int]:
    return section.vector_steps if vector and section.vector_steps is not None else section.steps


def _taken_at(
    cadence: Cadence | list[int], grid: npt.NDArray[np.int64], lengths: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Return those steps of the grid at which a measure is taken."""
    wanted = step_grid(cadence, lengths)
    if isinstance(cadence, Cadence) and cadence.log is not None:
        # The nearest steps of the grid; the ends and the last steps are on it.
        after = np.searchsorted(grid, wanted).clip(1, max(1, len(grid) - 1))
        below, above = grid[after - 1], grid[np.minimum(after, len(grid) - 1)]
        wanted = np.where(wanted - below <= above - wanted, below, above)
    return np.unique(wanted).astype(np.int64)
