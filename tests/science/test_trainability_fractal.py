"""The network of the trainability fractal: its formulas, its labels and its boundary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from packs import grid, train

from phasecube.analysis.boundary.dimension import Roughness, boundary_dimension
from phasecube.analysis.lr.stability import StabilityRule, stable
from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiments.trainability_fractal import (
    TrainabilityFractal,
    TrainabilityFractalParams,
)
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, StopRule
from phasecube.engine.run_pack import run_pack
from phasecube.engine.streams import Stream
from phasecube.engine.trials import Trials

EXPERIMENT = TrainabilityFractal()
ACTIVATIONS = ("tanh", "relu", "identity")


def published_descent(
    x_RD: np.ndarray, y_R: np.ndarray, w0_DH: np.ndarray, w1_H1: np.ndarray, trial: dict[str, Any]
) -> np.ndarray:
    """Return the losses of steps 0, 1, … as arXiv:2402.06184 writes the network, by hand."""
    n, rows = len(w0_DH), len(x_RD)
    rates = trial["lr_layer0"], trial["lr_layer1"]
    losses = []
    for _ in range(trial["steps"] + 1):
        z_RH = x_RD @ w0_DH / math.sqrt(n)
        if trial["activation"] == "tanh":
            h_RH = np.tanh(z_RH * math.sqrt(2))
            slope_RH = math.sqrt(2) * (1 - h_RH**2)
        elif trial["activation"] == "relu":
            h_RH = np.maximum(z_RH, 0) * math.sqrt(2)
            slope_RH = math.sqrt(2) * (z_RH > 0)
        else:
            h_RH, slope_RH = z_RH, np.ones_like(z_RH)
        error_R1 = h_RH @ w1_H1 / math.sqrt(n) / math.sqrt(n) - y_R[:, None]
        losses.append(np.mean(error_R1**2))
        back_R1 = 2 * error_R1 / rows / n
        grad0_DH = x_RD.T @ (back_R1 @ w1_H1.T * slope_RH) / math.sqrt(n)
        w1_H1 = w1_H1 - rates[1] * h_RH.T @ back_R1
        w0_DH = w0_DH - rates[0] * grad0_DH
    return np.array(losses)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_losses_are_those_of_the_published_network_written_by_hand(activation: str) -> None:
    import torch

    params = TrainabilityFractalParams(width=5, activation=activation)  # type: ignore[arg-type]
    stream = Stream(3)
    model = EXPERIMENT.model(params).double()
    EXPERIMENT.init(model, params, stream)
    data = EXPERIMENT.data(params, stream)
    weights = {name: w.detach().numpy().T for name, w in model.named_parameters()}
    trials = grid(seed=[3], lr_layer0=[0.3, 5.0], lr_layer1=[0.7, 4.0])
    fixed = {"width": 5, "activation": activation, "dtype": "float64"}
    _, curves = train(EXPERIMENT, trials, 20, **fixed)
    for row, trial in enumerate(trials):
        by_hand = published_descent(
            data["x"].numpy().T,
            data["y"].numpy(),
            weights["layer0"],
            weights["layer1"],
            {**fixed, **trial, "steps": 20},
        )
        # Rounding of 20 steps that do not stretch differences.
        assert np.allclose(curves["train_loss"][row], by_hand, rtol=1e-11)
    assert all(torch.isfinite(t).all() for t in data.values())


@pytest.mark.parametrize(("activation", "points"), [("tanh", 72), ("relu", 72), ("identity", 8)])
def test_there_is_one_example_for_each_free_direction(activation: str, points: int) -> None:
    params = TrainabilityFractalParams(activation=activation)  # type: ignore[arg-type]
    data = EXPERIMENT.data(params, Stream(0))
    assert data["x"].shape == (8, points) and data["y"].shape == (points,)


def test_the_normalised_loss_is_the_loss_over_the_first_and_capped() -> None:
    trials = grid(lr_layer0=[1.0], lr_layer1=[1.0, 1e3])
    _, curves = train(EXPERIMENT, trials, 10, dtype="float64")
    ratio = curves["train_loss"] / curves["train_loss"][:, :1]
    assert ratio.max() > 1e6
    assert np.allclose(curves["normalised_loss"], np.minimum(ratio, 1e6), rtol=1e-12)


def test_trials_of_a_seed_differ_in_nothing_but_their_learning_rates() -> None:
    trials = grid(seed=[0, 1], lr_layer0=[0.1, 10.0], lr_layer1=[1.0])
    _, curves = train(EXPERIMENT, trials, 1, dtype="float64")
    first = curves["train_loss"][:, 0]
    assert first[0] == first[1] and first[2] == first[3] and first[0] != first[2]


def test_a_trial_at_the_boundary_has_the_same_bits_alone_and_in_company() -> None:
    lr = [10.0**e for e in (-1, 0, 0.5, 1, 1.2, 1.4, 2)]
    trials = grid(lr_layer0=lr, lr_layer1=lr)
    _, together = train(EXPERIMENT, trials, 60, dtype="float64")
    for row in (0, 20, 24, 48):
        _, alone = train(EXPERIMENT, trials[row : row + 1], 60, dtype="float64")
        assert alone["train_loss"][0].tobytes() == together["train_loss"][row].tobytes()


def converged_map(
    centre0: float, centre1: float, decades: float, side: int, activation: str = "tanh"
) -> xr.DataArray:
    """Return which runs converge over log10 of both learning rates, as the published map has it."""
    at = np.linspace(-0.5, 0.5, side) * decades
    lr0, lr1 = 10.0 ** (centre0 + at), 10.0 ** (centre1 + at)
    known = parameters(EXPERIMENT)
    static = {n: p.default for n, p in known.items() if p.static} | {"activation": activation}
    varying = {n: [p.default] * side**2 for n, p in known.items() if not p.static}
    varying["lr_layer1"] = np.repeat(lr1, side).tolist()
    varying["lr_layer0"] = np.tile(lr0, side).tolist()
    rule = RecordRule(np.array([0, *range(81, 101)]), ("train_loss",), dtype="float64")
    record = PackRecord.empty(side**2, rule)
    choice = EngineChoice(Engine.VMAP_FORWARD, 512, False, "asked for by a test")
    run_pack(
        EXPERIMENT, Trials(np.arange(side**2), static, varying), record, rule, StopRule(), choice
    )
    loss_NS = record.scalars_RMS[:, 0]
    v_NS = np.minimum(np.where(np.isfinite(loss_NS), loss_NS / loss_NS[:, :1], 1e6), 1e6)
    converged = (v_NS[:, 1:].mean(1) < 1).astype(float).reshape(side, side)
    return xr.DataArray(converged, {"lr_layer1": lr1, "lr_layer0": lr0}, ("lr_layer1", "lr_layer0"))


def dimension(holds: xr.DataArray) -> xr.Dataset:
    return boundary_dimension(holds, "lr_layer0", "lr_layer1")


def test_under_zoom_edges_grow_faster_than_those_of_a_line() -> None:
    whole = dimension(converged_map(1.5, 1.5, 9.0, 33))
    close = dimension(converged_map(3.553, 1.486, 0.09, 33))
    assert whole.dimension < 1.1 and close.roughness == Roughness.ROUGH
    # A line has as many edges in a window a hundred times smaller as before.
    assert close.n_edges > 10 * whole.n_edges and close.low > 1.1 and close.high <= 2.0


def test_labels_are_the_same_bit_for_bit_when_trained_again() -> None:
    again = [converged_map(3.553, 1.486, 0.09, 17) for _ in range(2)]
    assert again[0].equals(again[1])
    assert 0.2 < float(again[0].mean()) < 0.8  # where labels hang on the last bit


@pytest.mark.parametrize("measure", ["train_loss", "normalised_loss"])
def test_both_labels_of_the_cube_are_the_published_rule(measure: str) -> None:
    """`locally_stable` of the loss, and `converged` of the normalised loss with a bound of 1."""
    lr = [10.0**e for e in np.linspace(-1, 3, 7)]
    trials = grid(lr_layer0=lr, lr_layer1=lr)
    _, curves = train(EXPERIMENT, trials, 100, dtype="float64")
    v_NS = curves["train_loss"] / curves["train_loss"][:, :1]
    v_NS = np.minimum(np.where(np.isfinite(v_NS), v_NS, 1e6), 1e6)
    expected = v_NS[:, -20:].mean(1) < 1
    lost = ~np.isfinite(curves["train_loss"]).all(1)
    ds = xr.Dataset(
        {measure: (("trial", "step"), curves[measure])},
        {"trial": np.arange(len(trials)), "step": np.arange(101)},
    )
    ds["outcome"] = ("trial", np.where(lost, Outcome.DIVERGED, Outcome.DONE))
    ds["n_recorded"] = ("trial", np.isfinite(curves["train_loss"]).sum(1))
    rule = StabilityRule("locally_stable", tail=20)
    if measure == "normalised_loss":
        rule = StabilityRule("converged", converged_below=1.0, tail=20)
    found = stable(ds, measure, rule).values == 1
    assert found.any() and not found.all() and (found == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "share", "centre"),
    [
        ("tanh", 0.507, (3.553, 1.486)),
        ("relu", 0.266, (-2.6484, 1.6547)),
        ("identity", 0.226, (1.6687, 0.8109)),
    ],
)
def test_the_whole_window_is_nearly_smooth_and_its_boundary_rough_closer_by(
    activation: str, share: float, centre: tuple[float, float]
) -> None:
    """Card B7: share converged of another draw of weights and data; slopes of both windows."""
    whole = converged_map(1.5, 1.5, 9.0, 65, activation)
    close = converged_map(*centre, 0.09, 129, activation)
    assert abs(float(whole.mean()) - share) < 0.1  # the draw moves the boundary
    far, near = dimension(whole), dimension(close)
    assert far.dimension < 1.25 and 1.05 < near.dimension <= 2.0 and near.dimension > far.dimension
    assert near.low > 1.1
