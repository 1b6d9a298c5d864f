"""Answers of yes and no as a smooth boundary: a Gaussian process that says where it is unsure.

Places are shares of the searched axes, 0 to 1 each. The latent function of the process is above
0 where it expects yes; the boundary is where it is 0. Laplace's approximation errs on the
unsure side: its probabilities are closer to 1/2 than the exact ones (Kuss & Rasmussen 2005,
JMLR 6:1679), so what it calls sure has been sure in every case with a known answer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SURE = 1.96  # standard deviations from 0: 95 % that the sign is right
MOST_FITTED = 160  # points that its scales are fitted to
MOST_POINTS = 800  # points that it knows; its cost is their cube
HEIGHTS, SCALES = (25.0, 1e5), (0.05, 5.0)  # variance before answers, length of correlation
STARTS = (0.5, 0.1)  # lengths of correlation from which the fit sets out
MOST_STEPS = 100
_BLOCK = 2048
_STEP = 1e-3  # of a finite difference


def one_thread() -> Any:
    """Return a context in which linear algebra has one thread.

    So the last bit, and with it a choice of points, does not hang on the number of cores; and
    small matrices are done sooner where others use the cores too.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


@dataclass(frozen=True)
class BoundaryModel:
    """A process that N answers are known to; `kernel` is one of scikit-learn's."""

    kernel: Any
    shares_ND: Floats
    pull_N: Floats  # gradient of the answers' log likelihood at the mode
    root_weight_N: Floats  # of its curvature
    cholesky_NN: Floats

    def latent(self, shares_PD: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the latent function at P places."""
        from scipy.linalg import solve_triangular

        means, variances = [], []
        for start in range(0, len(shares_PD), _BLOCK):
            block_PD = shares_PD[start : start + _BLOCK]
            across_NP = self.kernel(self.shares_ND, block_PD)
            means.append(across_NP.T @ self.pull_N)
            known_NP = solve_triangular(
                self.cholesky_NN, self.root_weight_N[:, None] * across_NP, lower=True
            )
            variances.append(self.kernel.diag(block_PD) - (known_NP**2).sum(0))
        return np.concatenate(means), np.sqrt(np.maximum(np.concatenate(variances), 1e-12))

    def mean(self, shares_PD: Floats) -> Floats:
        """Return the mean alone, which costs less."""
        parts = [
            self.kernel(shares_PD[start : start + _BLOCK], self.shares_ND) @ self.pull_N
            for start in range(0, len(shares_PD), _BLOCK)
        ]
        return np.concatenate(parts)

    def gradient(self, shares_PD: Floats) -> Floats:
        """Return the gradient of the mean at P places, per share [P, D]."""
        n, d = shares_PD.shape
        steps = np.concatenate([_STEP * np.eye(d), -_STEP * np.eye(d)])
        mean = self.mean((shares_PD[None] + steps[:, None]).reshape(-1, d))
        ahead_DP, behind_DP = mean.reshape(2, d, n)
        found_PD: Floats = ((ahead_DP - behind_DP) / (2 * _STEP)).T
        return found_PD

    def likeness(self, one_PD: Floats, other_QD: Floats) -> Floats:
        """Return the correlation of the latent function between places [P, Q], before answers."""
        found_PQ: Floats = self.kernel(one_PD, other_QD) / self.kernel.diag(one_PD[:1])[0]
        return found_PQ


def fitted(
    shares_ND: Floats, yes_N: Bools, counts_N2: npt.NDArray[np.integer] | None = None
) -> BoundaryModel:
    """Return the model of N answers, both kinds among them.

    `counts_N2`: how many trials of each point say no and yes; one each, where it is None.
    Its kernel is Matern's of 5/2, one scale an axis. Where there are more than MOST_POINTS, it
    knows those closest to an opposite answer, and an even choice of the others.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    if counts_N2 is None:
        counts_N2 = np.stack([~yes_N, yes_N], 1).astype(np.int64)
    chosen_N = _telling(shares_ND, yes_N, MOST_POINTS)
    shares_ND, yes_N, counts_N2 = shares_ND[chosen_N], yes_N[chosen_N], counts_N2[chosen_N]
    few_N = _telling(shares_ND, yes_N, MOST_FITTED)
    tried = []
    for scale in STARTS:
        kernel = ConstantKernel(100.0, HEIGHTS) * Matern(
            [scale] * shares_ND.shape[1], SCALES, nu=2.5
        )
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            # Answers without noise have no best height: it ends on its bound, and on the way
            # scikit-learn's Newton steps may pass exp's.
            warnings.simplefilter("ignore", ConvergenceWarning)
            tried.append(GaussianProcessClassifier(kernel).fit(shares_ND[few_N], yes_N[few_N]))
        # Small islands may pass for noise of long scales: then a start at short ones is tried too.
        if (tried[-1].predict(shares_ND[few_N]) == yes_N[few_N]).all():
            break
    best = max(tried, key=lambda each: each.log_marginal_likelihood_value_)
    return _posterior(best.kernel_, shares_ND, counts_N2.astype(np.float64))


def _posterior(kernel: Any, shares_ND: Floats, counts_N2: Floats) -> BoundaryModel:
    """Return Laplace's approximation: Rasmussen & Williams 2006, algorithm 3.1.

    With Newton steps that are halved until they lead up. scikit-learn takes them whole, and
    ends beside the mode where many answers lie close together.
    """
    from scipy.linalg import cho_solve
    from scipy.special import expit, log_expit

    prior_NN = kernel(shares_ND)
    no_N, yes_N = counts_N2.T
    eye_NN = np.eye(len(yes_N))
    weight_sum_N = np.zeros(len(yes_N))  # the latent function is prior @ weight_sum

    def climbed(sum_N: Floats) -> float:
        latent_N = prior_NN @ sum_N
        likely = yes_N @ log_expit(latent_N) + no_N @ log_expit(-latent_N)
        return float(likely - sum_N @ latent_N / 2)

    height = climbed(weight_sum_N)
    for _ in range(MOST_STEPS):
        latent_N = prior_NN @ weight_sum_N
        chance_N = expit(latent_N)
        pull_N = yes_N - (yes_N + no_N) * chance_N
        root_N = np.sqrt((yes_N + no_N) * chance_N * (1 - chance_N))
        cholesky_NN = np.linalg.cholesky(eye_NN + root_N[:, None] * prior_NN * root_N)
        target_N = root_N**2 * latent_N + pull_N
        solved_N = cho_solve((cholesky_NN, True), root_N * (prior_NN @ target_N))
        step_N = target_N - root_N * solved_N - weight_sum_N
        share = 1.0
        while (higher := climbed(weight_sum_N + share * step_N)) < height and share > 1e-6:
            share /= 2
        if higher - height < 1e-9:
            break
        weight_sum_N, height = weight_sum_N + share * step_N, higher
    return BoundaryModel(kernel, shares_ND, pull_N, root_N, cholesky_NN)


def _telling(shares_ND: Floats, yes_N: Bools, most: int) -> npt.NDArray[np.intp]:
    """Return the places of at most `most` points: half the closest to the boundary, half even."""
    n = len(shares_ND)
    if n <= most:
        return np.arange(n)
    order_N = np.argsort(opposite_distance(shares_ND, yes_N), kind="stable")
    close, rest = order_N[: most // 2], np.sort(order_N[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([close, even]))


def opposite_distance(shares_ND: Floats, yes_N: Bools) -> Floats:
    """Return how far each point is from the nearest with the other answer, both there."""
    from scipy.spatial import KDTree

    found_N = np.empty(len(shares_ND))
    for side in (True, False):
        mine_N = yes_N == side
        found_N[mine_N] = KDTree(shares_ND[~mine_N]).query(shares_ND[mine_N])[0]
    return found_N


def lattice(d: int, n: int) -> Floats:
    """Return the places of a grid of n values an axis, first and last 0 and 1 [n, ..., n, D]."""
    side = np.linspace(0, 1, n)
    return np.stack(np.meshgrid(*[side] * d, indexing="ij"), -1)


def zeros(model: BoundaryModel, d: int, n: int) -> Floats:
    """Return places on the boundary [P, D]: where it cuts the lines of a grid of n a side."""
    grid = lattice(d, n)
    mean = model.mean(grid.reshape(-1, d)).reshape([n] * d)
    found = []
    for axis in range(d):
        rows = np.moveaxis(mean, axis, 0)
        places = np.moveaxis(grid, axis, 0)
        cut = (rows[:-1] > 0) != (rows[1:] > 0)
        before, after = rows[:-1][cut], rows[1:][cut]
        t = (before / (before - after))[:, None]
        found.append(places[:-1][cut] * (1 - t) + places[1:][cut] * t)
    return np.concatenate(found)
