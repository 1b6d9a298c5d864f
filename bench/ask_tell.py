"""Ask and tell of a search beside plain Optuna, with 1,000 and 5,000 trials finished before.

    python bench/ask_tell.py [--finished 1000 5000] [--samplers ...] [--storages ...]

Cost per trial of 8 batches of 8: asked, told. Plain is `study.ask(space)` and `study.tell` on the
same storage; ours is the sampler on its study in memory, the check that the point is new and can
be trained, and the mirror brought up to the points twice a batch. `memory` is ours without a
mirror, and in CPU time; with a storage it is wall time, of a server's work too. Restart is what a
new process needs before its first ask: it learns what was tried, of samplers with a state of
their own by asking them for all of it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))

import optuna
from private_postgres import storage_url

from phasecube.cluster.optuna_mirror import Mirror, open_mirror
from phasecube.cluster.search import Searcher, searcher_of
from phasecube.cluster.tried import Tried
from phasecube.engine.record import Outcome
from phasecube.sweeps.points import Point
from phasecube.sweeps.sweep import Sweep, parse_sweep

SIZE, BATCHES = 8, 8
SAMPLERS = ("random", "sobol", "tpe", "cmaes", "nsga2", "gp")
STORAGES = ("memory", "journal", "sqlite", "postgresql")
SLOW = ("gp",)  # seconds an ask: one batch of 2, and not with 5,000
PLAIN: dict[str, Any] = {
    "random": optuna.samplers.RandomSampler,
    "sobol": lambda seed: optuna.samplers.QMCSampler(seed=seed, scramble=True),
    "tpe": optuna.samplers.TPESampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "gp": optuna.samplers.GPSampler,
}
SPACE = {
    "lr": optuna.distributions.FloatDistribution(0.001, 1.0, log=True),
    "kick": optuna.distributions.FloatDistribution(0.01, 1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--finished", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--storages", nargs="+", default=STORAGES)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    print("ms per trial, asked and told; two parameters, batches of 8")
    print(f"{'sampler':9}{'storage':12}{'finished':>9}{'plain':>9}{'ours':>9}{'ratio':>7}restart s")
    for storage in args.storages:
        # What a storage costs does not depend on the sampler: beside memory, one of them.
        kinds = args.samplers if storage == "memory" else [k for k in args.samplers if k == "tpe"]
        for kind in kinds:
            for n in args.finished if kind not in SLOW else [min(args.finished)]:
                with tempfile.TemporaryDirectory() as folder, storage_url(storage, folder) as url:
                    row(kind, storage, n, Path(folder), url)


def row(kind: str, storage: str, n: int, folder: Path, url: str | None) -> None:
    sweep = sweep_of(kind, url)
    finished = history(sweep, n)
    began_s = time.process_time()
    searcher = searcher_of(sweep, None)
    searcher.next_points(finished, 0)
    restart_s = time.process_time() - began_s
    mirror = None
    size, batches = (2, 1) if kind in SLOW else (SIZE, BATCHES)
    if storage != "memory":
        mirror = open_mirror(sweep, folder)
        assert mirror is not None
        mirror.sync(finished)
    plain_ms = plain(kind, n, mirror, finished, size, batches)
    ours_ms = ours(searcher, mirror, finished, size, batches)
    print(
        f"{kind:9}{storage:12}{n:9,}{plain_ms:9.2f}{ours_ms:9.2f}{ours_ms / plain_ms:7.2f}"
        f"{restart_s:10.2f}",
        flush=True,
    )


def sweep_of(kind: str, url: str | None) -> Sweep:
    goals = 2 if kind == "nsga2" else 1
    storage = "" if url is None else f'storage = "{url}"\n'
    return parse_sweep(
        'name = "ask_tell"\nexperiment = "scalar_quartic"\nfixed = { steps = 1 }\n'
        'axes.lr = { between = [0.001, 1.0], scale = "log" }\n'
        "axes.kick = { between = [0.01, 1.0] }\n"
        f'[sampler]\nkind = "{kind}"\npoints = 10000\nbatch = {SIZE}\n{storage}'
        + "".join(
            f'[[sampler.objectives]]\nmeasure = "{m}"\n' for m in ("distance", "train_loss")[:goals]
        ),
        Path(),
    )


def values_of(point: Point, goals: int) -> tuple[float, ...]:
    return ((point["lr"] - 0.1) ** 2 + (point["kick"] - 0.3) ** 2, point["lr"])[:goals]


def tried_of(sweep: Sweep, points: Sequence[Point], first: int, outcome: Outcome) -> list[Tried]:
    assert sweep.sampler is not None
    goals = len(sweep.sampler.objectives)
    return [
        Tried(first + i, p, (b"%d" % (first + i),), {outcome: 1}, values_of(p, goals))
        for i, p in enumerate(points)
    ]


def history(sweep: Sweep, n: int) -> list[Tried]:
    """Return `n` points, chosen at random whatever the sampler: what it costs does not ask."""
    assert sweep.sampler is not None
    points = searcher_of(sweep_of("random", None), None).next_points([], n)
    return tried_of(sweep, points, 0, Outcome.DONE)


def plain(kind: str, n: int, mirror: Mirror | None, finished: list[Tried], *shape: int) -> float:
    size, batches = shape
    sampler = PLAIN[kind](seed=0)
    goals = len(finished[0].values)
    if mirror is None:
        study = optuna.create_study(sampler=sampler, directions=["minimize"] * goals)
        for start in range(0, n, SIZE):
            batch = finished[start : start + SIZE]
            if kind in ("cmaes", "nsga2"):  # what it notes of a trial it notes when asked
                trials = []
                for each in batch:
                    study.enqueue_trial(dict(each.point))
                    trial = study.ask(SPACE)
                    _ = trial.relative_params
                    trials.append(trial)
                for trial, each in zip(trials, batch):
                    study.tell(trial, list(each.values))
            else:
                study.add_trials(
                    optuna.trial.create_trial(
                        values=list(t.values), params=dict(t.point), distributions=SPACE
                    )
                    for t in batch
                )
    else:
        study = optuna.load_study(study_name=mirror.name, storage=mirror.storage, sampler=sampler)
    clock = time.process_time if mirror is None else time.perf_counter
    began_s = clock()
    for _ in range(batches):
        trials = [study.ask(SPACE) for _ in range(size)]
        for trial in trials:
            study.tell(trial, list(values_of(trial.params, goals)))
    return (clock() - began_s) * 1e3 / (size * batches)


def ours(searcher: Searcher, mirror: Mirror | None, tried: list[Tried], *shape: int) -> float:
    size, batches = shape
    sweep = sweep_of("nsga2" if len(tried[0].values) > 1 else "tpe", None)
    tried = list(tried)
    clock = time.process_time if mirror is None else time.perf_counter
    began_s = clock()
    for _ in range(batches):
        points = searcher.next_points(tried, size)
        n = len(tried)
        if mirror is not None:
            mirror.sync([*tried, *tried_of(sweep, points, n, Outcome.NOT_RUN)])
        tried += tried_of(sweep, points, n, Outcome.DONE)
        if mirror is not None:
            mirror.sync(tried)
    searcher.next_points(tried, 0)
    return (clock() - began_s) * 1e3 / (size * batches)


if __name__ == "__main__":
    main()
