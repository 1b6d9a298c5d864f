"""Where packs run: the seam behind which processes, Slurm and Ray look the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from phasecube.cluster.job import Event
from phasecube.cluster.pack_queue import PackQueue

OnEvent = Callable[[Event], None]
Stop = Callable[[], bool]


class Executor(Protocol):
    """Runs packs until the queue is empty or `stop()` says so.

    It tells each event as it happens, from the caller's thread. A pack whose worker died
    goes back to the queue; one that died too often is told as `died`. On stop every
    running pack writes a checkpoint and is told as `stopped`.
    """

    name: str

    def run(self, study: Path, queue: PackQueue, on_event: OnEvent, stop: Stop) -> None:
        """Run the packs of `queue`; returns when all are settled or stopped."""


def create_executor(processes: int, threads: int, device: str) -> Executor:
    """Return the executor for this machine: in this process, or a pool of processes."""
    if processes == 1:
        from phasecube.cluster.in_process import InProcess

        return InProcess(threads, device)
    from phasecube.cluster.processes import Processes

    return Processes(processes, threads, device)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices_of(device: str) -> list[str]:
    """Return the devices that `device` stands for: "cuda" is every GPU, one process each."""
    if device != "cuda":
        return [device]
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or [device]


def number_of_processes(wanted: int | str, threads: int, device: str, n_packs: int) -> int:
    """Return how many workers to start; "auto" is one per GPU, or one per `threads` cores."""
    if isinstance(wanted, int):
        return max(1, min(wanted, n_packs))
    if device.startswith("cuda"):
        return max(1, min(len(devices_of(device)), n_packs))
    return max(1, min(usable_cores() // max(1, threads), n_packs))
