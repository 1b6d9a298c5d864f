"""Values as histograms, against integrals of the normal law."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train
from scipy.special import softmax

from phasecube.engine.experiments import histogram_value
from phasecube.engine.experiments.histogram_value import HistogramValue, HistogramValueParams
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.histogram_value import (
    edges,
    hl_gauss,
    largest_mean_error,
    mean_error,
    moments,
    truncated_mean,
)

SMALL = {"rows": 12, "batch": 0, "test_rows": 8, "width": 6, "bins": 9}


def targets(y: list[float], **params: Any) -> np.ndarray:
    known = SimpleNamespace(**HistogramValueParams(**params).model_dump())
    return histogram_value._target(known, torch.tensor(y, dtype=torch.float64)).numpy()


def test_the_targets_are_the_normal_laws_shares_of_the_bins() -> None:
    y = [-4.0, -1.3, 0.0, 0.77, 3.9]
    found = targets(y, bins=21, bound=4.0, sigma_ratio=0.6)
    edge_E = edges(4.0, 21)
    exact = [hl_gauss(value, 0.6 * 8 / 21, edge_E) for value in y]
    np.testing.assert_allclose(found, exact, atol=1e-14)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.75, 2.0])
def test_the_mean_of_a_histogram_is_the_series_far_from_the_ends(ratio: float) -> None:
    """Bins of width 1, a centre at 0, 40 of them on either side."""
    edge_E = edges(40.5, 81)
    for y in (0.0, 0.1, 0.37, 0.5, 2.8):
        mean, _ = moments(hl_gauss(y, ratio, edge_E), edge_E)
        # The series ends where its terms are below exp(-2 (60 pi ratio)^2).
        assert mean - y == pytest.approx(mean_error(y, ratio, 1.0), abs=1e-13)
        assert abs(mean - y) <= largest_mean_error(ratio, 1.0) + 1e-13


def test_the_published_width_loses_five_millionths_of_a_bin() -> None:
    assert largest_mean_error(0.75, 1.0) == pytest.approx(4.8e-6, rel=0.01)
    assert largest_mean_error(1e-9, 1.0) == 0.5


def test_the_variance_of_a_histogram_is_the_laws_and_that_of_a_bin() -> None:
    """Up to terms of size exp(-2 pi^2 ratio^2), 3e-9 of a bin's square here, times some tens."""
    edge_E = edges(40.5, 81)
    for y in (0.0, 0.2, 0.5):
        _, variance = moments(hl_gauss(y, 1.0, edge_E), edge_E)
        assert variance == pytest.approx(1 + 1 / 12, abs=1e-7)


def test_near_the_ends_the_mean_is_that_of_the_law_cut_to_the_support() -> None:
    """Bins of a fiftieth of sigma; midpoints err by w^2 / 24 times a slope of order 1 / sigma."""
    edge_E, width = edges(4.0, 800), 0.01
    sigma = 0.5
    for y in (4.0, 3.7, -3.9):
        mean, _ = moments(hl_gauss(y, sigma, edge_E), edge_E)
        assert mean == pytest.approx(truncated_mean(y, sigma, 4.0), abs=width**2 / sigma)
    assert truncated_mean(4.0, sigma, 4.0) == pytest.approx(4 - sigma * math.sqrt(2 / math.pi))


