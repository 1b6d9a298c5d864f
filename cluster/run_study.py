"""Run what a study has not settled: resume is subtraction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phasecube.cluster.engine_choices import EngineChoices
from phasecube.cluster.executor import Executor, create_executor, number_of_processes
from phasecube.cluster.failures import note_failure
from phasecube.cluster.job import Event
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.pack_queue import PackQueue
from phasecube.cluster.progress import PROGRESS, ProgressCount, Snapshot, publish
from phasecube.cluster.provenance import append_run
from phasecube.cluster.study import STORE, Study
from phasecube.engine.errors import StoreError
from phasecube.engine.record import Outcome, PackRecord, Status
from phasecube.sweeps.forecast import steps_of

SHOW_EVERY_S = 0.25
PUBLISH_EVERY_S = 2.0


@dataclass(frozen=True)
class RunResult:
    """How a run ended: with every trial settled, or stopped with `packs_left` to resume."""

    snapshot: Snapshot
    packs_left: int

    @property
    def finished(self) -> bool:
        """Return whether nothing is left to run."""
        return self.packs_left == 0


def run_study(
    study: Study,
    *,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[Snapshot], None] = lambda snapshot: None,  # noqa: ARG005
    executor: Executor | None = None,
    processes: int | None = None,
) -> RunResult:
    """Run every pack that holds an unsettled trial; the caller holds the study's lock.

    `show` is given snapshots as the run goes on; `stop()` is asked often, and answers true
    to have every running pack checkpointed and the call return.
    """
    plan, status_RF = study.plan, study.store.read_status()
    missing = plan.missing(status_RF)
    clear_leftovers(study.path)
    count = _progress_count(study, missing)
    if not len(missing):
        return RunResult(count.snapshot(), 0)

    resources = plan.sweep.resources
    wanted = processes if processes is not None else resources.processes
    n_processes = number_of_processes(wanted, resources.threads, resources.device, len(missing))
    executor = executor or create_executor(n_processes, resources.threads, resources.device)
    run = append_run(study.path, plan.sweep.folder, resources.device)
    choices = EngineChoices(study.path, plan, status_RF)
    choices.withdraw_stale()
    group_of = {int(p): int(plan.group[plan.trials_in(int(p))[0]]) for p in missing}
    queue = PackQueue(list(group_of.items()), run, choices.known, choices.requested, choices.like)
    shown_s = published_s = float("-inf")

    def on_event(event: Event) -> None:
        nonlocal shown_s, published_s
        if event.kind == "chosen" and event.choice is not None:
            choices.note(event.group, event.choice)
        if event.kind == "died":
            event = _give_up(study, event, run)
        count.note(event)
        now_s = time.monotonic()
        if now_s - shown_s >= SHOW_EVERY_S:
            shown_s = now_s
            show(count.snapshot())
        if now_s - published_s >= PUBLISH_EVERY_S:
            published_s = now_s
            publish(study.path, count.snapshot())

    show(count.snapshot())
    try:
        executor.run(study.path, queue, on_event, stop)
    finally:
        (study.path / PROGRESS).unlink(missing_ok=True)
    show(count.snapshot())
    left = plan.missing(study.store.read_status())
    return RunResult(count.snapshot(), len(left))


def _progress_count(study: Study, missing: npt.NDArray[np.int64]) -> ProgressCount:
    """Return the count as the run begins."""
    plan, store = study.plan, study.store
    status_RF, planned_R = store.read_status(), study.planned_rows()
    steps_R = np.zeros(store.n_rows, np.int64)
    steps_R[plan.row] = steps_of(plan)
    grid = np.concatenate([[0], plan.rule.steps])  # the step that n_recorded has reached
    reached_R = grid[status_RF[:, Status.N_RECORDED]]
    open_R = planned_R & (status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN)
    left_R = np.where(open_R, np.maximum(steps_R - reached_R, 0), 0)
    packs = {}
    for number in missing.tolist():
        rows = store.rows_of(number)
        counts = count_outcomes(status_RF[rows][planned_R[rows]])
        packs[number] = (counts, int(left_R[rows].sum()))
    return ProgressCount(count_outcomes(status_RF[planned_R]), packs)


def _give_up(study: Study, event: Event, run: int) -> Event:
    """Settle the open trials of a pack whose worker died too often; return what to count."""
    plan, store = study.plan, study.store
    try:
        record = store.read_pack(event.pack)
    except StoreError:
        record = PackRecord.empty(plan.pack_size, plan.rule)
    open_K = record.status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN
    trials = plan.trials_of(event.pack, open_K)
    outcome = Outcome.OUT_OF_MEMORY if "OUT_OF_MEMORY" in event.outcomes else Outcome.FAILED
    grid = np.concatenate([[0], plan.rule.steps])
    status_RF = record.status_RF
    for place, lane in enumerate(trials.lanes.tolist()):
        status_RF[lane, Status.OUTCOME] = outcome
        status_RF[lane, Status.STOPPED_AT] = grid[status_RF[lane, Status.N_RECORDED]]
        status_RF[lane, Status.RUN] = run
        row = event.pack * plan.pack_size + lane
        note_failure(study.path, event.pack, row, trials.params(place), event.message)
    store.write_pack(event.pack, record)
    lanes = plan.trials_of(event.pack).lanes
    return Event("settled", event.pack, event.group, count_outcomes(status_RF[lanes]))


def clear_leftovers(study: Path) -> None:
    """Delete what killed writers left half written; the caller holds the study's lock."""
    store = study / STORE
    folders = [study, store, *(f for f in store.iterdir() if f.is_dir())]
    for folder in folders:
        for partial in folder.glob("*.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)
