"""The learning rates at which SGD loses its stability: theory against itself, then training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import xarray as xr
from packs import assert_same_bits_alone, grid, train

import phasecube
from phasecube.analysis.boundary.along_axis import Edge, upper_boundary
from phasecube.analysis.lr.stability import StabilityRule, stable
from phasecube.engine.experiments.sgd_quadratic import SgdQuadratic, SgdQuadraticParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.sgd_stability import (
    Moments,
    almost_sure_lr,
    gaussian_almost_sure_lr,
    gaussian_growth,
    gaussian_mean_square_lr,
    gradient_descent_lr,
    mean_square_lr,
    mean_square_operator,
    product_growth,
    rows_of,
    sphere_mean_square_lr,
)

SURE = NormalDist().inv_cdf(1 - 1e-6)  # a right draw fails a test once in a million


def radius(moments: Moments, lr: float, batch: int) -> float:
    return float(np.abs(np.linalg.eigvals(mean_square_operator(moments, lr, batch))).max())


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
@pytest.mark.parametrize("dimension", [1, 3, 10])
def test_the_operators_root_is_the_closed_form_of_both_laws(batch: int, dimension: int) -> None:
    gaussian = mean_square_lr(Moments.gaussian(dimension), batch)
    assert gaussian == pytest.approx(gaussian_mean_square_lr(batch, dimension), rel=1e-10)
    sphere = mean_square_lr(Moments.sphere(dimension), batch)
    assert sphere == pytest.approx(sphere_mean_square_lr(batch, dimension), rel=1e-10)


def test_features_of_constant_norm_end_at_two_over_the_trace_exactly() -> None:
    rows_RD = np.random.default_rng(0).standard_normal((30, 6)) * np.arange(1, 7)
    moments = Moments.of_rows(2.5 * rows_RD / np.linalg.norm(rows_RD, axis=1, keepdims=True))
    edge = 2 / np.trace(moments.second_DD)
    assert edge == pytest.approx(2 / 2.5**2, rel=1e-12)
    assert mean_square_lr(moments, 1) == pytest.approx(edge, rel=1e-10)
    assert radius(moments, edge, 1) == pytest.approx(1, abs=1e-10)
    assert radius(moments, 0.99 * edge, 1) < 1 < radius(moments, 1.01 * edge, 1)
    assert gradient_descent_lr(moments) > 2 * edge  # the largest eigenvalue says far less


@pytest.mark.parametrize("batch", [1, 5])
def test_a_general_data_set_turns_unstable_where_its_operator_passes_one(batch: int) -> None:
    moments = Moments.of_rows(np.random.default_rng(1).standard_normal((50, 10)))
    edge = mean_square_lr(moments, batch)
    assert radius(moments, edge, batch) == pytest.approx(1, abs=1e-10)
    assert radius(moments, 0.999 * edge, batch) < 1 < radius(moments, 1.001 * edge, batch)
    # The trace bound is necessary, not tight.
    if batch == 1:
        assert edge < 2 / np.trace(moments.second_DD)


def test_directions_that_no_example_has_change_no_boundary() -> None:
    rows_RD = np.random.default_rng(2).standard_normal((40, 5))
    wide_RD = np.concatenate([rows_RD, np.zeros((40, 3))], 1)
    few = mean_square_lr(Moments.of_rows(rows_RD), 2)
    assert mean_square_lr(Moments.of_rows(wide_RD), 2) == pytest.approx(few, rel=1e-10)


def test_the_operator_is_the_mean_of_a_step_squared() -> None:
    """E theta theta' after one step, over all pairs that a batch of two can be."""
    rows_RD = np.random.default_rng(3).standard_normal((4, 3))
    lr, theta_D = 0.3, np.array([1.0, -2.0, 0.5])
    after = np.zeros((3, 3))
    for one in rows_RD:
        for two in rows_RD:
            step_DD = np.eye(3) - lr / 2 * (np.outer(one, one) + np.outer(two, two))
            after += np.outer(step_DD @ theta_D, step_DD @ theta_D) / 16
    rows, columns = np.triu_indices(3)
    weight = np.where(rows == columns, 1, 2**0.5)
    operator = mean_square_operator(Moments.of_rows(rows_RD), lr, 2)
    found = operator @ (np.outer(theta_D, theta_D)[rows, columns] * weight) / weight
    np.testing.assert_allclose(found, after[rows, columns], rtol=1e-12)


