"""The network of the trainability fractal: its formulas, its labels and its boundary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from packs import grid, train

from phasecube.engine.experiments.trainability_fractal import (
    TrainabilityFractal,
    TrainabilityFractalParams,
)
from phasecube.engine.streams import Stream

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
