"""Trials of a pack that wait for a lane, and when lanes that are free take them in.

A group takes newcomers once an eighth of its lanes is free, or as many as still wait: taking
them in costs the building of an engine, and lanes that entered together are measured together.
Where the steps at which trials are recorded have a period that is short beside a trial, they
enter at a multiple of it, so that all lanes are recorded at the same steps of the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from phasecube.engine.draws import Drawn, draw
from phasecube.engine.experiment import Experiment
from phasecube.engine.pack_state import DTYPES, PackState, Start, state_of
from phasecube.engine.trials import Trials

Rows = npt.NDArray[np.int64]
FREE_SHARE = 8  # newcomers enter once one lane in so many is free
LEAST_PERIODS = 16  # of a trial, for newcomers to wait for the next one


@dataclass(frozen=True)
class Entry:
    """Lanes that enter a group, the seconds each has trained before, and a model for them."""

    state: PackState
    elapsed_s_K: npt.NDArray[np.float64]
    model: nn.Module


class Queue:
    """The trials of a pack, by their place among them, in the order in which they enter.

    `starts` holds where trials stand that trained before, `begins` where those begin that go on
    from others. `inside` are the trials that the group in hand was given; `aside` are blocks
    that could not enter one.
    """

    def __init__(
        self,
        experiment: Experiment[Any],
        trials: Trials,
        device: torch.device,
        waiting: Rows,
        starts: Mapping[int, Start],
        begins: Mapping[int, Start],
    ) -> None:
        self._experiment = experiment
        self._trials = trials
        self._device = device
        self._waiting = waiting
        self._drawn: Drawn | None = None
        self.starts = dict(starts)
        self._begins = begins
        self.inside: Rows = waiting[:0]
        self.aside: list[Rows] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self, n: int) -> Rows:
        """Return the next trials, at most `n`; they wait no longer."""
        found, self._waiting = self._waiting[:n], self._waiting[n:]
        return found

    def first(self, indices: Rows) -> Entry:
        """Return the lanes that a group begins with."""
        self.inside = indices
        return self._entry(indices, None)

    def enter(self, indices: Rows) -> Entry:
        """Return the lanes that are to join a group that trains."""
        self.inside = np.concatenate([self.inside, indices])
        return self._entry(indices, self._drawn)

    def set_aside(self, indices: Rows) -> None:
        """Take those back that could not enter."""
        self.inside = self.inside[~np.isin(self.inside, indices)]
        self.aside.append(indices)

    def for_lanes(self, n_free: int, n_lanes: int) -> Rows:
        """Return the trials that are to enter a group in which `n_free` of the lanes are free."""
        enough = min(-(-n_lanes // FREE_SHARE), len(self))
        return self.next(n_free) if n_free >= enough > 0 else self._waiting[:0]

    def _entry(self, indices: Rows, known: Drawn | None) -> Entry:
        trials = self._trials.take(indices)
        drawn = draw(self._experiment, trials, DTYPES[trials.static["dtype"]], known)
        state = state_of(self._experiment, trials, drawn, self._device)
        self._drawn = drawn.shared()
        elapsed_s_K = np.zeros(len(indices))
        for place, index in enumerate(indices.tolist()):
            start = self.starts.pop(index, self._begins.get(index))
            if start is not None:
                state.put(place, start.tensors)
                elapsed_s_K[place] = start.elapsed_s
        return Entry(state, elapsed_s_K, drawn.model.to(self._device))


def entry_period(looks: Rows, n_steps: int) -> int:
    """Return the steps of a trial whose multiples newcomers wait for; 1 where they do not.

    `looks` are the steps at which a trial is recorded or judged, and its last one.
    """
    period = int(np.gcd.reduce(looks[looks < n_steps]))
    return period if 0 < period <= n_steps // LEAST_PERIODS else 1
