"""Which points a boundary sampler tries next: a pure function of those tried and their answers.

First the corners and an even spread; then most points on the boundary that a Gaussian process
(`boundary_model`) makes of the answers, each where it is least sure how far the boundary could
lie away; the others where nothing was tried. Along one axis brackets are cut, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_brackets import brackets
from phasecube.sweeps.boundary_model import SURE, BoundaryModel, fitted, one_thread, zeros
from phasecube.sweeps.boundary_options import BoundaryOptions
from phasecube.sweeps.objective import NO, UNKNOWN, YES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LATTICE = {2: 65, 3: 21}  # values a side of the grid on which the boundary is looked for
MOST_CANDIDATES = 600
FAR_CANDIDATES = 1024
MAX_WIDTH = 1.0  # of an interval: the whole axis


@dataclass
class Choice:
    """The points chosen so far, as shares, none of them tried or chosen twice."""

    axes: Sequence[SearchedAxis]
    taken: set[tuple[float, ...]]
    shares: list[Floats] = field(default_factory=list)

    def add(self, share_D: Floats) -> bool:
        """Take the nearest point that the axes have; return False if it is taken already."""
        found_D = snapped(self.axes, share_D[None])[0]
        key = _key(found_D)
        if key in self.taken:
            return False
        self.taken.add(key)
        self.shares.append(found_D)
        return True


def next_shares(
    axes: Sequence[SearchedAxis],
    shares_ND: Floats,
    answer_N: npt.NDArray[np.integer],
    n: int,
    options: BoundaryOptions,
    seed: int,
    counts_N2: npt.NDArray[np.integer] | None = None,
) -> Floats:
    """Return up to n new points as shares of the axes [n, D], none where all is known.

    `answer_N` is YES, NO or UNKNOWN (which stands on neither side, and is not tried again), and
    `counts_N2` how many trials of each point say no and yes.
    """
    d = len(axes)
    choice = Choice(axes, {_key(share_D) for share_D in shares_ND})
    for share_D in _start(d, seed)[len(shares_ND) :]:
        if len(choice.shares) < n:
            choice.add(share_D)
    known_N = answer_N != UNKNOWN
    yes_N = answer_N == YES
    both = len(np.unique(yes_N[known_N])) == 2
    at_boundary = 0
    if counts_N2 is None:
        counts_N2 = np.stack([answer_N == NO, yes_N], 1).astype(np.int64)
    if both and len(choice.shares) < n:
        far = _n_far(len(shares_ND) + len(choice.shares), n - len(choice.shares), options.explore)
        wanted = n - len(choice.shares) - far
        before = len(choice.shares)
        with one_thread():
            if d == 1:
                _cut(choice, shares_ND, known_N, yes_N, wanted, options.tolerance)
            else:
                _refine(choice, shares_ND, known_N, counts_N2, wanted, options.tolerance)
        at_boundary = len(choice.shares) - before
        if at_boundary == 0 and wanted > 0 and before == 0:
            return np.zeros((0, d))  # every interval is narrow enough
        n = min(n, before + at_boundary + far)
    _look_elsewhere(choice, shares_ND, n, seed)
    return np.array(choice.shares, np.float64).reshape(-1, d)


def snapped(axes: Sequence[SearchedAxis], shares_PD: Floats) -> Floats:
    """Return the shares of the nearest values that the axes have, whole where they are."""
    found_PD = np.clip(shares_PD, 0.0, 1.0)
    for place, axis in enumerate(axes):
        if axis.is_integer:
            column_P = found_PD[:, place]
            found_PD[:, place] = [axis.share_of(axis.at(float(share))) for share in column_P]
    return found_PD


def _key(share_D: Floats) -> tuple[float, ...]:
    return tuple(np.round(share_D, 9).tolist())


def _start(d: int, seed: int) -> Floats:
    """Return the corners of the cube and as many points between."""
    corners = np.array(list(product((0.0, 1.0), repeat=d)))
    return np.concatenate([corners, _sobol(d, 2**d, seed)])


def _sobol(d: int, n: int, seed: int) -> Floats:
    from scipy.stats import qmc

    found: Floats = qmc.Sobol(d, rng=np.random.default_rng([seed, n])).random(n)
    return found


def _n_far(tried: int, n: int, explore: float) -> int:
    """Return how many of the next n points look elsewhere, so that a share of all does."""
    return int((tried + n) * explore) - int(tried * explore)


def _cut(
    choice: Choice,
    shares_N1: Floats,
    known_N: Bools,
    yes_N: Bools,
    n: int,
    tolerance: float,
) -> None:
    """Cut the longest brackets in half, and the halves again while points are left."""
    at_N = shares_N1[known_N, 0]
    pairs_E2 = brackets(at_N[:, None], yes_N[known_N])
    open_E = [tuple(sorted(at_N[pair])) for pair in pairs_E2]
    open_E = [(low, high) for low, high in open_E if high - low > tolerance]
    left = n
    while open_E and left > 0:
        open_E.sort(key=lambda ends: (ends[0] - ends[1], ends[0]))
        low, high = open_E.pop(0)
        middle = (low + high) / 2
        if choice.add(np.array([middle])):
            left -= 1
            open_E += [(low, middle), (middle, high)]


def _refine(
    choice: Choice,
    shares_ND: Floats,
    known_N: Bools,
    counts_N2: npt.NDArray[np.integer],
    n: int,
    tolerance: float,
) -> None:
    """Choose points of the boundary where it could lie farthest away, apart from each other."""
    known_ND, counts_N2 = shares_ND[known_N], counts_N2[known_N]
    side_N = counts_N2[:, 1] > counts_N2[:, 0]
    model = fitted(known_ND, side_N, counts_N2)
    place_PD, width_P = candidates(choice.axes, model, known_ND, side_N, tolerance)
    open_P = width_P > tolerance
    place_PD, width_P = place_PD[open_P], width_P[open_P]
    lost_QD = shares_ND[~known_N]  # where trials fail, others would too
    score_P = width_P * _apart(model, place_PD, lost_QD)
    while n > 0 and len(place_PD) and score_P.max() > 0:
        best = int(score_P.argmax())
        n -= choice.add(place_PD[best])
        score_P = score_P * _apart(model, place_PD, place_PD[best : best + 1])
        score_P[best] = 0.0


def _apart(model: BoundaryModel, place_PD: Floats, other_QD: Floats) -> Floats:
    """Return 1 for places of which the others tell nothing, 0 where they tell all [P]."""
    if not len(other_QD) or not len(place_PD):
        return np.ones(len(place_PD))
    apart_P: Floats = 1 - model.likeness(place_PD, other_QD).max(1)
    return apart_P


def candidates(
    axes: Sequence[SearchedAxis],
    model: BoundaryModel,
    known_ND: Floats,
    yes_N: Bools,
    tolerance: float,
) -> tuple[Floats, Floats]:
    """Return places where the boundary may run [P, D], and how wide its interval is there [P].

    Places are those where the model's mean is 0, and the middles of brackets. The width is
    that of the 95 % interval across the boundary, less where the model thinks it elsewhere.
    """
    d = len(axes)
    pairs_E2 = brackets(known_ND, yes_N)
    middle_ED = known_ND[pairs_E2].mean(1)
    free_D = np.array([not axis.is_integer for axis in axes])
    found = []
    for place_PD in (zeros(model, d, LATTICE[d]), middle_ED):
        even = np.linspace(0, len(place_PD) - 1, min(len(place_PD), MOST_CANDIDATES)).astype(int)
        found.append(snapped(axes, place_PD[even]))
    found[0] = _onto(model, found[0], free_D)
    place_PD = np.concatenate(found)
    mean_P, sd_P = model.latent(place_PD)
    gradient_PD = model.gradient(place_PD)
    across_PD = gradient_PD[:, free_D] if free_D.any() else gradient_PD
    slope_P = np.maximum(np.linalg.norm(across_PD, axis=1), 1e-9)
    likely_P = np.exp(-0.5 * (mean_P / sd_P) ** 2)
    likely_P[: len(found[0])] = 1.0  # there it is 0 but for what is left of rounding
    width_P = np.minimum(2 * SURE * sd_P / slope_P, MAX_WIDTH) * likely_P
    # Where the model takes an answer for noise, it does not say how wide the bracket is.
    missed_E = _missed(model, known_ND, yes_N, tolerance)[pairs_E2[even]].any(1)
    ends_E2D = known_ND[pairs_E2[even]]
    length_E = np.linalg.norm(ends_E2D[:, 0] - ends_E2D[:, 1], axis=1)
    width_P[len(found[0]) :] = np.maximum(width_P[len(found[0]) :], missed_E * length_E)
    return place_PD, width_P


def _missed(model: BoundaryModel, known_ND: Floats, yes_N: Bools, tolerance: float) -> Bools:
    """Return which answers lie on the wrong side of the model's boundary, and not close to it."""
    mean_N = model.mean(known_ND)
    slope_N = np.linalg.norm(model.gradient(known_ND), axis=1)
    found_N: Bools = np.not_equal(mean_N > 0, yes_N)
    found_N &= np.abs(mean_N) > slope_N * tolerance / 2
    return found_N


