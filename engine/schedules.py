"""The learning rate over a run: a share of `lr` at each step, and in one place for every optimizer.

The share of step t (from 0) is that of warm-up until t = warmup_steps, then that of the schedule,
which reaches `final_lr_fraction` at t = steps, where training ends:

    warm-up    (t + 1) / warmup_steps: no step is wasted on a rate of zero
    constant   1
    cosine     f + (1 - f) (1 + cos(pi u)) / 2,  u = (t - warmup_steps) / (steps - warmup_steps)
    wsd        1, then f + (1 - f) (1 - u) or f + (1 - f) (1 - sqrt u) over the last
               decay_fraction of all steps, u the part of it that has passed
    wsd_s      as wsd until each of several budgets T_1 < T_2 < ... = steps: 1, in the last
               decay_fraction of T_i the decay, at T_i back to 1. One run is trained on all the
               while; WSD proper would go back to where the decay began.

Reference: cosine: Loshchilov and Hutter 2017, arXiv:1608.03983; warm-up, stable, decay: Hu et al.
2024, arXiv:2404.06395; 1 - sqrt: Haegele et al. 2024, arXiv:2405.18392; WSD-S: Wen et al. 2024,
arXiv:2410.05192.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Lanes = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """The shape of one trial's learning rate over its `steps`."""

    kind: str
    steps: int
    warmup_steps: float = 0
    decay_fraction: float = 0.1
    decay_type: str = "linear"
    final_lr_fraction: float = 0.0
    budgets: tuple[int, ...] = ()

    def share(self, step: int) -> float:
        """Return the learning rate of the update from `step` to `step + 1`, as a share of `lr`."""
        warm = (step + 1) / self.warmup_steps if step < self.warmup_steps else 1.0
        # The smaller of the two where a decay begins before the warm-up has ended.
        return min(warm, self._decayed(min(step, self.steps)))

    def _decayed(self, step: int) -> float:
        if self.kind == "constant":
            return 1.0
        end = self._end(step)
        cosine = self.kind == "cosine"
        begin = self.warmup_steps if cosine else end * (1.0 - self.decay_fraction)
        if step <= begin:
            return 1.0
        passed = (step - begin) / (end - begin)
        if cosine:
            left = (1.0 + math.cos(math.pi * passed)) / 2.0
        elif self.decay_type == "1-sqrt":
            left = 1.0 - math.sqrt(passed)
        else:
            left = 1.0 - passed
        return self.final_lr_fraction + (1.0 - self.final_lr_fraction) * left

    def _end(self, step: int) -> int:
        """Return the end of the decay that comes next."""
        if self.kind != "wsd_s":
            return self.steps
        return next((budget for budget in self.budgets if step < budget), self.steps)


def budgets_of(text: str) -> tuple[int, ...]:
    """Return the numbers of "300, 600, 1200"; raise ValueError where one is none."""
    return tuple(int(part) for part in text.split(",")) if text.strip() else ()


def schedule_faults(
    schedule: str, steps: int, budgets: str, decay_fraction: float
) -> list[tuple[str, str]]:
    """Return (parameter, message) for each combination that no schedule has."""
    if schedule != "wsd_s":
        return []
    try:
        ends = budgets_of(budgets)
    except ValueError:
        ends = ()
    if not ends or ends[0] < 1 or any(a >= b for a, b in pairwise(ends)):
        message = f'wsd_s takes steps that rise, as in "300, 600, 1200"; got {budgets!r}'
        return [("budgets", message)]
    if ends[-1] != steps:
        return [("budgets", f"the last budget is the run's end: steps = {steps}, got {ends[-1]}")]
    return [
        ("decay_fraction", f"the decay to {b} would begin before budget {a}, where the last ended")
        for a, b in pairwise(ends)
        if b * (1.0 - decay_fraction) < a
    ][:1]


class LaneSchedules:
    """The schedules of K lanes, each of which stands `from_K` steps into its own.

    Lanes share few schedules and steps; each is computed once a step, by Python's own cosine
    and not numpy's, which may round by a number's place in its array.
    """

    def __init__(
        self,
        lanes: Callable[[str], Lanes],
        kind: str,
        steps: int,
        decay_type: str,
        budgets: tuple[int, ...] = (),
        from_K: Steps | None = None,
    ) -> None:
        columns = [lanes(name) for name in ("warmup_steps", "decay_fraction", "final_lr_fraction")]
        columns.append(np.zeros_like(columns[0]) if from_K is None else from_K.astype(np.float64))
        rows_K4 = np.stack(columns, 1)  # a step below 2^31 is exact in float64
        unique_U4, which_K = np.unique(rows_K4, axis=0, return_inverse=True)
        self._which_K = which_K.reshape(-1)  # numpy 2.0 gives it another shape than 2.1
        self._schedules = [
            (Schedule(kind, steps, warmup, decay, decay_type, final, budgets), int(begun))
            for warmup, decay, final, begun in unique_U4.tolist()
        ]

    def at(self, steps: range) -> Lanes:
        """Return the shares of `lr`, shape (C, K); exactly 1 where a schedule does nothing.

        `steps` are counted from where each lane stands.
        """
        found = np.array([[one.share(begun + t) for one, begun in self._schedules] for t in steps])
        taken: Lanes = found[:, self._which_K]
        return taken
