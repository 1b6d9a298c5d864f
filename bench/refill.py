"""A pack whose trials end early, refilled, against the same pack in groups that shrink.

    python bench/refill.py [--trials 512] [--lanes 64] [--steps 400] [--workloads 0 1]

Each case is run both ways in turns, and the better of two counts. `busy` is the share of
lane-steps, of all that the updates had room for until the last trial had entered, that moved
a trial which was not settled; `faster` the seconds without refill over those with it. Where all
trials run to their end there is nothing to refill, and `faster` should be 1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from vectorised import Workload, trials_of, workloads

from phasecube.engine.allocator import keep_large_blocks
from phasecube.engine.choice import EngineChoice
from phasecube.engine.descent import Descent
from phasecube.engine.experiment import ENGINE_MEASURES
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, Status, StopRule
from phasecube.engine.refill import Queue
from phasecube.engine.run_pack import run_pack
from phasecube.engine.trials import Trials


class RandomEnds:
    """Prunes at each rung the rows whose end, drawn beforehand, is that rung."""

    def __init__(self, ends_R: np.ndarray, rungs: Sequence[int]) -> None:
        self.rungs = frozenset(rungs)
        self._ends_R = ends_R

    def judge(self, step: int, rows: np.ndarray, record: PackRecord) -> np.ndarray:  # noqa: ARG002
        """Return who ends here."""
        return np.asarray(self._ends_R[rows] == step)


@dataclass
class Counted:
    """How many lanes each update moved, and how many trials waited then."""

    moved: list[int]
    waiting: list[int]


def counting(queues: list[Queue]) -> Counted:
    """Count from now on."""
    counted, plain, made = Counted([], []), Descent.step, Queue.__init__

    def step(self: Descent, *args: Any) -> None:
        counted.moved.append(len(self._state))
        counted.waiting.append(len(queues[-1]))
        plain(self, *args)

    def init(self: Queue, *args: Any) -> None:
        made(self, *args)
        queues.append(self)

    Descent.step, Queue.__init__ = step, init  # type: ignore[method-assign]
    return counted


@dataclass(frozen=True)
class Case:
    name: str
    rule: RecordRule
    ends: Callable[[np.random.Generator, int], np.ndarray] | None
    diverging: bool = False


def cases(steps: int, measures: tuple[str, ...]) -> list[Case]:
    often = np.arange(0, steps + 1, steps // 40)
    rarely = np.arange(0, steps + 1, steps // 4)
    log = np.unique([0, *np.geomspace(1, steps, 25).round().astype(int), steps])

    def halving(rng: np.random.Generator, n: int) -> np.ndarray:
        rungs = [steps // 8, steps // 4, steps // 2]
        return rng.choice([*rungs, steps], n, p=[0.5, 0.25, 0.125, 0.125])

    def anywhere(grid: np.ndarray) -> Callable[[np.random.Generator, int], np.ndarray]:
        return lambda rng, n: rng.choice(grid[1:], n)

    return [
        Case("all run to their end", RecordRule(often, measures), None),
        Case("halved at 1/8, 1/4, 1/2", RecordRule(often, measures), halving),
        Case("ends at any of 40 records", RecordRule(often, measures), anywhere(often)),
        Case("ends at any of 4 records", RecordRule(rarely, measures), anywhere(rarely)),
        Case("ends at any of a log grid", RecordRule(log, measures), anywhere(log)),
        Case("diverges at random, 40 records", RecordRule(often, measures), None, True),
    ]


def timed(
    workload: Workload, trials: Trials, case: Case, lanes: int, *, refill: bool
) -> tuple[float, PackRecord]:
    """Return the seconds of one run, and what it recorded."""
    rng = np.random.default_rng(0)
    record = PackRecord.empty(len(trials), case.rule)
    choice = EngineChoice(Engine.VMAP_FORWARD, lanes, False, "asked for")
    last = int(case.rule.steps[-1])
    judge = None
    if case.ends is not None:
        judge = RandomEnds(case.ends(rng, len(trials)), case.rule.steps[1:-1].tolist())
    plain = Queue.for_lanes
    if not refill:
        Queue.for_lanes = lambda self, *_: self._waiting[:0]  # type: ignore[method-assign]
    # Of this thread: on a busy machine waiting for a core would be most of a difference.
    began_s = time.thread_time()
    run_pack(workload.experiment, trials, record, case.rule, StopRule(), choice, judge=judge)
    own_s = time.thread_time() - began_s
    Queue.for_lanes = plain  # type: ignore[method-assign]
    assert (record.status_RF[:, Status.OUTCOME] != Outcome.NOT_RUN).all()
    assert (record.status_RF[:, Status.STOPPED_AT] <= last).all()
    return own_s, record


def busy(counted: Counted, record: PackRecord, lanes: int) -> float:
    """Return the share of lane-steps that moved a trial not yet settled, while some waited."""
    waits = np.array(counted.waiting) > 0
    room = lanes * int(waits.sum())
    # Lanes that moved on after their end, until that was seen, are moved and not busy.
    lost = int(np.sum(counted.moved)) - int(record.status_RF[:, Status.STOPPED_AT].sum())
    return (int(np.array(counted.moved)[waits].sum()) - lost) / room


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=512)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workloads", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_large_blocks()
    queues: list[Queue] = []
    counted = counting(queues)
    print(f"torch {torch.__version__}, one thread; {args.trials} trials, {args.lanes} lanes")
    print(f"{'workload':34}{'ends':34}{'steps kept':>11}{'busy':>7}{'without':>9}{'faster':>8}")
    for workload in [workloads()[i] for i in args.workloads]:
        for case in cases(args.steps, tuple(ENGINE_MEASURES)):
            trials = trials_of(workload, args.trials)
            static = {**trials.static, "steps": args.steps}
            lr = np.full(args.trials, static.get("lr", 0.01))
            if case.diverging:  # a third of them, the sooner the larger; half in half of the run
                lr[::3] = np.geomspace(1, 1e3, len(lr[::3]))
            trials = Trials(trials.lanes, static, {**trials.varying, "lr": lr.tolist()})
            best = {True: np.inf, False: np.inf}
            share = {}
            for refill in (False, True, True, False, False, True):
                counted.moved.clear()
                counted.waiting.clear()
                own_s, record = timed(workload, trials, case, args.lanes, refill=refill)
                best[refill] = min(best[refill], own_s)
                share[refill] = busy(counted, record, args.lanes)
            kept = record.status_RF[:, Status.STOPPED_AT].sum() / (args.steps * args.trials)
            print(
                f"{workload.name:34}{case.name:34}{kept:11.2f}{share[True]:7.2f}"
                f"{share[False]:9.2f}{best[False] / best[True]:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
