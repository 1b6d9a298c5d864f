"""Packs one after another in this process."""

from __future__ import annotations

from pathlib import Path

from phasecube.cluster.executor import OnEvent, Stop, devices_of
from phasecube.cluster.job import Event
from phasecube.cluster.pack_queue import PackQueue


class InProcess:
    """Runs packs here: no start-up beyond importing torch, one device."""

    name = "in_process"

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        self.threads = threads
        self.device = device

    def run(self, study: Path, queue: PackQueue, on_event: OnEvent, stop: Stop) -> None:
        """Run the packs of `queue`; returns when all are settled or stopped."""
        from phasecube.cluster.pack_runner import PackRunner

        runner = PackRunner(study, devices_of(self.device)[0], self.threads)

        def tell(event: Event) -> None:
            if event.kind == "chosen" and event.choice is not None:
                queue.chosen(event.group, event.choice)
            on_event(event)

        while not stop() and (job := queue.take()) is not None:
            runner.run(job, stop, tell)
            queue.done(job.pack)
