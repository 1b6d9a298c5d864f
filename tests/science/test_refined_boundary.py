"""Searched boundaries against boundaries that are known, and against one that is none.

Most answers come from closed forms; what is trained says so.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packs import train

import phasecube
from phasecube.analysis.boundary.refined import (
    Crossings,
    TriedPoints,
    Verdict,
    bracket_crossings,
    crossings,
    model_of,
    n_against,
    pieces_of,
    tried_points,
    verdict_of,
)
from phasecube.analysis.search.facts import search_facts
from phasecube.engine.experiments.trainability_fractal import TrainabilityFractal
from phasecube.engine.tasks.directpred import critical_decay
from phasecube.engine.tasks.sgd_stability import gaussian_almost_sure_lr, gaussian_mean_square_lr
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_options import BoundaryOptions
from phasecube.sweeps.boundary_points import next_shares

Floats = np.ndarray
Answer = Callable[[Floats], Floats]
SLICE_L = np.linspace(0, 1, 65)

SGD = (SearchedAxis("batch", 1, 64, scale="log"), SearchedAxis("lr", 0.125, 2.0, scale="log"))
TWINS = (
    SearchedAxis("augmentation", 0.0, 1.0),
    SearchedAxis("weight_decay", 0.11, 0.26, scale="log"),
)


def sgd_line(share_L: Floats) -> Floats:
    """Card A3: 2B / (d + 1 + B), as shares of the axis."""
    batches = 64.0**share_L
    return np.array([SGD[1].share_of(gaussian_mean_square_lr(b, 10)) for b in batches])


def collapse_line(share_L: Floats) -> Floats:
    """Card A8: tau^2 / (4 (1 + s2)), as shares of the axis."""
    return np.array([TWINS[1].share_of(critical_decay(s2)) for s2 in share_L])


def searched(
    axes: tuple[SearchedAxis, ...],
    answer: Answer,
    n: int,
    *,
    batch: int = 8,
    seed: int = 0,
    **options: float,
) -> TriedPoints:
    shares_ND, answer_N = np.zeros((0, len(axes))), np.zeros(0, np.int64)
    while len(shares_ND) < n:
        count, wanted = min(batch, n - len(answer_N)), BoundaryOptions(**options)
        new = next_shares(axes, shares_ND, answer_N, count, wanted, seed)
        if not len(new):
            break
        shares_ND = np.concatenate([shares_ND, new])
        answer_N = np.concatenate([answer_N, np.asarray(answer(new)).astype(np.int64)])
    return TriedPoints(axes, shares_ND, answer_N, 1 - answer_N)


def along_y(tried: TriedPoints) -> Crossings:
    model = model_of(tried)
    assert model is not None
    return crossings(model, tried, np.stack([SLICE_L, np.zeros_like(SLICE_L)], 1), 1)


def verdict(tried: TriedPoints) -> Verdict:
    model = model_of(tried)
    assert model is not None
    return verdict_of(tried, pieces_of(tried), n_against(model, tried), along_y(tried))


@pytest.mark.parametrize(
    ("axes", "line"), [(SGD, sgd_line), (TWINS, collapse_line)], ids=["sgd", "directpred"]
)
def test_fifty_trials_find_an_exact_line_as_a_grid_of_five_hundred_does(
    axes: tuple[SearchedAxis, ...], line: Answer
) -> None:
    tried = searched(axes, lambda p: p[:, 1] > line(p[:, 0]), 50)
    found = along_y(tried)
    exact_C = line(SLICE_L[found.line_C])
    assert len(found.value_C) == len(SLICE_L)  # one crossing on each slice
    # Half a cell of a grid of 23 x 23 = 529 is 2.3 %.
    assert np.abs(found.value_C - exact_C).max() < 0.5 / 22
    assert ((found.low_C <= exact_C) & (exact_C <= found.high_C)).all()


def test_the_search_ends_by_itself_with_intervals_that_hold_the_exact_line() -> None:
    tried = searched(SGD, lambda p: p[:, 1] > sgd_line(p[:, 0]), 400, batch=16)
    found = along_y(tried)
    exact_C = sgd_line(SLICE_L[found.line_C])
    assert len(tried.shares_ND) < 200
    assert ((found.low_C <= exact_C) & (exact_C <= found.high_C)).all()
    assert np.abs(found.value_C - exact_C).max() < 0.01
    assert verdict(tried) is Verdict.LINE


def quartic(lr_N: Floats, x: float) -> Floats:
    """Return where 2,000 steps of x -> (1 + lr) x - lr x^3 end, inf where they are lost."""
    at_N = np.full(len(lr_N), x)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(2000):
            at_N = (1 + lr_N) * at_N - lr_N * at_N**3
    return np.where(np.isfinite(at_N), at_N, np.inf)


def test_one_axis_has_both_edges_of_the_quartic_each_to_its_own_question() -> None:
    """Card A4: the minimum attracts up to 1, runs stay finite up to 2."""
    axis = SearchedAxis("lr", 0.075, 2.9)

    def lr_of(p: Floats) -> Floats:
        return axis.low + p[:, 0] * (axis.high - axis.low)

    # Next to 1 a kick takes 1 / |1 - lr| steps and more to return: 2,000 decide up to .005.
    questions: list[tuple[float, Answer]] = [
        (1.0, lambda p: np.abs(quartic(lr_of(p), 1.001) - 1) > 1e-3),
        (2.0, lambda p: ~np.isfinite(quartic(lr_of(p), 0.3))),
    ]
    for edge, answer in questions:
        found = bracket_crossings(searched((axis,), answer, 60, batch=4))
        low, high = (axis.low + end * (axis.high - axis.low) for end in (found.low_C, found.high_C))
        assert len(low) == 1 and high[0] - low[0] <= 0.01 * (axis.high - axis.low)
        assert low[0] - 0.005 <= edge <= high[0] + 0.005


def converges(centre: tuple[float, float], decades: float) -> Answer:
    """Return the answer of card B7 in a window of learning rates, trained."""

    def answer(p: Floats) -> Floats:
        trials = [
            {"lr_layer0": 10.0 ** (centre[0] + u), "lr_layer1": 10.0 ** (centre[1] + v)}
            for u, v in (p - 0.5) * decades
        ]
        _, curves = train(TrainabilityFractal(), trials, 100, lanes=64)
        v_NS = np.where(np.isfinite(curves["normalised_loss"]), curves["normalised_loss"], 1e6)
        return v_NS[:, -20:].mean(1) < 1

    return answer


WINDOW = (SearchedAxis("u", -0.5, 0.5), SearchedAxis("v", -0.5, 0.5))
BUDGET: dict[str, Any] = {"batch": 32, "tolerance": 1e-4}


def test_a_fractal_is_said_to_be_no_smooth_boundary() -> None:
    """96 trainings in the window of the catalog that is a hundred times smaller."""
    tried = searched(WINDOW, converges((3.553, 1.486), 0.09), 96, **BUDGET)
    assert verdict(tried) is Verdict.NOT_SMOOTH


@pytest.mark.parametrize("line", [sgd_line, collapse_line])
def test_a_smooth_boundary_is_not_called_rough_at_the_same_budget(line: Answer) -> None:
    tried = searched(WINDOW, lambda p: p[:, 1] > line(p[:, 0]), 96, **BUDGET)
    pieces, model = pieces_of(tried), model_of(tried)
    assert [each.n_pieces for each in pieces] == [2] * len(pieces)
    assert model is not None and n_against(model, tried) == 0
    assert verdict(tried) is not Verdict.NOT_SMOOTH


def test_an_axis_of_chance_is_not_taken_for_a_fractal_where_seeds_tell_it() -> None:
    """Nine trials a point, the answer of each by chance near the line: 2 pieces all the same."""
    rng = np.random.default_rng(0)
    shares_ND = rng.random((400, 2))
    chance_N = 1 / (1 + np.exp(-(shares_ND[:, 1] - 0.5) / 0.02))
    n_yes_N = rng.binomial(9, chance_N)
    tried = TriedPoints(WINDOW, shares_ND, n_yes_N, 9 - n_yes_N)
    assert tried.disagrees.sum() > 20 and pieces_of(tried)[-1].n_pieces == 2
    assert verdict(tried) is Verdict.LINE


def run_ready(name: str, folder: Path) -> tuple[TriedPoints, Crossings, Floats]:
    for words in (["new", name], ["run", f"{name}.toml"]):
        command = [sys.executable, "-m", "phasecube", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=900)
    ds = phasecube.open(folder / "studies" / name)
    facts = search_facts(ds)
    assert facts.question is not None
    tried = tried_points(ds, facts.axes, facts.question)
    model = model_of(tried)
    x = facts.axes[0]
    at_L = np.unique([x.at(float(share)) for share in SLICE_L])
    lines_LD = np.array([[x.share_of(value), 0.0] for value in at_L])
    assert model is not None
    return tried, crossings(model, tried, lines_LD, 1), at_L


@pytest.mark.slow
def test_the_ready_search_of_sgd_holds_the_line_of_almost_every_run(tmp_path: Path) -> None:
    tried, found, batch_L = run_ready("sgd_boundary", tmp_path)
    lr = tried.axes[1]
    exact_L = [lr.share_of(gaussian_almost_sure_lr(int(b), 10).value) for b in batch_L]
    exact_C = np.array(exact_L)[found.line_C]
    # An interval is of 95 %, and slices share their points.
    assert ((found.low_C <= exact_C) & (exact_C <= found.high_C)).mean() > 0.9
    assert np.abs(found.value_C - exact_C).max() * np.log(16) < 0.08
    assert len(tried.shares_ND) <= 64 and len(set(found.line_C)) == len(batch_L)


@pytest.mark.slow
def test_the_ready_search_of_collapse_holds_the_exact_line(tmp_path: Path) -> None:
    tried, found, s2_L = run_ready("directpred_boundary", tmp_path)
    eta = tried.axes[1]
    exact_C = np.array([eta.share_of(critical_decay(s2)) for s2 in s2_L])[found.line_C]
    assert ((found.low_C <= exact_C) & (exact_C <= found.high_C)).mean() > 0.95
    # A run of 2,000 steps ends before collapse up to .5 % above the line, .6 % of the axis.
    assert np.abs(found.value_C - exact_C).max() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("decades", [0.9, 0.09])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_fractal_is_told_in_both_windows_whatever_is_searched_first(
    decades: float, seed: int
) -> None:
    tried = searched(WINDOW, converges((3.553, 1.486), decades), 256, seed=seed, **BUDGET)
    assert verdict(tried) is Verdict.NOT_SMOOTH
