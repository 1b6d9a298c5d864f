"""Scores of single examples, by hand, and what they find among planted outliers (card B6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.experiments.planted_outliers import (
    PlantedOutliers,
    PlantedOutliersParams,
)
from phasecube.engine.measures.examples import el2n, grand, loss_change, precision_at
from phasecube.engine.streams import Stream
from phasecube.engine.tasks.planted_outliers import planted_outliers

LR, SEEDS = 2.0, 8


def test_el2n_is_the_length_of_the_error_by_hand() -> None:
    """Two classes: sqrt 2 times the probability of the wrong one; three classes by numpy."""
    logits_RC = torch.tensor([[0.0, 0.0], [0.0, np.log(3)], [0.0, np.log(3)]], dtype=torch.float64)
    found = el2n(logits_RC, torch.tensor([0, 1, 0]))
    assert found.tolist() == pytest.approx([2**0.5 * p for p in (1 / 2, 1 / 4, 3 / 4)])
    three = el2n(torch.log(torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)), torch.tensor([1]))
    assert float(three) == pytest.approx((0.2**2 + 0.7**2 + 0.5**2) ** 0.5)


def test_grand_of_logistic_regression_is_the_error_times_the_inputs_length() -> None:
    torch.manual_seed(0)
    x_RD, y_R = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 2
    weights = {"w": torch.randn(3, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}

    def loss(at, x_D, y):
        return torch.nn.functional.softplus((1 - 2 * y) * (x_D @ at["w"] + at["b"]).sum())

    error_R = ((x_RD @ weights["w"]).sigmoid() - y_R).abs()
    length_R = (x_RD.square().sum(1) + 1).sqrt()  # the bias is one more input, of 1
    found_R = grand(loss, weights, (x_RD, y_R))
    torch.testing.assert_close(found_R, error_R * length_R, rtol=1e-12, atol=0)


def test_the_change_of_a_loss_is_that_between_both_ends_of_a_step() -> None:
    weights, update = {"w": torch.tensor([3.0, -1.0])}, {"w": torch.tensor([-1.0, 0.5])}
    found = loss_change(lambda at: at["w"].square(), weights, update)
    assert found.tolist() == [4.0 - 9.0, 0.25 - 1.0]


def test_precision_counts_the_special_among_the_largest() -> None:
    scores, special = torch.tensor([5.0, 1.0, 4.0, 3.0]), torch.tensor([True, True, False, False])
    assert [float(precision_at(scores, special, k)) for k in (1, 2, 4)] == [1.0, 0.5, 0.5]


def test_classes_lie_their_distance_apart_and_outliers_their_norm_away() -> None:
    x_RD = planted_outliers(4000, 400, 10, 6.0, 10.0, Stream(0))
    ordinary_RD, y_R = x_RD[400:], np.arange(4000)[400:] % 2
    between_D = ordinary_RD[y_R == 1].mean(0) - ordinary_RD[y_R == 0].mean(0)
    # A mean of 1800 rows has an error of 1 / sqrt(1800) a coordinate.
    assert np.linalg.norm(between_D) == pytest.approx(6.0, abs=4 * (2 / 1800) ** 0.5)
    away_D = x_RD[:400].mean(0) - ordinary_RD.mean(0)
    assert np.linalg.norm(away_D) == pytest.approx(10 * 10**0.5, abs=4 * (1 / 400) ** 0.5)
    assert abs(away_D @ between_D) / np.linalg.norm(away_D) < 4 * 6 * (1 / 400) ** 0.5


def test_outliers_that_are_the_rule_are_refused() -> None:
    ((parameter, _),) = PlantedOutliersParams(rows=10, outliers=6).faults()
    assert parameter == "outliers"


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    trials = grid(lr=[LR, LR / 7], seed=range(SEEDS))
    vectors = ["group_change", "loss_change"]
    return train(PlantedOutliers(), trials, 60, vectors=vectors, dtype="float64")[1]


def test_changes_of_all_rows_are_the_change_of_the_training_loss(found) -> None:
    change_S = np.diff(found["train_loss"], axis=1)
    # A sum of 500 losses of at most some hundred, each rounded.
    np.testing.assert_allclose(found["loss_change"].mean(2)[:, :-1], change_S, atol=1e-10)
    by_group = found["group_change"] @ np.array([5, 5, 490]) / 500
    np.testing.assert_allclose(by_group[:, :-1], change_S, atol=1e-10)


def test_near_the_edge_of_stability_the_rows_that_move_most_are_the_outliers(found) -> None:
    """Precision at k above .8, as card B6 asks; a seventh of the rate knows nothing of them."""
    share = found["change_precision"][:, 10:].mean(1)
    assert np.median(share[:SEEDS]) > 0.8
    assert np.median(share[SEEDS:]) < 0.2


def test_opposing_outliers_move_in_turns(found) -> None:
    """One class' losses rise where the other's fall, and at the next step the other way round."""
    zero_RS, one_RS, _ = np.moveaxis(found["group_change"][:SEEDS, 10:], 2, 0)
    opposed = (zero_RS * one_RS < 0).mean(1)
    turned = (zero_RS[:, 1:] * zero_RS[:, :-1] < 0).mean(1)
    assert np.median(opposed) > 0.8 and np.median(turned) > 0.8, (opposed, turned)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trial_has_the_same_bits_alone_and_in_a_pack(dtype: str) -> None:
    trials = grid(lr=[0.3, 3.0], seed=[0, 1])
    settings = {"vectors": ["group_change", "grand"], "dtype": dtype, "rows": 60, "outliers": 4}
    settings["spare"] = 1  # softplus rounds otherwise in the last few numbers of a pack
    assert_same_bits_alone(PlantedOutliers(), trials, (0, 3), 20, **settings)
