"""Self-supervised linear twins against the eigenmode equations of Tian, Chen & Ganguli 2021."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from packs import assert_same_bits_alone, grid, train
from scipy.integrate import solve_ivp

from phasecube.analysis.boundary.along_axis import Edge, upper_boundary
from phasecube.analysis.maps.exact_lines import exact_line
from phasecube.engine.experiments.directpred import DirectPred, DirectPredParams
from phasecube.engine.tasks.directpred import critical_decay, fixed_points, passage_time


def field(
    p: float, s: float, decay: float, augmentation: float, tau: float, rate: float
) -> list[float]:
    """The published equations of one eigenmode."""
    pull = tau - (1 + augmentation) * p
    return [rate * s * pull - decay * p, 2 * p * s * pull - 2 * decay * s]


def test_the_networks_gradient_is_the_published_field() -> None:
    """One step from p, s: weights move by lr times the field; s = w^2 up to lr^2."""
    values = {"decay": 0.07, "augmentation": 0.3, "tau": 0.9, "rate": 2.5}
    p, excess, lr = 0.6, 0.2, 1e-6
    s = p**2 / values["rate"] + excess
    fixed = {
        "weight_decay": values["decay"],
        "augmentation": values["augmentation"],
        "target_ratio": values["tau"],
        "predictor_rate": values["rate"],
    }
    _, found = train(DirectPred(), [{"start": p, "start_excess": excess}], 1, lr=lr, **fixed)
    moved = [np.diff(found[name][0])[0] / lr for name in ("predictor", "features")]
    np.testing.assert_allclose(moved, field(p, s, **values), rtol=1e-5)


def test_a_mode_follows_the_flow_to_first_order_in_the_learning_rate() -> None:
    """Against scipy's integration, off the invariant line."""
    end, error = 4.0, []
    for lr in (0.02, 0.01):
        steps = round(end / lr)
        trial = {"start": 0.9, "start_excess": 0.3, "weight_decay": 0.1, "augmentation": 0.5}
        _, found = train(DirectPred(), [trial], steps, steps, lr=lr, predictor_rate=2.0)
        flow = solve_ivp(
            lambda _, y: field(*y, 0.1, 0.5, 1.0, 2.0), (0, end), [0.9, 0.705], rtol=1e-10
        )
        last = [found[name][0, -1] for name in ("predictor", "features")]
        error.append(np.abs(np.array(last) - flow.y[:, -1]).max())
    assert error[1] < 5e-3 and error[0] / error[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("augmentation", [0.0, 0.5])
def test_modes_end_on_the_upper_fixed_point_and_above_the_boundary_on_none(
    augmentation: float,
) -> None:
    critical = critical_decay(augmentation)
    shares = [0.5, 0.9, 0.99, 1.01]
    # The slowest passage takes 1 / sqrt(.01) of the scale; 1.5 of it is left for the rest.
    steps = round(1.5 * passage_time(1.01 * critical, augmentation) / 0.5)
    trials = grid(weight_decay=[share * critical for share in shares])
    _, found = train(DirectPred(), trials, steps, steps, lr=0.5, augmentation=augmentation)
    last = found["predictor"][:, -1]
    for share, p in zip(shares[:3], last):
        assert p == pytest.approx(fixed_points(share * critical, augmentation)[1], abs=1e-3)
    assert last[3] < 1e-3
    if augmentation == 0:
        np.testing.assert_allclose(last[:3], [0.8536, 0.6581, 0.55], atol=1e-3)


def test_a_start_just_under_the_lower_fixed_point_collapses_and_just_over_it_survives() -> None:
    low, high = fixed_points(0.1, 0.5)
    trials = grid(start=[0.97 * low, 1.03 * low])
    fixed = {"weight_decay": 0.1, "augmentation": 0.5}
    _, found = train(DirectPred(), trials, 500, 500, lr=0.5, **fixed)
    assert found["predictor"][0, -1] < 1e-3
    assert found["predictor"][1, -1] == pytest.approx(high, abs=1e-3)


def test_the_distance_from_the_invariant_line_decays_with_twice_the_weight_decay() -> None:
    """exp(-2 eta t), to first order in lr; on the line the mode stays to rounding."""
    ratio = []
    for lr in (0.02, 0.01):
        steps = round(2.5 / lr)
        trial = {"start": 0.6, "start_excess": 0.3, "weight_decay": 0.2, "augmentation": 0.3}
        _, found = train(DirectPred(), [trial], steps, steps, lr=lr, predictor_rate=2.0)
        ratio.append(found["excess"][0, -1] / found["excess"][0, 0])
    assert 2 * ratio[1] - ratio[0] == pytest.approx(math.exp(-1), abs=2e-5)
    _, on_line = train(DirectPred(), [{}], 100, lr=0.1)
    assert np.abs(on_line["excess"]).max() < 1e-14


def test_the_boundary_over_augmentation_is_exact_to_half_a_per_cent() -> None:
    """Cells of .2 %; runs are long enough to show a collapse from .3 % above the boundary on."""
    lr, augmentations = 0.5, [0.0, 0.25, 1.0]
    shares = np.array([0.99, 0.994, 0.996, 0.998, 1.0, 1.002, 1.004, 1.006, 1.01])
    steps = round(1.3 * passage_time(1.003 * critical_decay(1.0), 1.0) / lr)
    trials = [
        {"augmentation": s2, "weight_decay": share * critical_decay(s2)}
        for s2 in augmentations
        for share in shares
    ]
    _, found = train(DirectPred(), trials, steps, steps, lr=lr)
    alive = (found["collapse"][:, -1] < 0.75).astype(float).reshape(len(augmentations), -1)
    holds = xr.DataArray(
        alive[..., None], {"s2": augmentations, "share": shares}, ("s2", "share", "seed")
    )
    boundary = upper_boundary(holds, "share")
    assert (boundary.state == Edge.FOUND).all() and (boundary.n_holes == 0).all()
    np.testing.assert_allclose(boundary.boundary, 1, atol=5e-3)


def test_the_exact_line_of_a_map_is_the_critical_decay() -> None:
    places = {"augmentation": [0.0, 1.0], "target_ratio": [1.0, 0.5]}
    np.testing.assert_allclose(exact_line("directpred_collapse", places, {}), [0.25, 0.03125])


def test_fixed_points_are_where_the_equations_rest_and_meet_at_the_boundary() -> None:
    for p in fixed_points(0.1, 0.5, 0.9):
        np.testing.assert_allclose(field(p, p**2, 0.1, 0.5, 0.9, 1.0), 0, atol=1e-15)
    low, high = fixed_points(critical_decay(0.5, 0.9), 0.5, 0.9)
    assert low == pytest.approx(high, abs=1e-7) and high == pytest.approx(0.3)
    assert all(math.isnan(p) for p in fixed_points(1.0, 0.5))
    assert passage_time(0.1, 0.5) == math.inf


def test_sgd_on_a_network_of_many_modes_collapses_at_the_same_boundary() -> None:
    """d = 4, 16 examples a step: far enough from the boundary that noise decides nothing."""
    critical = critical_decay(0.5)
    trials = grid(weight_decay=[0.6 * critical, 1.4 * critical], seed=[0, 1])
    fixed = {"dimension": 4, "batch": 16, "augmentation": 0.5}
    _, found = train(DirectPred(), trials, 600, 600, lr=0.1, **fixed)
    last = found["predictor"][:, -1].reshape(2, 2)
    np.testing.assert_allclose(last[0], fixed_points(0.6 * critical, 0.5)[1], rtol=0.1)
    assert (last[1] < 0.02).all()


def test_the_mean_over_views_is_what_batches_average_to() -> None:
    """Loss at the start and weights a step later: 500 batches against the formula."""
    kept = {"dimension": 3, "augmentation": 0.4, "start": 0.7, "weight_decay": 0.0, "lr": 1e-3}
    _, exact = train(DirectPred(), [{"seed": 0}], 1, **kept)
    _, drawn = train(DirectPred(), grid(seed=range(500)), 1, batch=64, **kept)
    for name in ("train_loss", "predictor", "features"):
        values = drawn[name][:, 0 if name == "train_loss" else 1]
        target = exact[name][0, 0 if name == "train_loss" else 1]
        # 4.9 standard errors: a right draw fails once in a million.
        assert abs(values.mean() - target) < 4.9 * values.std() / len(values) ** 0.5


def test_a_target_with_memory_is_a_moving_average_of_the_encoder() -> None:
    """Against the recursion by hand: the target moves first, then is aimed at."""
    eta, s2, memory, lr, w, p = 0.1, 0.5, 0.8, 0.05, 0.9, 0.7
    fixed = {"weight_decay": eta, "augmentation": s2, "target_memory": memory, "lr": lr}
    trial = {"start": p, "start_excess": w**2 - p**2}
    _, found = train(DirectPred(), [trial], 30, **fixed)
    target = w
    for step in range(31):
        assert found["predictor"][0, step] == pytest.approx(p, rel=1e-12)
        assert found["features"][0, step] == pytest.approx(w**2, rel=1e-12)
        target = memory * target + (1 - memory) * w
        pull = target - (1 + s2) * p * w
        p, w = p + lr * (w * pull - eta * p), w + lr * (p * pull - eta * w)


def test_a_target_with_memory_leaves_the_points_of_rest_and_the_boundary_where_they_are() -> None:
    critical = critical_decay(0.5)
    trials = grid(weight_decay=[0.5 * critical, 0.95 * critical, 1.05 * critical])
    fixed = {"augmentation": 0.5, "target_memory": 0.9, "lr": 0.5}
    _, found = train(DirectPred(), trials, 800, 800, **fixed)
    last = found["predictor"][:, -1]
    expected = [fixed_points(share * critical, 0.5)[1] for share in (0.5, 0.95)]
    np.testing.assert_allclose(last[:2], expected, atol=1e-3)
    assert last[2] < 1e-3


def test_a_start_without_real_weights_is_a_fault() -> None:
    faults = DirectPredParams(start=0.1, start_excess=-0.5).faults()
    assert [name for name, _ in faults] == ["start_excess"]


@pytest.mark.parametrize(
    "fixed", [{}, {"dimension": 3, "batch": 5}, {"dimension": 3, "target_memory": 0.7}]
)
def test_a_trial_has_the_same_bits_alone_and_in_company(fixed: dict[str, float]) -> None:
    trials = grid(weight_decay=[0.1, 0.2, 0.3], augmentation=[0.0, 0.5], seed=[0, 7])
    assert_same_bits_alone(
        DirectPred(), trials, (0, 5, 11), 12, 3, predictor_rate=1.5, dtype="float32", **fixed
    )
