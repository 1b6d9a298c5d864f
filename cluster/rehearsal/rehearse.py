"""A sweep's whole life on an imitated Slurm, before it costs GPU-hours.

Some packs are trained twice: undisturbed in this process, and as job arrays through
preemptions, node failures, kills, limits and walltimes that end too soon. Both must give
the same records, bit for bit.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from phasecube.cluster.in_process import InProcess
from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.rehearsal.fake_cluster import FakeCluster
from phasecube.cluster.rehearsal.fake_slurm import FakeSlurm
from phasecube.cluster.run_study import run_study
from phasecube.cluster.search import first_points
from phasecube.cluster.slurm.executor import Slurm
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import read_markers
from phasecube.engine.record import Status
from phasecube.engine.store import Store
from phasecube.sweeps.sweep import Sweep

Say = Callable[[str], None]
POLL_S = 0.5
WALLTIME_S, NOTICE_S = 60, 35  # tasks reach their notice after 25 s
NODES = 2
STORM_PER_S = 0.15


@dataclass(frozen=True)
class Rehearsed:
    """What befell the tasks, and whether the records are those of the undisturbed run."""

    packs: int
    trials: int
    arrays: int
    attempts: int  # of tasks
    interruptions: Mapping[str, int]  # by kind
    requeued: int  # by the tasks themselves, at the end of their walltime
    undisturbed_s: float
    rehearsed_s: float
    differing: int  # rows
    finished: bool


def rehearse(
    sweep: Sweep,
    settings: SlurmSettings,
    folder: Path,
    *,
    n_packs: int,
    interruptions: int,
    say: Say = lambda line: None,  # noqa: ARG005
    stop: Callable[[], bool] = lambda: False,
) -> Rehearsed:
    """Return how `n_packs` packs of the sweep fared; `folder` gets both studies and the logs.

    The storm ends after so many `interruptions`, so that the sweep can.
    """
    sweep = first_points(sweep)  # of a search its first batch is rehearsed
    quiet = Study.create(sweep, folder / "undisturbed")
    disturbed = Study.create(sweep, folder / "rehearsed")
    packs = disturbed.plan.packs().tolist()
    chosen, others = packs[:n_packs], packs[n_packs:]
    say(f"{len(chosen):,} packs undisturbed, in this process")
    began_s = time.monotonic()
    done = run_study(quiet, executor=InProcess(), leave=others, stop=stop)
    undisturbed_s = time.monotonic() - began_s
    # The same engine: a probe of a busy machine may choose another.
    (quiet.path / "engines").rename(disturbed.path / "engines")
    say(f"{len(chosen):,} packs on an imitated Slurm: {NODES} nodes, arrays of 3, 4 tasks a user")
    began_s = time.monotonic()
    with _fake_slurm(folder / "slurm", settings) as slurm:
        slurm.do("storm", rate_per_s=STORM_PER_S, seed=0)
        calm = False

        def stopped() -> bool:
            nonlocal calm
            if not calm and len(slurm.do("interruptions")) >= interruptions:
                slurm.do("calm")
                calm = True
            return stop()

        executor = Slurm(_rehearsal_settings(settings), say=say, poll_s=POLL_S)
        result = run_study(disturbed, executor=executor, leave=others, stop=_seldom(stopped))
        befell = Counter(line.partition(" ")[0] for line in slurm.do("interruptions"))
    arrays = read_arrays(disturbed.path)
    markers = [m for a in arrays for m in read_markers(disturbed.path, a.number).values()]
    left = len(packs) - len(others)
    return Rehearsed(
        packs=left,
        trials=sum(len(disturbed.plan.trials_in(pack)) for pack in chosen),
        arrays=len(arrays),
        attempts=sum(marker.attempts for marker in markers),
        interruptions=dict(befell),
        requeued=sum(marker.requeues for marker in markers),
        undisturbed_s=undisturbed_s,
        rehearsed_s=time.monotonic() - began_s,
        differing=_differing_rows(quiet.store, disturbed.store, chosen),
        finished=done.packs_left == result.packs_left == len(others),
    )


def _rehearsal_settings(settings: SlurmSettings) -> SlurmSettings:
    """Return the settings with a walltime that a rehearsal reaches, and a node's interpreter."""
    shorter = {"walltime_s": WALLTIME_S, "notice_s": NOTICE_S, "packs_per_job": 2}
    # Modules and environments of the cluster are not here.
    return replace(settings, **shorter, setup=(), python=sys.executable, drift="warn")  # type: ignore[arg-type]


@contextmanager
def _fake_slurm(folder: Path, settings: SlurmSettings) -> Iterator[FakeSlurm]:
    cluster = FakeCluster(
        nodes=NODES,
        cpus_per_node=settings.cpus,
        memory_mb=max(4000, settings.memory_mb or 0),
        gpus_per_node=8,
        partitions=tuple((settings.partition or "main").split(",")),
        features=tuple((settings.constraint or "").replace("|", "&").split("&")),
        max_array_size=3,
        max_submit=4,
        accounting=True,
        kill_wait_s=5.0,
    )
    with FakeSlurm(folder, cluster) as slurm:
        before = dict(os.environ)
        os.environ.update(slurm.environment())
        try:
            yield slurm
        finally:
            os.environ.clear()
            os.environ.update(before)


def _seldom(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return `ask` asked twice a second at most: it goes through a socket."""
    asked_s, answer = float("-inf"), False

    def seldom() -> bool:
        nonlocal asked_s, answer
        if time.monotonic() - asked_s > POLL_S:
            asked_s, answer = time.monotonic(), ask()
        return answer

    return seldom


def _differing_rows(one: Store, two: Store, packs: list[int]) -> int:
    """Return how many rows differ in any value, or in any of their status but the run."""
    fields = [field for field in Status if field is not Status.RUN]
    differing = 0
    for pack in packs:
        first, second = one.read_pack(pack), two.read_pack(pack)
        same_K = (first.status_RF[:, fields] == second.status_RF[:, fields]).all(axis=1)
        pairs = [(first.scalars_RMS, second.scalars_RMS)]
        pairs += [(first.vectors[name], second.vectors[name]) for name in first.vectors]
        for a, b in pairs:
            equal = (a == b) | (np.isnan(a) & np.isnan(b))
            same_K &= equal.reshape(len(a), -1).all(axis=1)
        differing += int(np.count_nonzero(~same_K))
    return differing