@pytest.mark.parametrize(("lr", "batch"), [(0.2, 1), (0.6, 4), (1.35, 16)])
def test_quadrature_agrees_with_simulation_of_the_random_product(lr: float, batch: int) -> None:
    exact = gaussian_growth(lr, batch, 10)
    assert exact.error < 1e-12
    drawn = product_growth(
        lambda rng, n: rng.standard_normal((n, 10)), lr, batch, chains=64, steps=300, skip=0
    )
    assert abs(drawn.mean - exact.mean) < SURE * (exact.variance / (64 * 300)) ** 0.5


@pytest.mark.parametrize(("batch", "lr"), [(1, 0.18), (4, 0.588), (16, 1.301)])
def test_almost_every_run_shrinks_beyond_the_mean_square_boundary(batch: int, lr: float) -> None:
    root = gaussian_almost_sure_lr(batch, 10)
    assert root.low <= root.value <= root.high and root.high - root.low < 1e-10
    assert root.value == pytest.approx(lr, abs=5e-4)
    # Monte Carlo of others, read off a grid: .20, .60 and 1.35.
    assert gaussian_mean_square_lr(batch, 10) < root.value < 1.2 * lr


def test_for_one_example_of_constant_norm_both_boundaries_are_one() -> None:
    """|(I - lr aa') e|^2 = 1 - (2 lr r^2 - lr^2 r^4) c^2 <= 1 up to lr = 2 / r^2 for every a."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        normal = rng.standard_normal((n, 5))
        return normal * (5**0.5 / np.linalg.norm(normal, axis=1, keepdims=True))

    edge = sphere_mean_square_lr(1, 5)
    root = almost_sure_lr(
        lambda lr: product_growth(draw, lr, 1, chains=64, steps=100, skip=0), 0.5 * edge, 2 * edge
    )
    assert edge == 2 / 5
    # At the edge every step keeps the length exactly, whatever is drawn.
    assert root.value == pytest.approx(edge, rel=1e-9)


def test_a_root_that_is_not_bracketed_is_told() -> None:
    with pytest.raises(ValueError, match="below 0 at the first and above 0"):
        almost_sure_lr(lambda lr: gaussian_growth(lr, 1, 10), 0.01, 0.02)


@pytest.mark.parametrize("features", ["gaussian", "sphere"])
def test_trained_runs_lose_the_mean_square_that_the_theory_says(features: str) -> None:
    """One step from the start: E |theta|^2 = 1 - 2 lr + lr^2 E|a|^2 (a.e)^2."""
    n, lr, batch, d = 2000, 0.1, 4, 10
    trials = grid(seed=range(n))
    _, found = train(SgdQuadratic(), trials, 1, lr=lr, batch=batch, features=features, dimension=d)
    square_N = np.exp(found["log_norm2"][:, -1])
    law = {"gaussian": gaussian_mean_square_lr, "sphere": sphere_mean_square_lr}[features]
    expected = 1 - 2 * lr + 2 * lr**2 / law(batch, d)
    assert abs(square_N.mean() - expected) < SURE * square_N.std() / n**0.5


def test_log_norms_of_trained_runs_follow_the_exact_law_of_their_growth() -> None:
    steps, lrs = 100, [0.1, 0.18, 0.3]
    _, found = train(SgdQuadratic(), grid(lr=lrs, seed=range(32)), steps, steps)
    for lr, log_norm2_N in zip(lrs, found["log_norm2"][:, -1].reshape(3, 32)):
        exact = gaussian_growth(lr, 1, 10)
        rate_N = log_norm2_N / (2 * steps)
        assert abs(rate_N.mean() - exact.mean) < SURE * (exact.variance / (32 * steps)) ** 0.5


def boundary_of(log_norm2_LN: np.ndarray, lrs: np.ndarray) -> xr.Dataset:
    holds = xr.DataArray((log_norm2_LN <= 0).astype(float), {"lr": lrs}, ("lr", "seed"))
    return upper_boundary(holds, "lr")


@pytest.mark.parametrize("batch", [1, 8])
def test_single_runs_end_on_the_line_of_almost_every_run_within_a_cell(batch: int) -> None:
    """The mean-square line lies 7 to 11 % below it; a cell is 6 %, the catalog's."""
    exact = gaussian_almost_sure_lr(batch, 10).value
    lrs = np.geomspace(0.125, 2.0, 48)
    ratio = lrs[1] / lrs[0]
    lrs = lrs[np.abs(np.log(lrs / exact)) < 4 * np.log(ratio)]
    steps, n = 300, 16
    _, found = train(SgdQuadratic(), grid(lr=list(lrs), seed=range(n)), steps, steps, batch=batch)
    boundary = boundary_of(found["log_norm2"][:, -1].reshape(len(lrs), n), lrs)
    # A run's own boundary scatters by sqrt(variance / steps) / slope, .7 of a cell at B = 1; the
    # median of 16 by a third of that.
    assert boundary.state == Edge.FOUND
    assert abs(np.log(float(boundary.boundary) / exact)) < np.log(ratio)
    assert boundary.low <= exact <= boundary.high


