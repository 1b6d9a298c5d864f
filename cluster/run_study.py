"""Run what a study has not settled: resume is subtraction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phasecube.cluster.cut import steps_left
from phasecube.cluster.engine_choices import EngineChoices
from phasecube.cluster.executor import Executor, create_executor, number_of_processes
from phasecube.cluster.give_up import give_up
from phasecube.cluster.job import Event
from phasecube.cluster.job_array import JOBS
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.pack_queue import PackQueue
from phasecube.cluster.progress import PROGRESS, ProgressCount, Snapshot, publish
from phasecube.cluster.provenance import append_run
from phasecube.cluster.study import STORE, Study

SHOW_EVERY_S = 0.25
PUBLISH_EVERY_S = 2.0
LEFT_OVER_S = 3600.0  # no write takes an hour


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
    leave: Collection[int] = (),
) -> RunResult:
    """Run every pack that holds an unsettled trial; the caller holds the study's lock.

    Packs of `leave` are in other hands.

    `show` is given snapshots as the run goes on; `stop()` is asked often, and answers true
    to have every running pack checkpointed and the call return.
    """
    plan, status_RF = study.plan, study.store.read_status()
    missing = plan.missing(status_RF)
    clear_leftovers(study.path)
    count = _progress_count(study, missing)
    missing = np.setdiff1d(missing, list(leave))
    if not len(missing):
        return RunResult(count.snapshot(), len(plan.missing(status_RF)))

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
            event = give_up(study, event, run)
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
    left_P = steps_left(plan, status_RF)
    packs = {}
    for number in missing.tolist():
        rows = store.rows_of(number)
        counts = count_outcomes(status_RF[rows][planned_R[rows]])
        packs[number] = (counts, int(left_P[number]))
    return ProgressCount(count_outcomes(status_RF[planned_R]), packs)


def clear_leftovers(study: Path) -> None:
    """Delete what killed writers left half written; the caller holds the study's lock.

    Tasks on other machines write without it: where there may be some, only what is old goes.
    """
    store = study / STORE
    folders = [study, store, *(f for f in store.iterdir() if f.is_dir())]
    oldest_s = time.time() - (LEFT_OVER_S if (study / JOBS).exists() else 0.0)
    for folder in folders:
        for partial in folder.glob("*.partial"):
            with suppress(FileNotFoundError):
                if partial.is_file() and partial.stat().st_mtime <= oldest_s:
                    partial.unlink()
