"""Weights with learning rates of their own, held against parameter groups of torch.optim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment, Params
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.pack_state import build_state
from phasecube.engine.params import RunParams
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

SHAPES = {"embed": (5,), "first": (4, 6), "second": (6, 3), "bias": (3,)}
K, STEPS = 3, 70  # crosses a border of the prepared coefficients
FACTORS = {"first": np.array([0.25, 1.0, 3.0]), "bias": np.array([2.0, 2.0, 0.0])}


def layout(names: tuple[str, ...] = tuple(SHAPES)) -> WeightLayout:
    module = torch.nn.Module()
    for name in names:
        module.register_parameter(name, torch.nn.Parameter(torch.zeros(SHAPES[name])))
    return WeightLayout.of(module)


def trials(**static: Any) -> Trials:
    columns = {"lr": [0.1, 1e-3, 0.02], "weight_decay": [0.5, 0.0, 0.1]}
    known = RunParams(steps=STEPS, momentum=0.9, state_min_size=8).model_dump() | static
    return Trials(np.arange(K), {n: v for n, v in known.items() if n not in columns}, columns)


def moved(found: Trials, where: WeightLayout, place: slice, factors: Any) -> torch.Tensor:
    """Return the weights at `place` after STEPS steps."""
    torch.manual_seed(0)
    start_KP, gradients_SKP = torch.randn(K, 50), torch.randn(STEPS, K, 50)
    weights_KP = start_KP[:, place].clone()
    hyper = hyperparameters(found, where, torch.float32, torch.device("cpu"))
    rule = update_rule(hyper, factors)
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    for step, gradient_KP in enumerate(gradients_SKP):
        rule.update(weights_KP, gradient_KP[:, place].clone(), moments, step)
    return weights_KP


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_factor_is_the_same_as_another_lr_of_that_weight(optimizer: str) -> None:
    whole = layout()
    found = moved(trials(optimizer=optimizer), whole, slice(0, 50), FACTORS)
    for name, place in zip(whole.names, whole.slices, strict=True):
        factor_K = FACTORS.get(name, np.ones(K))
        own = trials(optimizer=optimizer)
        lr = [rate * factor for rate, factor in zip(own.varying["lr"], factor_K, strict=True)]
        own = Trials(own.lanes, own.static, {**own.varying, "lr": lr})
        alone = moved(own, layout((name,)), place, {})
        assert torch.equal(found[:, place], alone), name


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_factors_of_one_change_no_bit(optimizer: str) -> None:
    ones = {name: np.ones(K) for name in ("first", "second")}
    where = layout()
    plain = moved(trials(optimizer=optimizer), where, slice(0, 50), {})
    assert torch.equal(moved(trials(optimizer=optimizer), where, slice(0, 50), ones), plain)


def test_adamw_with_factors_is_torchs_with_parameter_groups_bit_for_bit() -> None:
    where = layout()
    found = moved(trials(optimizer="adamw"), where, slice(0, 50), FACTORS)
    torch.manual_seed(0)
    start_KP, gradients_SKP = torch.randn(K, 50), torch.randn(STEPS, K, 50)
    run = trials().varying
    for lane in range(K):
        rows = dict(zip(where.names, where.slices, strict=True))
        weights = {n: start_KP[lane, p].clone().requires_grad_() for n, p in rows.items()}
        groups = [
            {"params": [w], "lr": run["lr"][lane] * FACTORS.get(n, np.ones(K))[lane]}
            for n, w in weights.items()
        ]
        adamw = torch.optim.AdamW(groups, weight_decay=run["weight_decay"][lane], foreach=False)
        for gradient_KP in gradients_SKP:
            for weight, place in zip(weights.values(), where.slices, strict=True):
                weight.grad = gradient_KP[lane, place].clone()
            adamw.step()
        assert torch.equal(found[lane], torch.cat([w.detach() for w in weights.values()]))


class OwnRates(Params):
    rate: float = 1.0
    named: str = "weight"


class TwoLayers(Experiment[OwnRates]):
    name = "two_layers"
    params_type = OwnRates
    measures: Mapping[str, Any] = {}

    def model(self, params: OwnRates) -> torch.nn.Module:
        return torch.nn.Linear(3, 2)

    def data(self, params: OwnRates, stream: Any) -> dict[str, torch.Tensor]:
        return {}

    def lr_factor(self, params: OwnRates) -> dict[str, float]:
        return {params.named: params.rate}


def state(named: str, rates: list[float]) -> Any:
    static = RunParams().model_dump() | {"named": named}
    found = Trials(np.arange(len(rates)), static, {"rate": rates})
    return build_state(TwoLayers(), found, torch.device("cpu"))[0]


def test_each_lane_has_the_factor_of_its_trial_also_after_others_left() -> None:
    pack = state("weight", [1.0, 0.5, 4.0])
    assert pack.lr_factors["weight"].tolist() == [1.0, 0.5, 4.0]
    assert pack.take(np.array([2, 0])).lr_factors["weight"].tolist() == [4.0, 1.0]


@pytest.mark.parametrize(
    ("named", "rate", "said"),
    [
        ("wieght", 1.0, "lr_factor() names wieght; the trained weights are weight, bias"),
        ("weight", -1.0, "lr_factor() of weight must be finite and >= 0, got -1.0 to -1.0"),
    ],
)
def test_a_factor_that_cannot_be_is_refused(named: str, rate: float, said: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        state(named, [rate])
    assert said in str(caught.value)