@pytest.mark.slow
def test_the_ready_study_finds_the_exact_line_within_a_cell(tmp_path: Path) -> None:
    for words in (["new", "sgd_stability"], ["run", "sgd_stability.toml"]):
        command = [sys.executable, "-m", "phasecube", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=600)
    ds = phasecube.open(tmp_path / "studies" / "sgd_stability")
    found = upper_boundary(stable(ds, "log_norm2", StabilityRule(loss_above=0.0)), "lr")
    exact_B = [gaussian_almost_sure_lr(int(b), 10).value for b in ds.batch.values]
    cell = np.log(ds.lr.values[1] / ds.lr.values[0])
    assert (np.abs(np.log(found.boundary.values / exact_B)) < cell).all()
    assert (found.n_holes == 0).all()
    # Each interval holds its value with some 95 %.
    assert ((found.low <= exact_B) & (exact_B <= found.high)).sum() >= 6


def test_the_data_set_is_sampled_with_replacement_and_its_boundary_found() -> None:
    seed, batch, n_rows = 5, 2, 20
    data = SgdQuadratic().data(SgdQuadraticParams(rows=n_rows), Stream(seed))
    rows_RD = data["rows"].numpy()
    exact = almost_sure_lr(
        lambda lr: product_growth(rows_of(rows_RD), lr, batch, chains=64, steps=300, skip=50),
        0.05,
        1.0,
    )
    assert mean_square_lr(Moments.of_rows(rows_RD), batch) < exact.low
    # One data set, so one trial a learning rate: far from the root the sign is certain.
    lrs = [exact.low * 0.8, exact.high * 1.25]
    fixed = {"rows": n_rows, "batch": batch, "seed": seed}
    _, found = train(SgdQuadratic(), grid(lr=lrs), 400, 400, **fixed)
    assert found["log_norm2"][0, -1] < 0 < found["log_norm2"][1, -1]


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(lr=[0.05, 0.2, 1.0], seed=[0, 1, 7])
    for fixed in ({"batch": 3}, {"batch": 3, "rows": 9, "features": "sphere"}):
        assert_same_bits_alone(SgdQuadratic(), trials, (0, 4, 8), 20, **fixed)


def test_the_log_norm_outlives_squares_that_underflow() -> None:
    """|theta|^2 of e^-900 is no float64."""
    _, found = train(SgdQuadratic(), grid(seed=[0]), 440, 20, lr=0.9, batch=64)
    log_norm2 = found["log_norm2"][0]
    assert log_norm2[-1] < -800 and np.isfinite(log_norm2).all()
    exact = gaussian_growth(0.9, 64, 10)
    assert abs(log_norm2[-1] / 880 - exact.mean) < SURE * (exact.variance / 440) ** 0.5
