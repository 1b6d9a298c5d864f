"""Train a few trials with the engine and read their curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine, PackRecord, RecordRule, StopRule
from phasecube.engine.run_pack import run_pack
from phasecube.engine.trials import Trials

Curve = npt.NDArray[np.floating]


def grid(**axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Return one row for each combination of the axes' values, the last axis fastest."""
    return [dict(zip(axes, row, strict=True)) for row in product(*axes.values())]


def train(
    experiment: Experiment[Any],
    trials: list[dict[str, Any]],
    steps: int,
    every: int = 1,
    lanes: int = 32,
    spare: int = 0,
    vectors: Sequence[str] = (),
    general: Sequence[str] = (),
    scalars: Sequence[str] | None = None,
    **fixed: Any,
) -> tuple[npt.NDArray[np.int64], dict[str, Curve]]:
    """Return the record steps, every scalar measure (or those of `scalars`) and the `general`
    ones as [trials, steps]; of `vectors`, which are asked for by name, [trials, steps, labels]."""
    known = parameters(experiment)
    values = {name: p.default for name, p in known.items()} | fixed | {"steps": steps}
    rows = [values | trial for trial in trials]
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [row[name] for row in rows] for name, p in known.items() if not p.static}
    own = {name: values[name] for name in experiment.params_type.model_fields} if vectors else {}
    own_scalars = [name for name, measure in experiment.measures.items() if measure.dim is None]
    names = [*(ENGINE_MEASURES | dict.fromkeys(own_scalars) if scalars is None else scalars)]
    names += general
    labels = {name: experiment.labels(name, experiment.params_type(**own)) for name in vectors}
    at = np.arange(0, steps + 1, every)
    rule = RecordRule(at, tuple(names), at if vectors else at[:0], labels, "float64")
    record = PackRecord.empty(len(rows), rule)
    n_lanes = min(len(rows), lanes)
    choice = EngineChoice(Engine.VMAP_FORWARD, n_lanes, False, "asked for by a test", spare)
    settled = run_pack(
        experiment,
        Trials(np.arange(len(rows)), static, varying),
        record,
        rule,
        StopRule(),
        choice,
        checkpoints=None,
        trial_walltime_s=None,
        signal=lambda: False,
        on_record=lambda *_: None,
        checkpoint_every_s=np.inf,
    )
    assert settled
    found = dict(zip(names, record.scalars_RMS.transpose(1, 0, 2), strict=True))
    return rule.steps, found | record.vectors


def assert_same_bits_alone(
    experiment: Experiment[Any],
    trials: list[dict[str, Any]],
    rows: Iterable[int],
    /,  # experiments have parameters of such names
    *args: Any,
    **settings: Any,
) -> None:
    """Train the trials in one pack, and those at `rows` alone: every measure has the same bits."""
    _, together = train(experiment, trials, *args, **settings)
    for row in rows:
        _, alone = train(experiment, [trials[row]], *args, **settings)
        for name, curve in alone.items():
            assert curve[0].tobytes() == together[name][row].tobytes(), name


def onsets(steps: npt.NDArray[np.int64], curve_RS: Curve, threshold: float, above: bool = True):
    """Return the first step past the threshold per trial, inf where there is none."""
    past_RS = curve_RS >= threshold if above else curve_RS <= threshold
    return np.where(past_RS.any(1), steps[past_RS.argmax(1)], np.inf)
