"""Two tasks in turn: the gap of the linear model against its closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from packs import assert_same_bits_alone, grid, train
from scipy.linalg import expm

from phasecube.engine.experiments.stability_gap import StabilityGap, StabilityGapParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.stability_gap import descent_path, gap, old_residual, rates

LINEAR = {"depth": 1, "rows": 3, "scale": 0.0}


def targets(**params: float) -> np.ndarray:
    """Both tasks' targets, [rows, 2]."""
    data = StabilityGap().data(StabilityGapParams(**params), Stream(0))
    return np.stack([data["y_old"].numpy(), data["y_new"].numpy()], -1)


@pytest.mark.parametrize("replay", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("overlap", [0.0, 0.6, 0.95])
def test_the_linear_model_follows_its_recursion(overlap: float, replay: float) -> None:
    """From weights 0, both phases; the sum over rows is the mean of the planes."""
    fixed = {**LINEAR, "overlap": overlap, "replay": replay, "target_overlap": 0.3, "switch": 15}
    _, found = train(StabilityGap(), [{}], 40, lr=0.2, **fixed)
    start_P2 = -targets(**fixed)
    path = descent_path(0.2, overlap, replay, 15, 40, start_P2)
    loss_2 = (path**2).mean(1) / 2
    # Rounding of some 40 steps of sums of 6.
    np.testing.assert_allclose(found["loss_old"][0], loss_2[:, 0], rtol=1e-12, atol=1e-28)
    np.testing.assert_allclose(found["loss_new"][0], loss_2[:, 1], rtol=1e-12, atol=1e-28)


def test_the_curve_after_the_switch_solves_the_flow() -> None:
    for overlap, replay in ((0.5, 0.5), (0.9, 0.2), (0.3, 0.0), (1.0, 0.4)):
        gram = np.array([[1, overlap], [overlap, 1]]) @ np.diag([replay, 1 - replay])
        for time in (0.3, 2.0, 9.0):
            exact = expm(-gram * time) @ np.array([0, -1.7])
            found = old_residual(np.array(time), overlap, replay, 1.7)
            assert found == pytest.approx(exact[0], rel=1e-12)


def test_the_gap_is_the_curves_maximum() -> None:
    time = np.linspace(0, 60, 600_001)
    for overlap, replay in ((0.5, 0.5), (0.9, 0.2), (0.2, 0.8)):
        curve = old_residual(time, overlap, replay, 2.0) ** 2 / 2
        when, depth = gap(overlap, replay, 2.0)
        assert when == pytest.approx(time[curve.argmax()], abs=1e-4)  # the grid's spacing
        assert depth == pytest.approx(curve.max(), rel=1e-8)
    assert gap(0.0, 0.5)[1] == gap(0.7, 1.0)[1] == 0
    assert gap(0.6, 0.0, 2.0) == (math.inf, 0.72)


def test_small_steps_have_the_depth_of_the_flow_to_first_order() -> None:
    overlap, replay, same, error = 0.7, 0.4, 0.3, []
    square = 1 + overlap**2 - 2 * overlap * same  # mean of the squared residual at the switch
    exact = square * gap(overlap, replay)[1]
    for lr in (0.1, 0.05):
        switch, steps = round(25 / lr), round(30 / lr)  # the gap is deepest 2.5 after the switch
        fixed = {"overlap": overlap, "replay": replay, "target_overlap": same, "switch": switch}
        _, found = train(StabilityGap(), [{}], steps, steps, lr=lr, **LINEAR, **fixed)
        error.append(found["gap_depth"][0, -1] - exact)
    assert abs(error[1]) < 0.05 * exact
    assert error[0] / error[1] == pytest.approx(2, rel=0.1)


def test_tasks_without_conflict_are_both_solved_in_the_end_and_the_gap_is_made_good() -> None:
    overlap = 0.7
    steps = 100 + round(25 / rates(overlap, 0.5)[1] / 0.5)
    _, found = train(StabilityGap(), [{}], steps, lr=0.5, overlap=overlap, switch=100, **LINEAR)
    # What is left is exp(-25) of the residuals.
    assert found["loss_old"][0, -1] < 1e-20 and found["loss_new"][0, -1] < 1e-20
    assert found["gap_depth"][0, -1] > 0.05
    assert found["recovery"][0, -1] == pytest.approx(1, abs=1e-15)


def test_without_replay_the_linear_model_recovers_nothing() -> None:
    overlap = 0.7
    fixed = {"overlap": overlap, "replay": 0.0, "switch": 60}
    _, found = train(StabilityGap(), [{}], 140, lr=0.5, **LINEAR, **fixed)
    depth = (1 + overlap**2) * gap(overlap, 0.0)[1]
    assert found["gap_depth"][0, -1] == pytest.approx(depth, rel=1e-12)
    assert found["recovery"][0, -1] == pytest.approx(0, abs=1e-12)


def test_orthogonal_tasks_have_no_gap_in_the_linear_model() -> None:
    _, found = train(StabilityGap(), [{}], 90, lr=0.5, overlap=0.0, switch=60, **LINEAR)
    assert found["gap_depth"][0, -1] < 1e-25
    assert (np.diff(found["loss_old"][0]) < 1e-25).all()


@pytest.mark.parametrize("activation", ["identity", "tanh"])
@pytest.mark.parametrize("every", [1, 20])
def test_depth_and_recovery_are_those_of_the_curve_of_every_step(
    activation: str, every: int
) -> None:
    """However seldom it is recorded."""
    fixed = {"depth": 3, "rows": 4, "width": 8, "activation": activation, "switch": 30}
    _, dense = train(StabilityGap(), [{}], 100, **fixed)
    _, found = train(StabilityGap(), [{}], 100, every, **fixed)
    loss = dense["loss_old"][0]
    worst = np.maximum.accumulate(np.where(np.arange(101) < 30, 0, loss))
    for at, step in enumerate(range(0, 101, every)):
        expected = 0 if step <= 30 else worst[step] - loss[30]
        assert found["gap_depth"][0, at] == pytest.approx(expected, abs=1e-15)
        if expected > 0:
            good = (worst[step] - loss[step]) / expected
            assert found["recovery"][0, at] == pytest.approx(good, abs=1e-9)
        else:
            assert found["recovery"][0, at] == 1


def test_both_tasks_have_the_overlaps_that_are_asked_for() -> None:
    params = StabilityGapParams(rows=5, overlap=0.6, target_overlap=-0.2)
    data = {k: v.numpy() for k, v in StabilityGap().data(params, Stream(3)).items()}
    eye = 5 * np.eye(5)
    np.testing.assert_allclose(data["x_old"] @ data["x_old"].T, eye, atol=1e-13)
    np.testing.assert_allclose(data["x_new"] @ data["x_new"].T, eye, atol=1e-13)
    np.testing.assert_allclose(data["x_old"] @ data["x_new"].T, 0.6 * eye, atol=1e-13)
    y = np.stack([data["y_old"], data["y_new"]])
    np.testing.assert_allclose(y @ y.T / 5, [[1, -0.2], [-0.2, 1]], atol=1e-14)


def test_what_never_learns_is_a_fault_and_a_conflict_a_warning() -> None:
    assert [n for n, _ in StabilityGapParams(scale=0.0, depth=2).faults()] == ["scale"]
    assert StabilityGapParams(scale=0.0).faults() == StabilityGapParams().warnings() == []
    assert [n for n, _ in StabilityGapParams(replay=1.0).warnings()] == ["replay"]
    assert [n for n, _ in StabilityGapParams(overlap=1.0).warnings()] == ["overlap"]


@pytest.mark.parametrize("fixed", [{}, {"depth": 3, "width": 9}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(fixed: dict[str, int], dtype: str) -> None:
    trials = grid(overlap=[0.2, 0.7], replay=[0.0, 0.5], seed=[0, 7])
    assert_same_bits_alone(StabilityGap(), trials, (0, 3, 7), 30, switch=12, dtype=dtype, **fixed)
