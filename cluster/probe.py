"""Time a few steps of a plan's shapes, for a forecast in seconds."""

from __future__ import annotations

import time

import numpy as np

from phasecube.engine.load import load_experiment
from phasecube.engine.record import PackRecord
from phasecube.sweeps.plan import Plan

MAX_GROUPS = 8  # shapes that are timed; the others are taken to cost what the nearest does
BUDGET_S = 0.5


def seconds_per_trial_step(plan: Plan) -> dict[int, float]:
    """Return seconds per trial-step of each static group, on the engine it would run on."""
    import torch

    torch.set_num_threads(plan.sweep.resources.threads)
    experiment = load_experiment(plan.sweep.experiment, plan.sweep.folder)
    groups = np.unique(plan.group)
    places = np.linspace(0, len(groups) - 1, min(MAX_GROUPS, len(groups))).round().astype(int)
    timed = {int(g): _time(plan, experiment, int(g)) for g in groups[places]}
    known = np.array(list(timed))
    return {int(g): timed[int(known[np.abs(known - g).argmin()])] for g in groups}


def _time(plan: Plan, experiment: object, group: int) -> float:
    from phasecube.engine.admission import choose_engine
    from phasecube.engine.run_pack import Progress, run_pack

    first = int(np.flatnonzero(plan.group == group)[0])
    trials = plan.trials_of(int(plan.row[first]) // plan.pack_size)
    resources = plan.sweep.resources
    choice = choose_engine(
        experiment,  # type: ignore[arg-type]
        trials,
        resources.device,
        requested=resources.engine,
        lanes=resources.lanes,
        compile=resources.compile,
    )
    began_s: float | None = None
    trained = 0

    def on_record(record: PackRecord, progress: Progress) -> None:  # noqa: ARG001
        nonlocal began_s, trained
        trained = progress.trial_steps
        if began_s is None:
            began_s = time.perf_counter()  # after the pack is built and its first step taken

    def enough() -> bool:
        return began_s is not None and time.perf_counter() - began_s > BUDGET_S

    record = PackRecord.empty(plan.pack_size, plan.rule)
    run_pack(
        experiment,  # type: ignore[arg-type]
        trials,
        record,
        plan.rule,
        plan.stop,
        choice,
        device=resources.device,
        signal=enough,
        on_record=on_record,
    )
    assert began_s is not None
    return (time.perf_counter() - began_s) / max(1, trained)
