"""Overhead of a pack on Ray, beside the pool of processes, in one run on one machine.

    python bench/ray_packs.py [--packs 200] [--processes 2] [--steps 100]

The trial is gradient descent on a quadratic, a pack is one trial, its lanes are stated: what
is left is the cost of handing packs out. The pace is taken from when the first packs are
settled (WARM for each process) to when the last is; what went before, Ray's start and the
import of torch in every worker, is the start. `over pool` is the pace over that of
`processes` in the same run; each runs REPEATS times in turn, and the fastest counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from phasecube.cluster.executor import Executor
from phasecube.cluster.job import Event
from phasecube.cluster.pack_queue import PackQueue
from phasecube.cluster.processes import Processes
from phasecube.cluster.ray_start import RayPlace
from phasecube.cluster.ray_tune import Ray
from phasecube.cluster.study import Study
from phasecube.sweeps.sweep import parse_sweep

HERE = Path(__file__).resolve().parent
WARM, REPEATS = 8, 3


def sweep_text(folder: Path, n_packs: int, steps: int) -> str:
    experiment = os.path.relpath(HERE / "trivial.py", folder)
    return f"""
name = "packs"
experiment = "{experiment}:Quadratic"
fixed = {{ steps = {steps} }}
[axes.seed]
integers = {{ start = 0, stop = {n_packs - 1} }}
[record]
measures = ["train_loss"]
steps = {{ every = {steps} }}
[resources]
pack_size = 1
engine = "vmap"
lanes = 1
"""


def run(
    executor: AbstractContextManager[Executor], n_packs: int, n_warm: int, steps: int
) -> tuple[float, float]:
    """Return the seconds to the first settled pack, and seconds per pack after `n_warm`."""
    settled_s: list[float] = []

    def on_event(event: Event) -> None:
        if event.kind == "settled":
            settled_s.append(time.monotonic() - began_s)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sweep = parse_sweep(sweep_text(folder, n_packs, steps), folder, "bench")
        study = Study.create(sweep, folder / "study")
        queue = PackQueue([(pack, 0) for pack in range(n_packs)], run=1)
        began_s = time.monotonic()
        with executor as running:
            running.run(study.path, queue, on_event, lambda: False)
    return settled_s[0], (settled_s[-1] - settled_s[n_warm]) / (n_packs - 1 - n_warm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packs", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    place = RayPlace(processes=arguments.processes)
    executors: dict[str, Callable[[], AbstractContextManager[Executor]]] = {
        "processes": lambda: nullcontext(Processes(arguments.processes)),
        "ray": lambda: Ray(place),
    }
    print(f"{arguments.packs} packs of one trial, {arguments.steps} steps", end=", ")
    print(f"{arguments.processes} at once, load {os.getloadavg()[0]:.1f}")
    n_warm = WARM * arguments.processes
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in executors}
    for _ in range(REPEATS):
        for name, make in executors.items():
            found[name].append(run(make(), arguments.packs, n_warm, arguments.steps))
    pool_s = min(pace_s for _, pace_s in found["processes"])
    print(f"{'executor':12}{'start s':>9}{'ms/pack':>9}{'over pool':>11}")
    for name, runs in found.items():
        start_s, pace_s = (min(each) for each in zip(*runs))
        print(f"{name:12}{start_s:9.1f}{1e3 * pace_s:9.1f}{pace_s / pool_s:11.2f}")


if __name__ == "__main__":
    main()
