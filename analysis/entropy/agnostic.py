"""Whether the constants of the entropy law depend on the method: seeds compared within seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PERMUTATIONS = 5000
ENOUGH = 0.05  # of p: fewer seeds than can reach it tell nothing


@dataclass(frozen=True)
class Spread:
    """One constant over methods, seeds paired.

    `methods`: standard deviation of the methods' means; `seeds`: that of what is left of a
    trial without its method's and its seed's mean. `p`: how often shuffled methods spread as
    much, NaN where too few seeds are complete to tell. `low`, `high`: the least and the
    largest of the methods' means, `mean` their mean.
    """

    mean: float
    low: float
    high: float
    methods: float
    seeds: float
    p: float
    n_methods: int
    n_seeds: int

    @property
    def is_known(self) -> bool:
        """Return whether two methods have a seed in common."""
        return self.n_methods > 1 and self.n_seeds > 0

    def text(self) -> str:
        """Return what was found in words."""
        if not self.is_known:
            return "not compared: that needs two lines with a seed in common"
        half = (self.high - self.low) / 2
        share = f", ± {100 * half / abs(self.mean):.0f} %" if self.mean else ""
        told = (
            f"{self.low:.3g} to {self.high:.3g} over {self.n_methods} lines{share}; "
            f"standard deviation of lines {self.methods:.2g}, of seeds {self.seeds:.2g}"
        )
        if np.isnan(self.p):
            return f"{told}; too few seeds for a test"
        return f"{told}; p = {self.p:.2g} from shuffling lines within seeds"


def spread(value_MN: npt.ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Spread:
    """Return how much a constant (methods M, seeds N) differs over methods, against its seeds.

    Only seeds known for every method count. Under the null hypothesis that the method does not
    matter its labels can be shuffled within each seed; the statistic is the variance of the
    methods' means, p the share of shuffles that reach it, the true order counted among them
    (Phipson & Smyth 2010, arXiv:1603.05766).
    """
    given_MN = np.asarray(value_MN, np.float64)
    whole_MN = given_MN[:, np.isfinite(given_MN).all(0)]
    m, n = whole_MN.shape
    if m < 2 or n < 1:
        nan = np.nan
        return Spread(nan, nan, nan, nan, nan, nan, m, n)
    mean_M, mean_N = whole_MN.mean(1), whole_MN.mean(0)
    rest_MN = whole_MN - mean_M[:, None] - mean_N + whole_MN.mean()
    free = (m - 1) * (n - 1)
    own = float(np.sqrt((rest_MN**2).sum() / free)) if free else np.nan
    p = np.nan
    # Shuffling all seeds alike changes nothing: so many shuffles can differ.
    if (n - 1) * math.lgamma(m + 1) >= -math.log(ENOUGH):
        rng = np.random.default_rng(seed)
        # In blocks, so that many methods and seeds fit into memory.
        least = float(mean_M.var()) * (1 - 1e-9)
        hits, done = 0, 0
        block = max(1, 2_000_000 // whole_MN.size)
        while done < permutations:
            size = min(block, permutations - done)
            drawn_BMN = rng.permuted(np.broadcast_to(whole_MN, (size, m, n)), axis=1)
            hits += int((drawn_BMN.mean(2).var(1) >= least).sum())
            done += size
        p = (1 + hits) / (1 + permutations)
    ends = (float(mean_M.min()), float(mean_M.max()))
    return Spread(float(mean_M.mean()), *ends, float(mean_M.std(ddof=1)), own, p, m, n)
