"""Packs on Slurm, followed to their end: submit, look, submit again what came to nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phasecube.cluster.cut import steps_left
from phasecube.cluster.executor import OnEvent, Stop
from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.job_state import JobState
from phasecube.cluster.outcomes import count_outcomes
from phasecube.cluster.pack_queue import PackQueue
from phasecube.cluster.slurm.cancel import cancel_tasks, failed_launches
from phasecube.cluster.slurm.command import SlurmError, SlurmSilentError, slurm
from phasecube.cluster.slurm.deadly import deadly_packs
from phasecube.cluster.slurm.propose import Asked, propose
from phasecube.cluster.slurm.queue import Queue, standing_queue
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.slurm.submit import send
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import read_marker
from phasecube.engine.record import Outcome, Status

POLL_S = 10.0  # sites ask users not to run squeue more often
RELEASES = 5  # of a task whose start fails: on a node that is broken it would fail for ever
LEAVING_S = 120.0  # KillWait is 30 s by default


class Slurm:
    """Runs packs as Slurm job arrays and waits for them.

    On stop its tasks are cancelled, which has them write a checkpoint; with
    `leave_on_stop` they go on without this process. `live` says how far the jobs are.
    """

    name = "slurm"

    def __init__(
        self,
        settings: SlurmSettings,
        flags: Mapping[str, Any] | None = None,
        *,
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
        poll_s: float = POLL_S,
        leave_on_stop: bool = False,
    ) -> None:
        self.settings = settings
        self.flags = flags or {}
        self.say = say
        self.poll_s = poll_s
        self.leave_on_stop = leave_on_stop

    def run(self, study: Path, queue: PackQueue, on_event: OnEvent, stop: Stop) -> None:
        """Run the packs of `queue`; returns when all are settled, given up or stopped."""
        _Following(self, Study(study), queue, on_event).until(stop)


class _Following:
    def __init__(self, slurm: Slurm, study: Study, queue: PackQueue, on_event: OnEvent) -> None:
        self.slurm = slurm
        self.study = study
        self.queue = queue
        self.on_event = on_event
        self.open: dict[int, PackJob] = {job.pack: job for job in queue.take_all()}
        self.steps_left: Mapping[int, int] = {}
        self.said: set[str] = set()
        self.released: Counter[str] = Counter()
        self.past: set[tuple[int, int]] | None = None  # tasks that had ended before this began

    def until(self, stop: Stop) -> None:
        """Follow the packs until each is settled, given up or stopped."""
        while True:
            self.look_at_store()
            if not self.open:
                return None
            if stop():
                return self.leave()
            try:
                self.look_at_tasks(standing_queue(self.study))
            except SlurmSilentError as error:
                self.say_once(f"{error.args[0].partition('. ')[0]}; asking again")
            self.wait(stop)

    def wait(self, stop: Stop) -> None:
        """Sleep until the next poll, or a stop."""
        until_s = time.monotonic() + self.slurm.poll_s
        while not stop() and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.1))

    def look_at_store(self) -> None:
        """Tell what the tasks have published since the last look."""
        plan, packs = self.study.plan, sorted(self.open)
        status_RF = self.study.store.read_status(packs)
        left_P = steps_left(plan, status_RF)
        before, self.steps_left = self.steps_left, {p: int(left_P[p]) for p in packs}
        for pack in packs:
            rows = self.study.store.rows_of(pack).start + plan.trials_of(pack).lanes
            trained = max(0, before.get(pack, self.steps_left[pack]) - self.steps_left[pack])
            settled = not (status_RF[rows, Status.OUTCOME] == Outcome.NOT_RUN).any()
            if settled or trained:
                outcomes = count_outcomes(status_RF[rows])
                self.tell("settled" if settled else "progress", pack, outcomes, trained)

    def look_at_tasks(self, tasks: Queue) -> None:
        """Give up what is deadly, leave what was cancelled, submit what no task has."""
        for pack, event in deadly_packs(self.study, tasks).items():
            if pack in self.open:
                self.on_event(event)
                self.finish(pack)
        self.release(tasks)
        if self.past is None:
            self.past = {(array.number, task) for array in tasks.arrays for task in array.ended}
        live = tasks.live_packs()
        lost = [pack for pack in self.open if pack not in live]
        if not lost:
            return
        ends = _last_ends(self.study.path, tasks, set(lost), self.past)
        again = []
        for pack in lost:
            end = ends.get(pack)
            if end is None or end[0]:
                again.append(pack)
            else:
                self.say_once(end[1])
                self.tell("stopped", pack, message=end[1])
        if again:
            run = next(iter(self.open.values())).run
            plan, status_RF = self.study.plan, self.study.store.read_status()
            own = self.slurm
            asked = Asked(self.study.path, plan, status_RF, own.settings, own.flags, run)
            proposed = propose(asked, again, tasks)
            send(self.study.path, proposed, own.say)
            if proposed.waiting:
                n = len(proposed.waiting)
                self.say_once(f"{n:,} packs wait for room: {proposed.limits.room_reason}")

    def release(self, tasks: Queue) -> None:
        """Let go of what Slurm holds since its start failed: it met its old self, after a crash."""
        for name in failed_launches(tasks):
            if self.released[name] == RELEASES:
                self.say_once(f"task {name} is held: its start failed {RELEASES} times more")
                continue
            self.released[name] += 1
            try:
                slurm("scontrol", "release", name)
            except SlurmSilentError:
                raise
            except SlurmError as error:  # it may be cancelled by now
                self.say_once(f"task {name} is held and was not released: {error}")
            else:
                self.say_once(f"task {name} was held because its start failed; released")

    def leave(self) -> None:
        """Cancel what runs, unless it is to go on alone, and tell each pack as stopped."""
        if not self.slurm.leave_on_stop:
            tasks = standing_queue(self.study)
            cancel_tasks(self.study.path, tasks, _live_tasks(tasks))
            until_s = time.monotonic() + LEAVING_S
            while tasks.live_packs() and time.monotonic() < until_s:
                time.sleep(min(1.0, self.slurm.poll_s))
                tasks = standing_queue(self.study)
            self.look_at_store()
        for pack in sorted(self.open):
            self.tell("stopped", pack)

    def tell(
        self,
        kind: str,
        pack: int,
        outcomes: Mapping[str, int] | None = None,
        trial_steps: int = 0,
        message: str = "",
    ) -> None:
        """Tell an event of a pack, and let go of the pack where it is the last one."""
        group = self.open[pack].group
        self.on_event(Event(kind, pack, group, dict(outcomes or {}), trial_steps, None, message))  # type: ignore[arg-type]
        if kind != "progress":
            self.finish(pack)

    def finish(self, pack: int) -> None:
        """Let go of a pack."""
        self.queue.done(pack)
        del self.open[pack]

    def say_once(self, line: str) -> None:
        """Say a line that has not been said."""
        if line not in self.said:
            self.said.add(line)
            self.slurm.say(line)


def _live_tasks(tasks: Queue) -> dict[int, list[int]]:
    return {
        array.number: [t for t in array.open_tasks if tasks.state(array, t).state.may_live]
        for array in tasks.arrays
    }


def _last_ends(
    study: Path, tasks: Queue, packs: set[int], past: set[tuple[int, int]]
) -> dict[int, tuple[bool, str]]:
    """Return of each pack whether to submit it again, by the end of the last task that had it.

    Cancelled is what somebody wanted, and an error that the task itself tells of would only
    come again: those wait for `phasecube resume`.
    """
    found: dict[int, tuple[bool, str]] = {}
    for array in tasks.arrays:
        for task, (state, said) in array.ended.items():
            if (array.number, task) in past or packs.isdisjoint(array.packs[task]):
                continue
            marker = read_marker(study, array.number, task)
            told = marker is not None and marker.state == "failed"
            again = JobState(state) is not JobState.CANCELLED and not told
            for pack in packs.intersection(array.packs[task]):
                found[pack] = (again, f"task {array.slurm_id}_{task} {state.lower()}: {said}")
    return found
