"""Run one pack in this process: read what stands, train, publish, say what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.cluster.branches import Branches
from phasecube.cluster.engine_choices import (
    LIKE,
    REQUEST,
    EngineChoices,
    group_keys,
    publish_choice,
    read_choice,
    with_lanes,
)
from phasecube.cluster.failures import note_failure
from phasecube.cluster.job import ChoiceFields, EngineRequest, Event, EventKind, PackJob
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.study import STORE, Study, checkpoint_path
from phasecube.engine.allocator import keep_large_blocks
from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError, StoreError
from phasecube.engine.load import load_experiment
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.engine.store import Store

if TYPE_CHECKING:
    from phasecube.cluster.pruning import Published
    from phasecube.engine.pruning import Judge

TELL_EVERY_S = 0.5


@dataclass
class _Told:
    """What the listener knows of a pack that runs, and when it was told and published."""

    at_s: float
    saved_at_s: float = field(init=False)
    trained: int = 0  # trial-steps
    told: int = 0

    def __post_init__(self) -> None:
        self.saved_at_s = self.at_s

    def news(self) -> int:
        """Return the trial-steps since the last call."""
        news, self.told = self.trained - self.told, self.trained
        return news


class PackRunner:
    """Holds what all packs of a study share: plan, experiment, store, device."""

    def __init__(self, study: Path, device: str, threads: int) -> None:
        import torch

        keep_large_blocks()
        torch.set_num_threads(threads)
        self.study = study
        self.device = device
        self.plan = Study(study, writes=False).plan
        self._keys = group_keys(self.plan)
        self.store = Store(study / STORE)
        self.experiment = load_experiment(self.plan.sweep.experiment, study)
        self.branches = Branches(study, self.plan, self.experiment, device, self._choice_of)
        self._published: Published | None = None

    def run(self, job: PackJob, stop: Callable[[], bool], tell: Callable[[Event], None]) -> None:
        """Run the pack until its trials are settled or `stop()`; tells each event."""
        from phasecube.engine.checkpoint import CheckpointFolder
        from phasecube.engine.run_pack import Progress, run_pack

        record = self._standing(job.pack)
        lanes = self.plan.trials_of(job.pack).lanes
        beginning = self.branches.begin(job.pack, record, stop)
        open_K = record.status_RF[:, Status.OUTCOME] == Outcome.NOT_RUN
        trials = self.plan.trials_of(job.pack, open_K)
        record.status_RF[trials.lanes, Status.RUN] = job.run
        resources = self.plan.sweep.resources
        told = _Told(time.monotonic())

        def event(kind: EventKind, trial_steps: int = 0, **more: Any) -> Event:
            outcomes = count_outcomes(record.status_RF[lanes])
            return Event(kind, job.pack, job.group, outcomes, trial_steps, **more)

        def on_record(record: PackRecord, progress: Progress) -> None:
            told.trained = progress.trial_steps
            now_s = time.monotonic()
            if now_s - told.saved_at_s >= resources.checkpoint_every_s:
                told.saved_at_s = now_s
                self.store.write_pack(job.pack, record)
            if now_s - told.at_s >= TELL_EVERY_S:
                told.at_s = now_s
                tell(event("progress", told.news()))

        def on_failure(lane: int, text: str) -> None:
            place = int(np.flatnonzero(trials.lanes == lane)[0])
            row = job.pack * self.plan.pack_size + lane
            note_failure(self.study, job.pack, row, trials.params(place), text)

        if beginning is None:
            tell(event("stopped"))
            return
        if beginning.ended:
            self.store.write_pack(job.pack, record)
        if len(trials):
            fields = job.choice
            if fields is None:
                fields = self._settle_choice(job)
                tell(event("chosen", choice=fields))
            checkpoints = CheckpointFolder(checkpoint_path(self.study, job.pack))
            settled = run_pack(
                self.experiment,
                trials,
                record,
                self.plan.rule,
                self.plan.stop,
                from_fields(fields),
                device=self.device,
                checkpoints=checkpoints,
                trial_walltime_s=resources.trial_walltime_s,
                signal=stop,
                on_record=on_record,
                on_failure=on_failure,
                checkpoint_every_s=resources.checkpoint_every_s,
                keep=beginning.keep,
                on_kept=beginning.on_kept,
                starts=beginning.starts,
                judge=self._judge(job.pack),
                on_rung=partial(self.store.write_pack, job.pack),  # for other packs to see
            )
            self.store.write_pack(job.pack, record)
            if not settled:
                tell(event("stopped", told.news()))
                return
            checkpoints.clear()
            with suppress(OSError):  # there may be none, or something a user put there
                checkpoints.path.rmdir()
        tell(event("settled", told.news()))

    def _judge(self, pack: int) -> Judge | None:
        pruner = self.plan.sweep.pruner
        if pruner is None:
            return None
        from phasecube.cluster.pruning import Published, pack_judge

        if self._published is None:
            self._published = Published(self.plan, self.store, pruner)
        return pack_judge(self.study, self._published, pack)

    def _standing(self, pack: int) -> PackRecord:
        try:
            return self.store.read_pack(pack)
        except StoreError:
            # Torn by a crash of the machine: its trials run again, from their checkpoint.
            return PackRecord.empty(self.plan.pack_size, self.plan.rule)

    def _settle_choice(self, job: PackJob) -> ChoiceFields:
        """Return the choice that stands for the job's group; make and publish it if none does."""
        key = self._keys[job.group]
        fields = read_choice(self.study, key)
        if fields is None:
            fields = publish_choice(self.study, key, self._choose(job))
        return with_lanes(fields, self.plan.sweep.resources.lanes)

    def _choice_of(self, group: int) -> EngineChoice:
        fields = read_choice(self.study, self._keys[group])
        if fields is None:  # derived, and gone: what its rows ran on is asked for again
            known = EngineChoices(self.study, self.plan, self.store.read_status())
            fields = self._settle_choice(
                PackJob(0, group, 0, requested_engine=known.requested[group])
            )
        return from_fields(with_lanes(fields, self.plan.sweep.resources.lanes))

    def _choose(self, job: PackJob) -> ChoiceFields:
        # By the group's first pack, whoever chooses: workers start at once with packs of
        # their own, some of them small, some of trials that raise.
        rows = self.plan.row[self.plan.group == job.group]
        trials = self.plan.trials_of(int(rows.min()) // self.plan.pack_size)
        from phasecube.engine.admission import choose_engine

        resources, like = self.plan.sweep.resources, job.like
        device, compiled = self.device, resources.compile
        if like is not None and job.requested_engine in ("auto", _request(like)):
            # Its own admission test, but the probe of a shape that costs much the same.
            with suppress(ExperimentError):  # not admitted: it is probed after all
                choice = choose_engine(
                    self.experiment, trials, device, _request(like), like["lanes"], compiled
                )
                return {**to_fields(choice), "reason": like["reason"], LIKE: like[LIKE]}
        choice = choose_engine(
            self.experiment, trials, device, job.requested_engine, resources.lanes, compiled
        )
        return to_fields(choice)


def _request(choice: ChoiceFields) -> EngineRequest:
    return REQUEST[Engine[choice["engine"]]]


def to_fields(choice: EngineChoice) -> ChoiceFields:
    """Return the choice as JSON holds it, the engine by name."""
    return {**asdict(choice), "engine": choice.engine.name}


def from_fields(fields: ChoiceFields) -> EngineChoice:
    """Return the choice that `to_fields` wrote."""
    known = {name: value for name, value in fields.items() if name != LIKE}
    return EngineChoice(**{**known, "engine": Engine[fields["engine"]]})
