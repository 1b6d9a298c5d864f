"""Which measures a sweep records, and the one step grid of all its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.experiment import Measure
from phasecube.engine.measures import labels as measure_labels
from phasecube.engine.record import RecordRule
from phasecube.sweeps.asked import measures_known
from phasecube.sweeps.sections import Cadence, RecordSection


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
) -> RecordRule:
    """Return the rule; labels of a vector measure are the union over one trial a static group."""
    scalars = tuple(name for name, m in measures.items() if m.dim is None)
    vectors: dict[str, tuple[str, ...]] = {}
    for name in (name for name, m in measures.items() if m.dim is not None):
        labels: dict[str, None] = {}
        for trial in trials:
            own = experiment.params_type
            params = own(**{n: trial[n] for n in own.model_fields})
            labels.update(dict.fromkeys(measure_labels(experiment, name, params)))
        vectors[name] = tuple(labels)
    steps = step_grid(section.steps, lengths)
    vector_steps = step_grid(section.vector_steps or section.steps, lengths)
    return RecordRule(
        steps,
        scalars,
        vector_steps if vectors else np.zeros(0, np.int64),
        vectors,
        section.dtype,
    )
