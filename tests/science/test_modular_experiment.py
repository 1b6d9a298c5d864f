"""What a trial of modular arithmetic is given: rows, labels, weights, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from phasecube.engine.experiments.modular_arithmetic import (
    ModularArithmetic,
    ModularArithmeticParams,
)
from phasecube.engine.streams import Stream


def data(**params: Any) -> dict[str, torch.Tensor]:
    return ModularArithmetic().data(ModularArithmeticParams(**params), Stream(3))


def weights(**params: Any) -> dict[str, torch.Tensor]:
    chosen = ModularArithmeticParams(**params)
    model = ModularArithmetic().model(chosen)
    ModularArithmetic().init(model, chosen, Stream(3))
    return model.state_dict()


def test_a_smaller_share_trains_on_the_first_rows_of_a_larger_one() -> None:
    small, large = data(train_fraction=0.3), data(train_fraction=0.6)
    assert len(small["label"]) == round(0.3 * 529) and len(large["label"]) == round(0.6 * 529)
    assert torch.equal(small["left"], large["left"])
    assert torch.equal(small["label"], large["label"][: len(small["label"])])


def test_corruption_touches_the_first_rows_only_and_grows_from_the_same_wrong_labels() -> None:
    clean, some, more = (data(label_corruption=xi) for xi in (0.0, 0.2, 0.4))
    n = len(clean["label"])
    for xi, found in ((0.2, some), (0.4, more)):
        assert int(found["corrupted"].sum()) == int(xi * n)
        assert torch.equal(found["label"][int(xi * n) :], clean["label"][int(xi * n) :])
    kept = int(0.2 * n)
    assert torch.equal(some["label"][:kept], more["label"][:kept])


def test_corrupted_labels_are_right_about_once_in_p() -> None:
    found = data(label_corruption=1.0, modulus=41)
    right = (found["label"] == found["result"][: len(found["label"])]).float().mean().item()
    n = len(found["label"])
    assert right == pytest.approx(1 / 41, abs=4 * (1 / 41 / n) ** 0.5)


def test_the_scale_multiplies_one_draw() -> None:
    once, twice = weights(), weights(init_scale=2.0)
    for name, weight in once.items():
        torch.testing.assert_close(2 * weight, twice[name], rtol=1e-6, atol=0)


def test_each_kind_of_start_has_its_published_spread() -> None:
    # The standard deviation of n draws is off by 1 / sqrt(2 n): n >= 2944 here.
    tolerance = 4 / (2 * 2944) ** 0.5
    assert weights()["input"].std().item() == pytest.approx(0.5 / 256 ** (1 / 3), rel=tolerance)
    uniform = weights(init="uniform_fan_in")
    assert uniform["input"].abs().max() <= 1 / 46**0.5
    assert uniform["input"].std().item() == pytest.approx((1 / 46 / 3) ** 0.5, rel=tolerance)
    assert uniform["output"].std().item() == pytest.approx((1 / 128 / 3) ** 0.5, rel=tolerance)


def test_auto_takes_the_start_published_with_the_network() -> None:
    assert torch.equal(weights()["input"], weights(init="gromov")["input"])
    relu = {"layers": 2, "activation": "relu"}
    assert torch.equal(weights(**relu)["input"], weights(**relu, init="uniform_fan_in")["input"])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"operation": "divide", "modulus": 21}, "modulus"),
        ({"train_fraction": 0.0005}, "train_fraction"),
        ({"train_fraction": 0.9999}, "train_fraction"),
        ({"model": "transformer", "heads": 3}, "heads"),
        ({"model": "transformer", "layers": 2}, "layers"),
        ({"init": "gromov", "layers": 2}, "init"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(params: dict[str, Any], name: str) -> None:
    assert [fault[0] for fault in ModularArithmeticParams(**params).faults()] == [name]


@pytest.mark.parametrize("model", ["mlp", "transformer"])
def test_the_labels_of_the_layer_norms_name_every_weight(model: str) -> None:
    params = ModularArithmeticParams(model=model)
    module = ModularArithmetic().model(params)
    labels = ModularArithmetic().labels("weight_norm_per_layer", params)
    assert set(labels) == {name for name, _ in module.named_parameters()}
