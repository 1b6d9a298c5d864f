"""Processes that search one study together: ask under its lock, "train", publish to the store."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna

from phasecube.cluster.optuna_mirror import mirror_name
from phasecube.cluster.points_file import read_points
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.search import Search, first_points
from phasecube.cluster.storage import open_storage
from phasecube.cluster.study import Study
from phasecube.cluster.tried import open_points, read_tried
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome, PackRecord, Status
from phasecube.sweeps.points import POINT
from phasecube.sweeps.sweep import Sweep, parse_sweep


def searched_sweep(n_points: int, kind: str, storage: str | None, batch: int) -> Sweep:
    """Return a sweep of one trial a point."""
    line = "" if storage is None else f'storage = "{storage}"\n'
    return parse_sweep(
        'name = "workers"\nexperiment = "scalar_quartic"\nfixed = { steps = 1 }\n'
        'axes.lr = { between = [0.01, 3.0], scale = "log" }\n'
        "axes.kick = { between = [0.001, 1.0] }\n"
        f'[sampler]\nkind = "{kind}"\npoints = {n_points}\nbatch = {batch}\n{line}'
        '[[sampler.objectives]]\nmeasure = "distance"\n[record]\nmeasures = ["distance"]\n'
        f"[resources]\npack_size = {batch}\n",
        Path(),
    )


@dataclass
class Seen:
    """What workers left behind."""

    wall_s: float
    killed: int
    points: int
    duplicates: int
    open_after_kills: int
    lost: int
    mirrored: Counter[str] = field(default_factory=Counter)
    mirrored_twice: int = 0
    not_mirrored: int = 0
    zombies: int = 0
    wrong: int = 0


def search_together(
    sweep: Sweep, path: Path, n_workers: int, batch: int, kills: int = 0, seed: int = 0
) -> Seen:
    """Return what `n_workers` processes made of the search; `kills` of them are killed under way.

    What the killed ones had asked and not trained is trained at the end, as a resume does.
    """
    began_s = time.monotonic()
    assert sweep.sampler is not None
    Study.create(first_points(sweep), path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(path, batch, n)) for n in range(n_workers)]
    for worker in workers:
        worker.start()
    rng, killed = random.Random(seed), 0
    while killed < kills:
        time.sleep(0.05)
        if len(read_points(path)) > (killed + 1) * sweep.sampler.points / (kills + 2):
            victim = workers[killed]
            time.sleep(rng.uniform(0, 0.1))
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            killed += 1
    for worker in workers:
        worker.join()
        assert worker.exitcode in (0, -signal.SIGKILL), worker.exitcode
    wall_s = time.monotonic() - began_s
    study = Study(path)
    n_open = len(open_points(read_tried(study)))
    for number in {each.number for each in open_points(read_tried(study))}:
        _train(study, number)
    with RunLock(path):
        search = Search(Study(path))
        search.note()
    return _seen(search.study, Seen(wall_s, killed, 0, 0, n_open, 0))


def _work(path: Path, batch: int, number: int) -> None:
    os.nice(0)
    search = None
    if number == 0:  # the first batch was chosen when the study was made
        study = Study(path, writes=False)
        for point in range(len(study.sweep.points)):
            _train(study, point)
    while True:
        with _waited_for(path):
            if search is None:
                search = Search(Study(path))
            else:
                search.study = Study(path)
            n = search.ask(batch, among_open=True)
            study = search.study
        if n == 0:
            return
        first = len(study.sweep.points) - n
        for point in range(first, first + n):
            _train(study, point)


@contextlib.contextmanager
def _waited_for(path: Path) -> Iterator[None]:
    while True:
        lock = RunLock(path)
        try:
            lock.__enter__()
        except StudyError:
            time.sleep(random.uniform(0, 0.02))
            continue
        break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def value_of(point: dict[str, float]) -> float:
    """Return the objective, NaN in a corner where the trial would diverge."""
    value = (math.log10(point["lr"]) + 1) ** 2 + (point["kick"] - 0.3) ** 2
    return math.nan if point["lr"] > 2 else value


def _train(study: Study, point: int) -> None:
    plan = study.plan
    (trial,) = np.flatnonzero(plan.index[POINT] == point)
    pack, lane = divmod(int(plan.row[trial]), plan.pack_size)
    value = value_of(dict(study.sweep.points[point]))
    record = PackRecord.empty(plan.pack_size, plan.rule)
    with contextlib.suppress(FileNotFoundError):
        if study.store.read_status([pack])[plan.row[trial], Status.OUTCOME] != Outcome.NOT_RUN:
            return
        record = study.store.read_pack(pack)
    record.scalars_RMS[lane] = np.float64(value)
    record.status_RF[lane, Status.OUTCOME] = Outcome.DIVERGED if math.isnan(value) else Outcome.DONE
    record.status_RF[lane, Status.N_RECORDED] = len(plan.rule.steps)
    study.store.write_pack(pack, record)


def _seen(study: Study, seen: Seen) -> Seen:
    points, tried = read_points(study.path), read_tried(study)
    assert study.sweep.sampler is not None
    seen.points = len(points)
    seen.duplicates = len(points) - len({tuple(p.values()) for p in points})
    seen.lost = study.sweep.sampler.points - len([t for t in tried if t.is_settled])
    trials = optuna.load_study(
        study_name=mirror_name(study.sweep, study.path),
        storage=open_storage(study.sweep.sampler.storage, study.path),
    ).get_trials()
    held: Counter[int] = Counter()
    for trial in trials:
        seen.mirrored[trial.state.name] += 1
        if trial.state.name == "FAIL":
            continue
        number = trial.user_attrs["point"]
        held[number] += 1
        seen.zombies += trial.state.name == "RUNNING"
        expected = value_of(dict(points[number]))
        told = trial.values[0] if trial.values else math.nan
        same = (
            math.isnan(told) if math.isnan(expected) else np.float32(told) == np.float32(expected)
        )
        seen.wrong += not same or trial.params != points[number]
    seen.mirrored_twice = sum(count > 1 for count in held.values())
    seen.not_mirrored = len(points) - len(held)
    return seen
