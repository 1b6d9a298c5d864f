"""A study's records as a replay takes them, and the pruner that is asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from phasecube.cluster.engine_choices import group_keys, read_choice, with_lanes
from phasecube.cluster.pruning import Published
from phasecube.cluster.study import Study
from phasecube.engine.errors import Fault, SpecError, StudyError
from phasecube.engine.record import Outcome, Status
from phasecube.sweeps.adaptive_sections import PrunerSection
from phasecube.sweeps.plan import Plan
from phasecube.sweeps.pruner_rungs import pruner_faults, rung_faults
from phasecube.sweeps.replay import Queue, Recorded


def asked_pruner(
    study: Study,
    kind: str,
    *,
    measure: str | None = None,
    goal: str | None = None,
    rungs: str | None = None,
    min_replicates: int | None = None,
    options: Sequence[str] = (),
) -> PrunerSection:
    """Return the pruner to replay; what is not said is as in the sweep's own [pruner].

    Without one, the measure and goal are those of its objective, and every recorded step is a
    rung. Raises SpecError where it could not work, StudyError where no measure is known.
    """
    plan = study.plan
    own = plan.sweep.pruner
    objectives = [] if plan.sweep.sampler is None else plan.sweep.sampler.objectives
    known = own or (objectives[0] if objectives else None)
    if measure is None and known is None:
        raise StudyError(
            f"{study.path} has neither [pruner] nor objective: say what trials are judged by, "
            f"--measure, one of {', '.join(plan.rule.scalars)}"
        )
    table: dict[str, Any] = {
        "kind": kind,
        "measure": measure or known.measure if known else measure,
        "goal": goal or (known.goal if known else "minimize"),
        "min_replicates": min_replicates or (own.min_replicates if own else None),
        "options": _options(options, own, kind),
    }
    table["rungs"] = _rungs(rungs) or (own.rungs if own else _recorded(plan, table["measure"]))
    try:
        pruner = PrunerSection.model_validate(table)
    except ValidationError as error:
        found = [Fault(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise SpecError(found, "the pruner to replay") from error
    faults = _faults(plan, pruner)
    if faults:
        raise SpecError(faults, "the pruner to replay")
    return pruner


def _options(texts: Sequence[str], own: PrunerSection | None, kind: str) -> dict[str, Any]:
    if not texts:
        return dict(own.options) if own is not None and own.kind == kind else {}
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise StudyError(
                f"--options {text}: takes NAME=VALUE, the value as in TOML; {error}"
            ) from error
    return found


def _rungs(text: str | None) -> Any:
    if text is None:
        return None
    try:
        if text.startswith("every="):
            return {"every": int(text.removeprefix("every="))}
        return [int(step) for step in text.split(",")]
    except ValueError as error:
        raise StudyError(f"--rungs {text}: takes steps like 100,300,900, or every=100") from error


def _recorded(plan: Plan, measure: str) -> list[int]:
    steps: list[int] = plan.rule.cadences.get(measure, plan.rule.steps).tolist()
    return [step for step in steps if 0 < step < steps[-1]] or [steps[-1]]


def _faults(plan: Plan, pruner: PrunerSection) -> list[Fault]:
    scalars = {name: plan.measures[name] for name in plan.rule.scalars}
    faults = list(pruner_faults(pruner, None, scalars))
    if faults:
        return faults
    last = int(plan.rule.steps[-1])
    steps = set(_recorded(plan, pruner.measure))
    if isinstance(pruner.rungs, list):
        missing = [step for step in pruner.rungs if 0 < step < last and step not in steps]
    else:
        every = pruner.rungs.every or last
        missing = [step for step in range(every, last, every) if step not in steps]
    if missing:
        shown = ", ".join(map(str, sorted(steps)[:12])) + (", ..." if len(steps) > 12 else "")
        faults.append(
            Fault(
                "pruner.rungs",
                f"{pruner.measure} was not recorded at step {missing[0]:,}, so nobody knows what "
                f"it was; recorded are {shown}",
            )
        )
    n_seeds = plan.columns["seed"].codes if "seed" in plan.columns else np.zeros(1)
    return [*faults, *rung_faults(pruner, [last], len(np.unique(n_seeds)))]


def recorded_trials(study: Study, pruner: PrunerSection, lanes: int | None = None) -> Recorded:
    """Return the settled trials of a study, in the order in which one process begins them.

    `lanes` train at once; None: as many as the study trains. Raises StudyError if none settled.
    """
    plan = study.plan
    seen = Published(plan, study.store, pruner)
    seen.refresh()
    outcome_R, stopped_R = seen.status_RF[:, Status.OUTCOME], seen.status_RF[:, Status.STOPPED_AT]
    end_R = stopped_R.astype(np.int64)
    pruned_R = outcome_R == Outcome.PRUNED
    steps_N = _steps_of(plan)
    end_R[plan.row[pruned_R[plan.row]]] = steps_N[pruned_R[plan.row]]
    ran = np.isin(outcome_R, (Outcome.DONE, Outcome.DIVERGED, Outcome.PRUNED, Outcome.TIMED_OUT))
    queues = []
    for pack in plan.packs().tolist():
        rows = np.unique(plan.row[plan.trials_in(pack)])
        rows = rows[ran[rows]].tolist()
        if rows:
            queues.append(_queue(study.path, plan, seen, pack, rows, lanes))
    if not queues:
        raise StudyError(f"{study.path} has no trial that ran to its end yet")
    return Recorded(
        members=seen.members,
        steps_G=seen.steps_G,
        values_RG=seen.values_RG,
        last_R=seen.last_R,
        outcome_R=outcome_R,
        stopped_R=stopped_R.astype(np.int64),
        end_R=end_R,
        queues=queues,
        least=seen.least,
        last_step=seen.last_step,
    )


def _steps_of(plan: Plan) -> npt.NDArray[np.int64]:
    """Return how many steps each trial takes."""
    column = plan.columns.get("steps")
    if column is None:
        return np.full(len(plan), int(plan.constants["steps"]), np.int64)
    return np.asarray(column.values, np.int64)[column.codes]


def _queue(
    study: Path, plan: Plan, seen: Published, pack: int, rows: Sequence[int], lanes: int | None
) -> Queue:
    """Return the trials of a pack as the engine takes them in."""
    from phasecube.engine.refill import FREE_SHARE, entry_period

    trial = plan.trials_in(pack)[0]
    n_steps = int(_steps_of(plan)[trial])
    if lanes is None:
        fields = read_choice(study, group_keys(plan)[int(plan.group[trial])])
        asked = plan.sweep.resources.lanes
        lanes = plan.pack_size if fields is None else int(with_lanes(fields, asked)["lanes"])
    looks = np.unique([*plan.rule.steps, *plan.rule.vector_steps, *seen.steps_G, n_steps])
    period = entry_period(looks[looks <= n_steps].astype(np.int64), n_steps)
    return Queue(rows, n_steps, lanes, -(-lanes // FREE_SHARE), period)
