"""Which engine runs a static group of trials, and why; the lanes that it trains beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phasecube.engine.record import Engine

Lanes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EngineChoice:
    """An engine, how many trials it trains at once, and the reason a user is told.

    `spare` copies of the last lane are trained after it and thrown away: where an operation
    rounds the last few numbers of a tensor in another way than the rest, those are theirs.
    """

    engine: Engine
    lanes: int
    compiled: bool
    reason: str
    spare: int = 0


def with_spare(choice: EngineChoice, lanes: Lanes) -> Lanes:
    """Return `lanes`, and behind them the last one again for each copy to be trained beside."""
    if choice.engine is Engine.SEQUENTIAL:
        return lanes
    if choice.compiled:
        # One number of lanes, so one compilation, and the same code whatever the company.
        copies = max(2, choice.lanes + choice.spare) - len(lanes)
    else:
        # A batch of one goes to other matrix kernels than a batch of two or of sixty-four
        # (a product with a vector, for one), which round differently.
        copies = max(choice.spare, 2 - len(lanes))
    return np.concatenate([lanes, np.repeat(lanes[-1:], copies)])