def test_two_hot_keeps_the_mean_between_the_outer_centres() -> None:
    y = [-3.9, -1.3, 0.0, 0.77, 3.9]
    found = targets(y, loss="two_hot", bins=21, bound=4.0)
    centre_K = (edges(4.0, 21)[1:] + edges(4.0, 21)[:-1]) / 2
    np.testing.assert_allclose(found @ centre_K, np.clip(y, centre_K[0], centre_K[-1]), atol=1e-14)
    assert ((found > 0).sum(-1) <= 2).all() and found.min() == 0
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize("loss", ["mse", "two_hot", "hl_gauss"])
def test_loss_errors_and_pull_are_those_of_the_formulas(loss: str) -> None:
    """The network in NumPy, at the start."""
    fixed = {**SMALL, "loss": loss, "outlier_share": 0.3}
    params = HistogramValueParams(**fixed)
    data = {n: v.numpy() for n, v in HistogramValue().data(params, Stream(5)).items()}
    model = HistogramValue().model(params).double()
    HistogramValue().init(model, params, Stream(5))
    w = {n: p.detach().numpy() for n, p in model.named_parameters()}

    def outputs(x: np.ndarray) -> np.ndarray:
        for name in ("hidden.0", "hidden.1"):
            x = np.maximum(x @ w[f"{name}.weight"].T + w[f"{name}.bias"], 0)
        return x @ w["head.weight"].T + w["head.bias"]

    edge_E = edges(4.0, 9)
    centre_K = (edge_E[1:] + edge_E[:-1]) / 2
    out = outputs(data["x"])
    if loss == "mse":
        predicted, test = out[:, 0], outputs(data["test_x"])[:, 0]
        value, pull = ((predicted - data["y"]) ** 2).mean() / 2, np.abs(predicted - data["y"])
    else:
        q = targets(list(data["y"]), **fixed)
        p = softmax(out, -1)
        predicted, test = p @ centre_K, softmax(outputs(data["test_x"]), -1) @ centre_K
        value, pull = -(q * np.log(p)).sum(-1).mean(), np.linalg.norm(p - q, axis=-1)
    _, found = train(HistogramValue(), [{"seed": 5}], 1, dtype="float64", **fixed)
    assert found["train_loss"][0, 0] == pytest.approx(value, rel=1e-12)
    assert found["train_error"][0, 0] == pytest.approx(((predicted - data["y"]) ** 2).mean())
    assert found["test_error"][0, 0] == pytest.approx(((test - data["test_y"]) ** 2).mean())
    assert found["largest_pull"][0, 0] == pytest.approx(pull.max(), rel=1e-12)


def test_a_histogram_that_fits_its_targets_predicts_them_within_the_bins_error() -> None:
    """Two rows, fitted until the pull is gone; what is left of it bounds the rest."""
    fixed = {**SMALL, "rows": 2, "bins": 21, "width": 16, "noise": 0.0, "lr": 0.02}
    _, found = train(HistogramValue(), [{}], 600, 600, dtype="float64", **fixed)
    pull = found["largest_pull"][0, -1]
    assert pull < 0.01
    # |p - q| . |c| by Cauchy and Schwarz, and the error of the bins.
    left = pull * np.linalg.norm(np.linspace(-4, 4, 22)) + largest_mean_error(0.75, 8 / 21)
    assert found["train_error"][0, -1] < left**2


def test_no_row_pulls_at_a_histogram_by_more_than_root_two() -> None:
    trials = grid(outlier_share=[0.0, 0.5], seed=[0, 1])
    for loss in ("two_hot", "hl_gauss"):
        _, found = train(HistogramValue(), trials, 60, 5, loss=loss, lr=0.03, **SMALL)
        assert found["largest_pull"].max() <= math.sqrt(2)
    _, found = train(HistogramValue(), trials, 60, 5, loss="mse", lr=0.03, **SMALL)
    assert found["largest_pull"].max() > math.sqrt(2)


def test_targets_are_f_with_noise_and_the_share_of_outliers_asked_for() -> None:
    clean = HistogramValueParams(rows=4000, noise=0.0)
    f = HistogramValue().data(clean, Stream(1))["y"].numpy()
    spoiled = HistogramValueParams(rows=4000, noise=0.0, outlier_share=0.3, bound=4.0)
    y = HistogramValue().data(spoiled, Stream(1))["y"].numpy()
    share = (y != f).mean()
    assert abs(share - 0.3) < 4.9 * math.sqrt(0.21 / 4000)
    outliers = y[y != f]
    assert abs(outliers.mean()) < 4.9 * 4 / math.sqrt(3 * len(outliers)) and np.ptp(outliers) > 7.9
    noisy = HistogramValue().data(HistogramValueParams(rows=4000, noise=0.2), Stream(1))["y"]
    # The standard error of a standard deviation is 1 / sqrt(2 n) of it.
    assert (noisy.numpy() - f).std() == pytest.approx(0.2, rel=4.9 / math.sqrt(8000))


def test_a_law_wider_than_the_support_is_a_warning() -> None:
    assert HistogramValueParams().warnings() == []
    assert [n for n, _ in HistogramValueParams(sigma_ratio=20.0).warnings()] == ["sigma_ratio"]


@pytest.mark.parametrize("loss", ["mse", "two_hot", "hl_gauss"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(loss: str, dtype: str) -> None:
    trials = grid(outlier_share=[0.0, 0.2], sigma_ratio=[0.5, 2.0], seed=[0, 7])
    fixed = {**SMALL, "batch": 5, "loss": loss, "dtype": dtype}
    assert_same_bits_alone(HistogramValue(), trials, (0, 3, 7), 12, **fixed)
