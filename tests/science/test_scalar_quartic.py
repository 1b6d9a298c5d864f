"""Gradient descent on (x^2 - 1)^2 / 4: cycles, chaos and two boundaries a factor 2 apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from packs import assert_same_bits_alone, grid, train

from phasecube.analysis.boundary.along_axis import upper_boundary
from phasecube.analysis.lr.stability import StabilityRule, stable
from phasecube.analysis.maps.exact_lines import exact_line
from phasecube.engine.experiments.scalar_quartic import ScalarQuartic
from phasecube.engine.record import Outcome


def settled(lrs: list[float], steps: int = 2000, keep: int = 1024, **fixed: object):
    """Return the last records of `keep` steps of four seeds, as [lr, seed, step]."""
    trials = grid(lr=lrs, seed=range(4))
    _, found = train(ScalarQuartic(), trials, steps, **fixed)
    return {n: v.reshape(len(lrs), 4, -1)[..., -keep:] for n, v in found.items()}


def period(position_S: np.ndarray, longest: int = 16) -> int:
    """Return the shortest period, 0 where there is none up to `longest`."""
    for p in range(1, longest + 1):
        if np.abs(position_S[p:] - position_S[:-p]).max() < 1e-6:
            return p
    return 0


def test_periods_double_on_the_way_to_chaos() -> None:
    lrs = {0.99: 1, 1.1: 2, 1.23: 2, 1.24: 4, 1.28: 4, 1.29: 8, 1.35: 0}
    # Near a doubling the cycle attracts slowly: .98^2000 at lr .99.
    position = settled(list(lrs), keep=200)["position"]
    for place, expected in enumerate(lrs.values()):
        assert [period(x_S) for x_S in position[place]] == [expected] * 4


def test_the_period_four_begins_at_the_root_of_five_minus_one() -> None:
    onset = math.sqrt(5) - 1
    position = settled([onset - 4e-3, onset + 4e-3], steps=3000, keep=200)["position"]
    assert {period(x_S) for x_S in position[0]} == {2}
    assert {period(x_S) for x_S in position[1]} == {4}


def test_lyapunov_exponents_are_the_known_ones() -> None:
    stretch = settled([0.9, 0.99, 2.0], steps=3000, keep=2500)["stretch"].mean(-1)
    # At the minimum x' - 1 = (1 - 2 lr)(x - 1).
    np.testing.assert_allclose(stretch[0], math.log(0.8), atol=1e-6)
    np.testing.assert_allclose(stretch[1], math.log(0.98), atol=1e-3)
    np.testing.assert_allclose(stretch[2].mean(), math.log(3), atol=1e-3)


def test_at_two_the_exponent_is_ln_3_to_rounding() -> None:
    """x = sqrt(2) cos t is the map t -> t' = 3t + pi, and log |dx'/dx| is
    ln 3 + log |sin t'| - log |sin t|: but for its ends the sum telescopes."""
    found = settled([2.0], steps=2000, keep=2001)
    log_sine = np.log1p(-(found["position"][0] ** 2) / 2) / 2
    exponent = (found["stretch"][0, :, :-1].sum(-1) - log_sine[:, -1] + log_sine[:, 0]) / 2000
    # A rounding of x by e moves log |sin t| by e / sin^2 t, at most some 1e-16 / 1e-9 a step.
    np.testing.assert_allclose(exponent, math.log(3), atol=1e-8)


@pytest.fixture(scope="module")
def two_starts() -> xr.Dataset:
    """Learning rates .15, .25, ... 2.15, from both starts, as a study."""
    lrs = np.arange(21) * 0.1 + 0.15
    starts = []
    for start in ("minimum", "random"):
        trials = grid(lr=lrs.tolist(), seed=range(3))
        _, found = train(ScalarQuartic(), trials, 600, 20, start=start)
        starts.append({n: v.reshape(21, 3, -1) for n, v in found.items()})
    dims = ("start", "lr", "seed")
    ds = xr.Dataset(
        {n: ((*dims, "step"), np.stack([s[n] for s in starts])) for n in starts[0]},
        {"start": ["minimum", "random"], "lr": lrs, "step": np.arange(0, 601, 20)},
    )
    lost = np.isnan(ds.train_loss.values[..., -1])
    ds["outcome"] = (dims, np.where(lost, Outcome.DIVERGED, Outcome.DONE).astype(np.uint8))
    ds["n_recorded"] = ds.train_loss.notnull().sum("step")
    return ds


def test_divergence_begins_at_twice_the_learning_rate_of_convergence(
    two_starts: xr.Dataset,
) -> None:
    """The grid's cells are .1 wide and the two values lie in the middle of theirs."""
    converged = StabilityRule("converged", converged_below=1e-8, tail=5)
    for rule, edge in ((StabilityRule(), 2.0), (converged, 1.0)):
        found = upper_boundary(stable(two_starts, "train_loss", rule), "lr")
        np.testing.assert_allclose(found.boundary, edge, atol=0.05)
        assert (found.low <= edge).all() and (edge <= found.high).all()
        assert (found.n_holes == 0).all()


def test_what_is_stable_near_the_minimum_ends_where_its_sharpness_is_two_over_lr(
    two_starts: xr.Dataset,
) -> None:
    near = two_starts.sel(start="minimum")
    found = upper_boundary(stable(near, "distance", StabilityRule("locally_stable", tail=5)), "lr")
    assert float(found.boundary) == pytest.approx(1.0, abs=0.05)


def test_the_exact_lines_of_the_report_are_those_two() -> None:
    assert float(exact_line("quartic_convergence", {}, {})[0]) == 1
    assert float(exact_line("quartic_divergence", {}, {})[0]) == 2


def test_beyond_two_every_run_diverges_and_below_none() -> None:
    train_loss = settled([1.99, 2.0, 2.01], keep=1)["train_loss"][..., 0]
    assert np.isfinite(train_loss[:2]).all() and np.isnan(train_loss[2]).all()


def test_a_kick_out_of_the_minimum_returns_below_one_and_grows_above() -> None:
    lrs = [0.98, 1.02]
    distance = settled(lrs, steps=300, keep=301, start="minimum", kick=1e-4)["distance"]
    for place, lr in enumerate(lrs):
        rate = np.log(distance[place, :, 100] / distance[place, :, 0]) / 100
        # To first order; the cubic term is 1e-4 of it, and grows with the distance.
        np.testing.assert_allclose(rate, math.log(2 * lr - 1), atol=2e-3)


def test_a_trial_has_the_same_bits_alone_and_in_company() -> None:
    trials = grid(lr=[0.5, 1.3, 2.0], seed=[0, 3])
    assert_same_bits_alone(ScalarQuartic(), trials, (0, 3, 5), 50)


@pytest.mark.parametrize("seed", range(8))
def test_every_random_start_stays_finite_at_two(seed: int) -> None:
    _, found = train(ScalarQuartic(), grid(seed=[seed]), 1, lr=2.0)
    assert abs(found["position"][0, 0]) < 1.3
