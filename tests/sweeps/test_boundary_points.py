"""Which points a boundary sampler chooses, told by answers that are formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_brackets import n_pieces
from phasecube.sweeps.boundary_model import fitted, zeros
from phasecube.sweeps.boundary_options import BoundaryOptions
from phasecube.sweeps.boundary_points import next_shares
from phasecube.sweeps.objective import NO, UNKNOWN, YES

Floats = np.ndarray
Answer = Callable[[Floats], Floats]


def unit(d: int) -> list[SearchedAxis]:
    return [SearchedAxis(f"x{i}", 0.0, 1.0) for i in range(d)]


def searched(
    answer: Answer, n: int, axes: list[SearchedAxis], *, batch: int = 8, seed: int = 0
) -> tuple[Floats, Floats]:
    shares_ND, answer_N = np.zeros((0, len(axes))), np.zeros(0, np.int8)
    while len(shares_ND) < n:
        count = min(batch, n - len(shares_ND))
        new = next_shares(axes, shares_ND, answer_N, count, BoundaryOptions(), seed)
        if not len(new):
            break
        shares_ND = np.concatenate([shares_ND, new])
        answer_N = np.concatenate([answer_N, np.asarray(answer(new)).astype(np.int8)])
    return shares_ND, answer_N


def over_a_bend(p: Floats) -> Floats:
    return p[:, 1] - 0.2 - 0.6 * np.sin(1.4 * p[:, 0])


def below_a_bend(p: Floats) -> Floats:
    return over_a_bend(p) < 0


def in_a_disc(p: Floats) -> Floats:
    return np.hypot(p[:, 0] - 0.45, p[:, 1] - 0.55) < 0.3


def in_two_discs(p: Floats) -> Floats:
    near = np.hypot(p[:, 0] - 0.25, p[:, 1] - 0.3) < 0.15
    return near | (np.hypot(p[:, 0] - 0.7, p[:, 1] - 0.7) < 0.1)


def test_the_first_points_are_the_corners_and_a_spread_between() -> None:
    new = next_shares(unit(2), np.zeros((0, 2)), np.zeros(0), 8, BoundaryOptions(), 3)
    assert {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)} == {tuple(p) for p in new[:4].tolist()}
    assert len(np.unique(new, axis=0)) == 8 and ((new >= 0) & (new <= 1)).all()


def test_the_next_points_follow_from_those_tried_and_the_seed_alone() -> None:
    shares_ND, answer_N = searched(below_a_bend, 24, unit(2))
    again = [next_shares(unit(2), shares_ND, answer_N, 8, BoundaryOptions(), 1) for _ in range(2)]
    assert again[0].tobytes() == again[1].tobytes()
    other = next_shares(unit(2), np.zeros((0, 2)), np.zeros(0), 8, BoundaryOptions(), 2)
    assert not np.array_equal(other, shares_ND[:8])


def test_along_one_axis_a_bracket_is_cut_until_it_is_within_the_tolerance() -> None:
    shares_N1, answer_N = searched(lambda p: p[:, 0] > 0.37, 100, unit(1), batch=4)
    low, high = shares_N1[answer_N == NO].max(), shares_N1[answer_N == YES].min()
    # Halving 1 to .01 takes 7 points one by one; batches of 4 and a fifth elsewhere, more.
    assert low < 0.37 < high and high - low <= 0.01 and len(shares_N1) <= 24


def test_several_crossings_along_one_axis_are_all_cut() -> None:
    edges = (0.2, 0.45, 0.8)
    answer = lambda p: np.searchsorted(edges, p[:, 0]) % 2  # noqa: E731
    shares_N1, answer_N = searched(answer, 100, unit(1), seed=1)
    order = np.argsort(shares_N1[:, 0])
    at_N, answer_N = shares_N1[order, 0], answer_N[order]
    changes = np.flatnonzero(np.diff(answer_N))
    assert [at_N[i] < edge < at_N[i + 1] for i, edge in zip(changes, edges)] == [True] * 3
    assert (np.diff(at_N)[changes] <= 0.01).all()


@pytest.mark.parametrize(
    ("answer", "distance", "pieces"),
    [
        (below_a_bend, over_a_bend, 2),
        (in_a_disc, lambda p: np.hypot(p[:, 0] - 0.45, p[:, 1] - 0.55) - 0.3, 2),
    ],
)
def test_a_line_and_a_closed_curve_are_known_to_the_tolerance_before_the_budget_ends(
    answer: Answer, distance: Answer, pieces: int
) -> None:
    shares_ND, answer_N = searched(answer, 400, unit(2), batch=16)
    model = fitted(shares_ND, answer_N == YES)
    assert len(shares_ND) < 250  # a grid of this largest error has 50 x 50
    assert np.abs(distance(zeros(model, 2, 65))).max() < 0.01
    assert n_pieces(shares_ND, answer_N == YES) == pieces


def test_two_closed_curves_are_both_found() -> None:
    shares_ND, answer_N = searched(in_two_discs, 128, unit(2), batch=16)
    model = fitted(shares_ND, answer_N == YES)
    on_line = zeros(model, 2, 65)
    near = [np.hypot(*(on_line - centre).T) for centre in ((0.25, 0.3), (0.7, 0.7))]
    error = np.minimum(np.abs(near[0] - 0.15), np.abs(near[1] - 0.1))
    assert error.max() < 0.01 and all((gap < 0.2).sum() > 20 for gap in near)
    assert n_pieces(shares_ND, answer_N == YES) == 3


def test_a_surface_over_three_axes_is_found() -> None:
    centre = np.full(3, 0.5)
    ball = lambda p: np.linalg.norm(p - centre, axis=1) < 0.35  # noqa: E731
    shares_ND, answer_N = searched(ball, 128, unit(3), batch=16)
    model = fitted(shares_ND, answer_N == YES)
    radius = np.linalg.norm(zeros(model, 3, 21) - centre, axis=1)
    assert np.abs(radius - 0.35).max() < 0.04  # a grid of this largest error has 13^3 points


def test_a_fifth_of_the_points_looks_elsewhere() -> None:
    shares_ND, _ = searched(below_a_bend, 88, unit(2))
    off = np.abs(over_a_bend(shares_ND)) > 0.1
    # 8 begin anywhere; of the other 80, 16 are meant for elsewhere, some of which come close.
    assert 12 <= off[8:].sum() <= 30


def test_points_without_an_answer_stand_on_no_side_and_are_not_tried_again() -> None:
    def answer(p: Floats) -> Floats:
        return np.where(p[:, 0] > 0.8, UNKNOWN, below_a_bend(p))

    shares_ND, answer_N = searched(answer, 64, unit(2))
    assert len(np.unique(shares_ND, axis=0)) == len(shares_ND)
    known = answer_N != UNKNOWN
    model = fitted(shares_ND[known], answer_N[known] == YES)
    line = zeros(model, 2, 65)
    line = line[line[:, 0] < 0.75]
    assert np.abs(over_a_bend(line)).max() < 0.03


def test_whole_numbers_are_whole_and_no_point_is_tried_twice() -> None:
    axes = [
        SearchedAxis("batch", 1, 64, is_integer=True, scale="log"),
        SearchedAxis("lr", 0.1, 2.0, scale="log"),
    ]

    def answer(p: Floats) -> Floats:
        batch = np.array([axes[0].at(float(share)) for share in p[:, 0]])
        lr = np.array([axes[1].at(float(share)) for share in p[:, 1]])
        return lr > 2 * batch / (11 + batch)

    shares_ND, _ = searched(answer, 80, axes)
    points = [tuple(a.at(float(s)) for a, s in zip(axes, p)) for p in shares_ND]
    assert all(isinstance(batch, int) for batch, _ in points) and len(set(points)) == len(points)


def test_where_all_answers_are_alike_it_goes_on_looking() -> None:
    shares_ND, _ = searched(lambda p: np.zeros(len(p)), 40, unit(2))
    assert len(np.unique(shares_ND, axis=0)) == 40


def test_pieces_stay_few_for_a_curve_and_grow_where_answers_are_mixed() -> None:
    places = np.random.default_rng(0).random((400, 2))
    mixed = np.random.default_rng(1).random(400) < 0.5
    assert n_pieces(places, in_a_disc(places)) == 2
    assert n_pieces(places, mixed) > 20
