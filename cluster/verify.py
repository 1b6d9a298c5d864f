"""Proof on the user's machine: a trial's numbers are the same alone and in any company."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.cluster.branches import Branches, trials_at
from phasecube.cluster.engine_choices import REQUEST, group_keys, read_choice
from phasecube.cluster.job import ChoiceFields
from phasecube.cluster.provenance import read_runs, versions
from phasecube.cluster.study import Study
from phasecube.engine.load import load_experiment
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.sweeps.plan import Plan

# Ends that follow from the numbers, or that can be brought about where they were; the others
# depend on the machine or on luck.
REPEATABLE = (Outcome.DONE, Outcome.DIVERGED, Outcome.PRUNED)
COMPARED = (Status.OUTCOME, Status.N_RECORDED, Status.STOPPED_AT)
OTHERS = 7


@dataclass(frozen=True)
class Verdict:
    """One trial run again: in which company, and in what it differs from the store."""

    digest: str
    engine: str
    company: str
    differences: tuple[str, ...]


class _AsPruned:
    """A judge that prunes what was pruned, where it was."""

    def __init__(self, status_KF: npt.NDArray[np.int32]) -> None:
        was = status_KF[:, Status.OUTCOME] == Outcome.PRUNED
        self._stop_K = np.where(was, status_KF[:, Status.STOPPED_AT], -1)

    @property
    def rungs(self) -> frozenset[int]:
        return frozenset(self._stop_K[self._stop_K >= 0].tolist())

    def judge(
        self,
        step: int,
        rows: npt.NDArray[np.int64],
        record: PackRecord,  # noqa: ARG002 it knows already
    ) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = self._stop_K[rows] == step
        return found


def verify_trials(study: Study, n_trials: int, seed: int | None = None) -> Iterator[Verdict]:
    """Yield a verdict for each of `n_trials` settled trials in each of three companies.

    Alone, third of three, and among others drawn at random, with the engine of its row.
    """
    from phasecube.cluster.pack_runner import PackRunner

    plan, store = study.plan, study.store
    experiment = load_experiment(plan.sweep.experiment, study.path)
    status_RF = store.read_status()
    settled = np.flatnonzero(
        np.isin(status_RF[plan.row, Status.OUTCOME], [int(o) for o in REPEATABLE])
    )
    keys = group_keys(plan)
    resources = plan.sweep.resources
    branches = PackRunner(study.path, resources.device, resources.threads).branches
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(settled)[:n_trials]
    for trial in np.sort(chosen).tolist():
        row = int(plan.row[trial])
        stored = store.read_pack(row // plan.pack_size)
        lane = row % plan.pack_size
        engine = Engine(int(status_RF[row, Status.ENGINE]))
        group = np.flatnonzero(plan.group == plan.group[trial])
        others = rng.permutation(group[plan.row[group] != row])
        for company, members in _companies(trial, others.tolist()):
            published = read_choice(study.path, keys[int(plan.group[trial])])
            pruned = _AsPruned(status_RF[plan.row[members]])
            found = _run(plan, experiment, members, engine, published, branches, pruned)
            place = members.index(trial)
            differences = _differences(plan, stored, lane, found, place)
            if differences:
                differences += _provenance(study, int(status_RF[row, Status.RUN]))
            yield Verdict(bytes(plan.digests[trial]).hex(), engine.name, company, differences)


def _companies(trial: int, others: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    yield "alone", [trial]
    if len(others) >= 2:
        yield "third of three", [*others[:2], trial]
    if len(others) > 2:
        company = [*others[2 : 2 + OTHERS // 2], trial, *others[2 + OTHERS // 2 : 2 + OTHERS]]
        yield f"among {len(company) - 1} others", company


def _run(
    plan: Plan,
    experiment: Any,
    members: Sequence[int],
    engine: Engine,
    published: ChoiceFields | None,
    branches: Branches,
    pruned: _AsPruned,
) -> PackRecord:
    from phasecube.cluster.pack_runner import from_fields
    from phasecube.engine.admission import choose_engine
    from phasecube.engine.run_pack import run_pack

    record = PackRecord.empty(len(members), plan.rule)
    begins, ended = branches.starts(members)
    for trial, end in ended.items():
        end.settle(record, members.index(trial))
    able = [lane for lane, trial in enumerate(members) if trial not in ended]
    if not able:
        return record
    trials = trials_at(plan, members).take(able)
    device = plan.sweep.resources.device
    if published is not None and Engine[published["engine"]] is engine:
        choice = from_fields(published)  # with the spare lanes that keep bits apart
        if not choice.compiled:
            choice = replace(choice, lanes=len(members))
    else:
        choice = choose_engine(
            experiment, trials, device, REQUEST.get(engine, "auto"), len(members)
        )
    run_pack(
        *(experiment, trials, record, plan.rule, plan.stop, choice),
        device=device,
        starts={members.index(trial): state for trial, state in begins.items()},
        judge=pruned,
    )
    return record


def _differences(
    plan: Plan, stored: PackRecord, lane: int, found: PackRecord, place: int
) -> tuple[str, ...]:
    said = []
    for field in COMPARED:
        before, now = int(stored.status_RF[lane, field]), int(found.status_RF[place, field])
        if before != now:
            said.append(f"{field.name.lower()}: stored {before}, now {now}")
    for index, name in enumerate(plan.rule.scalars):
        before_S, now_S = stored.scalars_RMS[lane, index], found.scalars_RMS[place, index]
        said += _first_difference(name, plan.rule.steps, before_S, now_S)
    for name in plan.rule.vectors:
        before_VL, now_VL = stored.vectors[name][lane], found.vectors[name][place]
        said += _first_difference(name, plan.rule.vector_steps, before_VL, now_VL)
    return tuple(said)


def _first_difference(
    name: str, steps: npt.NDArray[Any], before: npt.NDArray[Any], now: npt.NDArray[Any]
) -> list[str]:
    same = (before == now) | (np.isnan(before) & np.isnan(now))
    if same.all():
        return []
    where = np.argwhere(~same)[0]
    one, two = before[tuple(where)], now[tuple(where)]
    ulps = np.abs(np.float64(one) - np.float64(two)) / np.spacing(np.abs(one))
    return [
        f"{name}: first at step {steps[where[0]]}: stored {one!s}, now {two!s} "
        f"({ulps:.3g} ulp); {np.count_nonzero(~same)} of {same.size} values"
    ]


def _provenance(study: Study, run: int) -> tuple[str, ...]:
    """Return what has changed since the row was made, if that is known."""
    runs = read_runs(study.path)
    before = runs[run - 1].get("versions", {}) if 0 < run <= len(runs) else {}
    now = versions()
    changed = [f"{n} {before[n]} -> {now.get(n)}" for n in before if before[n] != now.get(n)]
    return (f"versions since then: {', '.join(changed)}",) if changed else ()
