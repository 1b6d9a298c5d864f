"""One task of a job array on a node: its packs one after another, as long as its time lasts.

    python -m phasecube.cluster.task STUDY ARRAY

Which task it is stands in SLURM_ARRAY_TASK_ID, what it is to run in the study. SIGTERM
means: checkpoint and leave. SIGUSR1, SIGUSR2 or a clock that says that the walltime is
short mean: checkpoint, and go back to the queue.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from phasecube.cluster.stop_signal import StopSignal
from phasecube.cluster.task_marker import MarkerState, TaskMarker, now, read_marker, write_marker
from phasecube.engine.errors import PhasecubeError, StoreError, StudyError

NOTICES = (signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """Run the task; return the exit code."""
    # Before anything heavy is imported: a notice that finds no handler kills the process. Never
    # taken back: Slurm ends a task that has gone back to the queue with one more signal.
    stop = StopSignal((signal.SIGTERM, signal.SIGINT, *NOTICES), patient=True)
    stop.__enter__()
    parser = argparse.ArgumentParser(prog="phasecube.cluster.task")
    parser.add_argument("study", type=Path)
    parser.add_argument("array", type=int)
    arguments = parser.parse_args()
    try:
        task = Task(arguments.study, arguments.array, stop)
    except (PhasecubeError, OSError) as error:
        print(f"phasecube: {error}", file=sys.stderr)
        return 1
    return task.run()


class Task:
    """What one attempt of a task knows of itself."""

    def __init__(self, path: Path, number: int, stop: StopSignal) -> None:
        from phasecube.cluster.job_array import read_array

        if not path.is_dir():
            raise StudyError(
                f"{path} is gone: the study was moved or deleted after this job was submitted; "
                "from its new place, `phasecube resume` submits what is left"
            )
        self.path = path
        self.array = read_array(path, number)
        self.settings = self.array.settings
        self.index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
        job = os.environ.get("SLURM_ARRAY_JOB_ID", os.environ.get("SLURM_JOB_ID", "0"))
        self.stop = stop
        began_s = float(os.environ.get("PHASECUBE_STARTED", time.time()))
        self.last_s = began_s + self.settings["walltime_s"] - self.settings["notice_s"]
        before = read_marker(path, number, self.index)
        began = now()
        fresh = TaskMarker("running", f"{job}_{self.index}", socket.gethostname(), began, began)
        self.marker = fresh
        if before is not None:
            self.marker = replace(
                before, state="running", slurm_id=fresh.slurm_id, host=fresh.host, started=began,
                attempts=before.attempts + 1, in_hand={}, message="",
            )  # fmt: skip
        self.mark()

    def run(self) -> int:
        """Return the exit code: 0, unless it failed or was told to end."""
        before = self.marker
        try:
            self.check_environment()
            packs_left = self.run_packs()
        except (PhasecubeError, OSError) as error:
            return self.fail(str(error))
        except Exception as error:  # noqa: BLE001 told in the log and in the marker, not lost
            traceback.print_exc()
            return self.fail(f"{type(error).__name__}: {error}")
        if not packs_left:
            return self.end("finished")
        if self.stop() and self.stop.number not in NOTICES:
            if self.is_preempted():
                return self.requeue(packs_left, "it is preempted")
            self.end("stopped", f"{signal.Signals(self.stop.number).name}: checkpoint written")
            return 128 + self.stop.number
        idle = self.marker.trial_steps == before.trial_steps
        # A notice that comes early, as at a preemption or by Slurm's clock of half a minute, says
        # nothing of the walltime.
        usable_s = self.settings["walltime_s"] - self.settings["notice_s"]
        late = self.seconds_left() < usable_s / 2
        if idle and late and self.marker.settled == before.settled:
            return self.fail(
                f"no step was trained within {self.settings['walltime_s']} s of walltime; "
                "ask for more with --time, or for a shorter notice_s"
            )
        return self.requeue(packs_left, "its walltime was short" if late else "it was given notice")

    def check_environment(self) -> None:
        """Raise StudyError, or say so, where this node's code is not that of the submission."""
        from phasecube.cluster.provenance import drift, environment

        if changed := drift(self.array.environment, environment(self.path)):
            what = f"this node's code is not that of the submission: {'; '.join(changed)}"
            if self.settings["drift"] == "refuse":
                raise StudyError(
                    f"{what}. Submit again to run with what is installed now, or allow it with "
                    '[cluster.slurm] drift = "warn"'
                )
            print(f"phasecube: warning: {what}", file=sys.stderr)

    def run_packs(self) -> int:
        """Run the packs until they are settled or the time is short; return how many are left."""
        from phasecube.cluster.executor import create_executor, number_of_processes
        from phasecube.cluster.study import Study
        from phasecube.cluster.timed_packs import TimedPacks

        study = Study(self.path, writes=False)
        resources = study.plan.sweep.resources
        packs = TimedPacks(study, self.array, self.index, self.seconds_left)
        if not len(packs.queue):
            return 0
        wanted = number_of_processes(
            self.settings["processes"], resources.threads, resources.device, len(packs.queue)
        )
        executor = create_executor(wanted, resources.threads, resources.device)

        def on_change() -> None:
            self.marker = replace(packs.added_to(before), at=now())
            self.mark()

        before = self.marker
        packs.on_change = on_change
        executor.run(self.path, packs.queue, packs.note, self.must_stop)
        on_change()
        return packs.left()

    def seconds_left(self) -> float:
        """Return the seconds until this task must begin to leave."""
        return float(self.last_s - time.time())

    def must_stop(self) -> bool:
        """Return whether to checkpoint and leave: told to, or the time is short."""
        return self.stop() or self.seconds_left() <= 0

    def is_preempted(self) -> bool:
        """Return whether SIGTERM is the notice of a preemption, not the end of the job.

        Within a grace period the job still runs: one that just left would count as failed.
        """
        from phasecube.cluster.slurm.command import SlurmError, slurm

        try:
            said = slurm("scontrol", "show", "job", "-o", self.marker.slurm_id, timeout_s=10)
        except SlurmError:
            return False
        fields = dict(word.partition("=")[::2] for word in said.split())
        return fields.get("JobState") == "RUNNING" and fields.get("PreemptTime", "None") != "None"

    def requeue(self, packs_left: int, why: str) -> int:
        """Ask Slurm to run this task again; without it the study resumes it later."""
        from phasecube.cluster.slurm.command import SlurmError, slurm

        left = f"{packs_left} packs left"
        if self.marker.requeues >= self.settings["requeues"]:
            asked = f"{left} after {self.marker.requeues} requeues, as many as allowed"
            return self.end("stopped", f"{asked}; `phasecube resume` goes on")
        self.marker = replace(self.marker, requeues=self.marker.requeues + 1)
        self.end("requeued", f"{why}, {left}")  # before: it may be killed at once
        try:
            slurm("scontrol", "requeue", self.marker.slurm_id)
        except SlurmError as error:
            if error.said.startswith("exit code -"):
                return 0  # scontrol was killed with this task: it is on its way to the queue
            return self.end("stopped", f"{left}, and it could not be requeued: {error}")
        return 0

    def end(self, state: MarkerState, message: str = "") -> int:
        """Write the end marker and return 0."""
        self.marker = replace(self.marker, state=state, at=now(), message=message)
        self.mark()
        print(f"phasecube: task {self.marker.slurm_id} {state} {message}".rstrip(), flush=True)
        return 0

    def fail(self, message: str) -> int:
        """Say what is wrong in the log and in the marker, and return 1."""
        print(f"phasecube: {message}", file=sys.stderr, flush=True)
        self.marker = replace(self.marker, state="failed", at=now(), message=message)
        try:
            self.mark()
        except StoreError as error:  # a full disk: the log, elsewhere perhaps, has said it
            print(f"phasecube: its end marker could not be written: {error}", file=sys.stderr)
        return 1

    def mark(self) -> None:
        """Publish the marker."""
        write_marker(self.path, self.array.number, self.index, self.marker)


if __name__ == "__main__":
    sys.exit(main())
