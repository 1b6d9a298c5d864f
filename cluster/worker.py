"""One worker process: jobs as lines of JSON on stdin, events as lines of JSON on stdout.

    python -m phasecube.cluster.worker STUDY --device cpu --threads 1 --parent PID

SIGTERM means: write a checkpoint, say so, leave. The worker dies with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from phasecube.cluster.job import Event, PackJob
from phasecube.cluster.stop_signal import StopSignal
from phasecube.engine.errors import PhasecubeError

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> int:
    """Run jobs until stdin ends or SIGTERM comes; return the exit code."""
    parser = argparse.ArgumentParser(prog="phasecube.cluster.worker")
    parser.add_argument("study", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    if not die_with_parent(arguments.parent):
        return 1
    # Ctrl-C reaches the whole terminal, Slurm's notice every process of a task; the parent
    # decides and sends SIGTERM.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # What user code prints must not mix with the events: stdout now leads to the log.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: Event) -> None:
        events.write(event.to_line())
        events.flush()

    with StopSignal((signal.SIGTERM,), patient=True) as stop:
        from phasecube.cluster.pack_runner import PackRunner

        runner = PackRunner(arguments.study, arguments.device, arguments.threads)
        # Not `for line in sys.stdin`: a signal must not wait for a block to fill.
        while not stop() and (line := sys.stdin.readline()):
            job = PackJob.from_line(line)
            try:
                runner.run(job, stop, tell)
            except (PhasecubeError, OSError) as error:
                tell(Event("broken", job.pack, job.group, message=str(error)))
                return 1
    return 0


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> bool:
    """Ask the kernel for signal `number` when the parent dies; return False if it has died.

    Linux only. Elsewhere a worker leaves when its stdin ends, after the pack it runs.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)
    return os.getppid() == parent


if __name__ == "__main__":
    sys.exit(main())
