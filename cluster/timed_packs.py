"""The packs of one task: which fit its time, how far they are, how fast they went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from phasecube.cluster.cut import seconds_of_packs, steps_left
from phasecube.cluster.engine_choices import group_id, group_keys, read_choice, with_lanes
from phasecube.cluster.give_up import give_up
from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.job_array import JobArray
from phasecube.cluster.pack_queue import PackQueue
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import TaskMarker


class TimedPacks:
    """Counts the events of a task's packs; its `queue` gives none that does not fit the time."""

    def __init__(
        self, study: Study, array: JobArray, task: int, seconds_left: Callable[[], float]
    ) -> None:
        plan, resources = study.plan, study.plan.sweep.resources
        self._study, self._run, self._seconds_left = study, array.run, seconds_left
        self._packs = [p for p in array.packs[task] if len(plan.trials_in(p))]  # others: orphaned
        status_RF = study.store.read_status(self._packs)
        missing = np.intersect1d(plan.missing(status_RF), self._packs).tolist()
        keys = group_keys(plan)
        group = {p: int(plan.group[plan.trials_in(p)[0]]) for p in missing}
        self._id = {p: group_id(keys[g]) for p, g in group.items()}
        left_P = steps_left(plan, status_RF)
        self._steps_left = {p: int(left_P[p]) for p in missing}
        self._least_s = None if _keeps_whole_trials(study) else resources.checkpoint_every_s
        published = {g: read_choice(study.path, keys[g]) for g in set(group.values())}
        known = {g: with_lanes(c, resources.lanes) for g, c in published.items() if c is not None}
        requested = {g: array.requested.get(group_id(keys[g]), "auto") for g in published}
        self.queue = _TimedQueue(
            self._fits, self._take, list(group.items()), array.run, known, requested
        )
        self.on_change: Callable[[], None] = lambda: None
        self._seen_s: dict[int, float] = {}  # packs in hand, and when they were last heard of
        self._pace: dict[str, tuple[int, float]] = {}
        self._settled = 0

    def note(self, event: Event) -> None:
        """Count one event."""
        if event.kind == "died":
            event = give_up(self._study, event, self._run)
        now_s = time.monotonic()
        if event.kind != "chosen":  # a probe is no training
            steps, seconds = self._pace.get(self._id[event.pack], (0, 0.0))
            seconds += now_s - self._seen_s[event.pack]
            self._pace[self._id[event.pack]] = (steps + event.trial_steps, seconds)
        self._seen_s[event.pack] = now_s
        if event.kind in ("settled", "stopped"):
            del self._seen_s[event.pack]
            self._settled += event.kind == "settled"
            self.on_change()

    def added_to(self, before: TaskMarker) -> TaskMarker:
        """Return the marker with what this attempt has done so far."""
        pace = dict(before.pace)
        for name, (steps, seconds) in self._pace.items():
            steps_before, seconds_before = pace.get(name, (0, 0.0))
            pace[name] = (steps_before + steps, seconds_before + seconds)
        return replace(
            before,
            in_hand={pack: self._steps_left[pack] for pack in self._seen_s},
            settled=before.settled + self._settled,
            trial_steps=sum(steps for steps, _ in pace.values()),
            seconds=sum(seconds for _, seconds in pace.values()),
            pace=pace,
        )

    def left(self) -> int:
        """Return how many of the packs are not settled, as the store has it now."""
        missing = self._study.plan.missing(self._study.store.read_status(self._packs))
        return len(np.intersect1d(missing, self._packs))

    def _take(self, job: PackJob) -> None:
        self._seen_s[job.pack] = time.monotonic()
        self.on_change()

    def _fits(self, pack: int) -> bool:
        """Return whether the pack, or a part of it that is kept, fits the time that is left."""
        seconds = seconds_of_packs([pack], self._steps_left, self._id, self._pace)
        if seconds is None:
            return self._seconds_left() > 0
        least_s = seconds[pack] / len(self._study.plan.trials_in(pack))
        if self._least_s is not None:
            least_s = min(seconds[pack], self._least_s)
        return self._seconds_left() > least_s


class _TimedQueue(PackQueue):
    def __init__(
        self, fits: Callable[[int], bool], on_take: Callable[[PackJob], None], *packs: Any
    ) -> None:
        super().__init__(*packs)
        self._fits = fits
        self._on_take = on_take

    def take(self) -> PackJob | None:
        if self._waiting and not self._fits(self._waiting[0][0]):
            self.close()
        job = super().take()
        if job is not None:
            self._on_take(job)
        return job


def _keeps_whole_trials(study: Study) -> bool:
    """Return whether a checkpoint lies between trials only, not between any two steps."""
    from phasecube.engine.function_trial import FunctionExperiment
    from phasecube.engine.load import load_experiment

    experiment = load_experiment(study.plan.sweep.experiment, study.path)
    return isinstance(experiment, FunctionExperiment)
