"""Points of a boundary: what was tried, read from the study, goes to `sweeps.boundary_points`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phasecube.cluster.tried import Tried
from phasecube.sweeps.points import Point

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep


def searcher(sweep: Sweep, study: Path | None) -> BoundarySearch:  # noqa: ARG001 it keeps nothing
    """Return the searcher of the sweep's question."""
    return BoundarySearch(sweep)


class BoundarySearch:
    """Asks along the boundary of the answers."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def next_points(self, tried: Sequence[Tried], n: int) -> list[Point]:
        """Return up to `n` new points, none once every interval is within the tolerance."""
        from phasecube.sweeps.boundary_options import options_of
        from phasecube.sweeps.boundary_points import next_shares

        sampler, axes = self.sweep.sampler, self.sweep.searched
        assert sampler is not None
        if n == 0:
            return []
        shares_ND = np.array(
            [[axis.share_of(each.point[axis.name]) for axis in axes] for each in tried]
        ).reshape(-1, len(axes))
        answer_N = np.array([each.answer for each in tried], np.int8)
        counts_N2 = np.array([[each.n_no, each.n_yes] for each in tried], np.int64).reshape(-1, 2)
        options = options_of(sampler.options)
        found_ND = next_shares(axes, shares_ND, answer_N, n, options, sampler.seed, counts_N2)
        return [
            {axis.name: axis.at(float(share)) for axis, share in zip(axes, share_D)}
            for share_D in found_ND
        ]
