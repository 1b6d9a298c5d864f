"""A boundary that was searched, in numbers: where it runs, how surely, where nobody looked.

Points that were tried lie anywhere among the searched axes. A Gaussian process of their answers
(`sweeps.boundary_model`) gives the boundary and its interval along any line; along one axis the
brackets do. What is no smooth boundary is not given as one: no process suits all answers then, and
neighbours that agree, joined, fall into ever more pieces as points are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import xarray as xr

from phasecube.analysis.search.facts import curves_of
from phasecube.sweeps.adaptive_sections import QuestionSection
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_brackets import brackets, n_pieces
from phasecube.sweeps.boundary_model import SURE, BoundaryModel, fitted, one_thread
from phasecube.sweeps.objective import NO, YES, answers
from phasecube.sweeps.points import POINT

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

NODES = 513  # of a line: intervals are rounded outward to 1/512 of the axis
DOUBLINGS = 3  # pieces are counted at 1/8, 1/4, 1/2 of the points and at all
# From when on a boundary is called not smooth.
LEAST_PIECES, LEAST_GROWTH = 8, 1.4
LEAST_AGAINST, SHARE_AGAINST = 4, 0.02
NEAREST = 4  # points of each side that may be an end of a bracket
GAP_CANDIDATES = 4096


class Verdict(IntEnum):
    """What the answers allow to say."""

    NO_BOUNDARY = 0  # all known answers are alike
    LINE = 1  # intervals end within the axes on both sides
    OPEN = 2  # some do not: more points are needed there
    NOT_SMOOTH = 3  # no smooth boundary suits the answers


@dataclass(frozen=True)
class TriedPoints:
    """N points in the order they were tried, and how many of their trials say yes and no."""

    axes: tuple[SearchedAxis, ...]
    shares_ND: Floats
    n_yes_N: Ints
    n_no_N: Ints

    @property
    def has_answer(self) -> Bools:
        """Return which points have an answer: a majority."""
        return np.not_equal(self.n_yes_N, self.n_no_N)

    @property
    def says_yes(self) -> Bools:
        """Return which points answer yes."""
        return self.n_yes_N > self.n_no_N

    @property
    def disagrees(self) -> Bools:
        """Return the points whose trials disagree."""
        return np.minimum(self.n_yes_N, self.n_no_N) > 0


@dataclass(frozen=True)
class Crossings:
    """Where lines along one axis cross the boundary, as shares of that axis [C].

    `line_C` is the place of the line in what was asked for. An interval that reaches 0 or 1 has
    no end on that side.
    """

    line_C: Ints
    value_C: Floats
    low_C: Floats
    high_C: Floats

    @property
    def is_bounded(self) -> Bools:
        """Return whether the interval ends on both sides."""
        return (self.low_C > 0) & (self.high_C < 1)


@dataclass(frozen=True)
class Pieces:
    """Into how many pieces the first `n_points` fall, where neighbours that agree are joined."""

    n_points: int
    n_pieces: int


def values_of(axis: SearchedAxis, share_P: Floats) -> Floats:
    """Return the values at shares of an axis, not rounded where it has whole numbers."""
    if axis.scale == "log":
        return np.asarray(axis.low ** (1 - share_P) * axis.high**share_P)
    return np.asarray(axis.low * (1 - share_P) + axis.high * share_P)


def tried_points(
    ds: xr.Dataset, axes: Sequence[SearchedAxis], question: QuestionSection
) -> TriedPoints:
    """Return the points of a searched study, their trials' answers counted.

    Raises StudyError where the question's measure was not recorded.
    """
    outcome = ds.outcome.transpose(POINT, ...)
    n = outcome.sizes[POINT]
    curves = None if question.measure is None else curves_of(ds, question.measure)
    answer_N = answers(question, curves, outcome.values.ravel()).reshape(n, -1)
    shares_ND = [[axis.share_of(value) for value in ds[axis.name].values] for axis in axes]
    return TriedPoints(
        tuple(axes),
        np.array(shares_ND).T.reshape(n, len(axes)),
        np.count_nonzero(answer_N == YES, axis=1).astype(np.int64),
        np.count_nonzero(answer_N == NO, axis=1).astype(np.int64),
    )


def model_of(tried: TriedPoints) -> BoundaryModel | None:
    """Return the process of the known answers; None where they are alike."""
    known_N = tried.has_answer
    if len(np.unique(tried.says_yes[known_N])) < 2:
        return None
    counts_N2 = np.stack([tried.n_no_N, tried.n_yes_N], 1)
    with one_thread():
        return fitted(tried.shares_ND[known_N], tried.says_yes[known_N], counts_N2[known_N])


def pieces_of(tried: TriedPoints) -> tuple[Pieces, ...]:
    """Return the pieces at 1/8, 1/4, 1/2 and all of the points whose trials agree.

    Trials that disagree are chance, not a boundary that folds: their points are left out.
    """
    sure_N = tried.has_answer & ~tried.disagrees
    shares_ND, yes_N = tried.shares_ND[sure_N], tried.says_yes[sure_N]
    counts = [len(yes_N) >> halvings for halvings in range(DOUBLINGS, -1, -1)]
    return tuple(Pieces(n, n_pieces(shares_ND[:n], yes_N[:n])) for n in counts if n > 0)


def has_ever_more(pieces: Sequence[Pieces]) -> bool:
    """Return whether there are many pieces, and their number grew with the last doubling.

    On a fractal it grows about as the points do. Islands that are merely found late end to grow
    once they are found.
    """
    if len(pieces) < DOUBLINGS:
        return False
    before, half, whole = (each.n_pieces for each in pieces[-3:])
    return whole >= LEAST_PIECES and whole >= LEAST_GROWTH * max(half, before)


def n_against(model: BoundaryModel, tried: TriedPoints) -> int:
    """Return how many answers, unanimous ones, the process is sure (95 %) to be the other one.

    It takes for chance what no smooth boundary suits. Where there is one, and no chance, none is.
    """
    agreed_N = tried.has_answer & ~tried.disagrees
    shares_ND, yes_N = tried.shares_ND[agreed_N], tried.says_yes[agreed_N]
    with one_thread():
        mean_N, sd_N = model.latent(shares_ND)
    return int((((mean_N > 0) != yes_N) & (np.abs(mean_N) > SURE * sd_N)).sum())


def verdict_of(
    tried: TriedPoints, pieces: Sequence[Pieces], against: int, found: Crossings
) -> Verdict:
    """Return what the answers allow to say; `against` is `n_against`."""
    known_N = tried.has_answer
    if len(np.unique(tried.says_yes[known_N])) < 2:
        return Verdict.NO_BOUNDARY
    least = max(LEAST_AGAINST, SHARE_AGAINST * known_N.sum())
    if against >= least or has_ever_more(pieces):
        return Verdict.NOT_SMOOTH
    return Verdict.LINE if len(found.value_C) and found.is_bounded.all() else Verdict.OPEN


def bracket_crossings(tried: TriedPoints) -> Crossings:
    """Return the crossings along the only axis: the middles of brackets, and their ends."""
    known_N = tried.has_answer
    at_N = tried.shares_ND[known_N, 0]
    pairs_E2 = brackets(at_N[:, None], tried.says_yes[known_N])
    ends_E2 = np.sort(at_N[pairs_E2], 1).reshape(-1, 2)
    ends_E2 = ends_E2[np.argsort(ends_E2[:, 0])]
    line_E = np.zeros(len(ends_E2), np.int64)
    return Crossings(line_E, ends_E2.mean(1), ends_E2[:, 0], ends_E2[:, 1])


def crossings(model: BoundaryModel, tried: TriedPoints, lines_LD: Floats, along: int) -> Crossings:
    """Return where each line crosses the boundary; `lines_LD` holds its place on the other axes.

    The interval holds every place, connected to the crossing, of which the process is not sure
    (95 %) on which side it lies. It is never narrower than the bracket: a yes and a no among the
    nearest points, each moved along the boundary to the line.
    """
    node_T = np.linspace(0, 1, NODES)
    places = np.repeat(lines_LD[:, None], NODES, 1)
    places[:, :, along] = node_T
    flat_PD = places.reshape(-1, lines_LD.shape[1])
    with one_thread():
        mean_P, sd_P = model.latent(flat_PD)
    mean_LT, sd_LT = mean_P.reshape(-1, NODES), sd_P.reshape(-1, NODES)
    line_C, node_C = np.nonzero((mean_LT[:, :-1] > 0) != (mean_LT[:, 1:] > 0))
    before_C, after_C = mean_LT[line_C, node_C], mean_LT[line_C, node_C + 1]
    value_C = node_T[node_C] + before_C / (before_C - after_C) / (NODES - 1)
    low_C, high_C = _unsure(np.abs(mean_LT) < SURE * sd_LT, line_C, node_C)
    at_CD = lines_LD[line_C].copy()
    at_CD[:, along] = value_C
    offset_C2 = _bracket(model, tried, at_CD, along)
    low_C = np.minimum(node_T[low_C], value_C + offset_C2.min(1, initial=0))
    high_C = np.maximum(node_T[high_C], value_C + offset_C2.max(1, initial=0))
    return Crossings(line_C, value_C, np.clip(low_C, 0, 1), np.clip(high_C, 0, 1))


def _unsure(unsure_LT: Bools, line_C: Ints, node_C: Ints) -> tuple[Ints, Ints]:
    """Return the sure nodes next to each crossing, the ends of the line where there is none."""
    node_T = np.arange(unsure_LT.shape[1])
    sure_CT = ~unsure_LT[line_C]
    below_CT = sure_CT & (node_T <= node_C[:, None])
    above_CT = sure_CT & (node_T > node_C[:, None])
    low_C = np.where(below_CT, node_T, 0).max(1, initial=0)
    high_C = np.where(above_CT, node_T, node_T[-1]).min(1, initial=int(node_T[-1]))
    return low_C, high_C


def _bracket(model: BoundaryModel, tried: TriedPoints, at_CD: Floats, along: int) -> Floats:
    """Return how far along the axis a yes and a no nearby lie from the boundary [C, 2].

    Of the NEAREST points of each side the one that lies closest to it.
    """
    from scipy.spatial import KDTree

    found_C2 = np.zeros((len(at_CD), 2))
    if not len(at_CD):
        return found_C2
    slope_C = model.gradient(at_CD)[:, along]
    slope_C = np.where(np.abs(slope_C) < 1e-9, 1e-9, slope_C)
    for column, side in enumerate((True, False)):
        mine_ND = tried.shares_ND[tried.has_answer & (tried.says_yes == side)]
        k = min(NEAREST, len(mine_ND))
        near_CK = KDTree(mine_ND).query(at_CD, [*range(1, k + 1)])[1]
        mean_CK = model.mean(mine_ND)[near_CK]
        closest_C = np.abs(mean_CK).argmin(1)
        found_C2[:, column] = mean_CK[np.arange(len(at_CD)), closest_C] / slope_C
    return found_C2


def unsure_at(model: BoundaryModel, shares_PD: Floats) -> Bools:
    """Return whether the process is not sure (95 %) of the answer at each place."""
    with one_thread():
        mean_P, sd_P = model.latent(shares_PD)
    return np.asarray(np.abs(mean_P) < SURE * sd_P)


def distance_to_trials(tried: TriedPoints, shares_PD: Floats) -> Floats:
    """Return how far each place is from the nearest point with an answer, in shares."""
    from scipy.spatial import KDTree

    known_ND = tried.shares_ND[tried.has_answer]
    if not len(known_ND):
        return np.full(len(shares_PD), np.inf)
    return np.asarray(KDTree(known_ND).query(shares_PD)[0])


def largest_gap(tried: TriedPoints) -> float:
    """Return how far the place that lies farthest from all answers is from the nearest."""
    from scipy.stats import qmc

    d = len(tried.axes)
    return float(distance_to_trials(tried, qmc.Sobol(d, rng=0).random(GAP_CANDIDATES)).max())


def transition_width(model: BoundaryModel, tried: TriedPoints, along: int) -> float:
    """Return how far from the boundary trials of one point disagree, as a share of the axis.

    The distance, along the axis, that holds 9 of 10 such points; 0 where there is none.
    """
    split_ND = tried.shares_ND[tried.disagrees]
    if not len(split_ND):
        return 0.0
    slope_N = np.abs(model.gradient(split_ND)[:, along])
    off_N = np.abs(model.mean(split_ND)) / np.maximum(slope_N, 1e-9)
    return float(np.quantile(np.minimum(off_N, 1.0), 0.9))