def _onto(model: BoundaryModel, place_PD: Floats, free_D: Bools) -> Floats:
    """Return the places moved onto the boundary by one Newton step along the free axes."""
    if not free_D.any() or not len(place_PD):
        return place_PD
    mean_P = model.mean(place_PD)
    gradient_PD = np.where(free_D, model.gradient(place_PD), 0.0)
    square_P = np.maximum((gradient_PD**2).sum(1), 1e-12)
    reach = 1 / (LATTICE[place_PD.shape[1]] - 1)
    step_PD = np.clip(-(mean_P / square_P)[:, None] * gradient_PD, -reach, reach)
    moved_PD: Floats = np.clip(place_PD + step_PD, 0, 1)
    return moved_PD


def _look_elsewhere(choice: Choice, shares_ND: Floats, n: int, seed: int) -> None:
    """Choose points far from all others, of an even spread."""
    from scipy.spatial.distance import cdist

    d = len(choice.axes)
    far_PD = snapped(choice.axes, _sobol(d, FAR_CANDIDATES, seed))
    others_QD = np.concatenate([shares_ND.reshape(-1, d), np.reshape(choice.shares, (-1, d))])
    gap_P = cdist(far_PD, others_QD).min(1) if len(others_QD) else np.ones(len(far_PD))
    while len(choice.shares) < n and gap_P.max() > 0:
        best = int(gap_P.argmax())
        choice.add(far_PD[best])
        gap_P = np.minimum(gap_P, cdist(far_PD, far_PD[best : best + 1])[:, 0])
