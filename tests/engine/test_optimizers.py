"""Update rules over [K, P] held against torch.optim, one lane a torch optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.errors import ExperimentError
from phasecube.engine.optimizers.choose import update_rule
from phasecube.engine.optimizers.projection import project_
from phasecube.engine.optimizers.rule import CHUNK_STEPS
from phasecube.engine.trials import Trials

N_STEPS = CHUNK_STEPS + 6  # crosses one border of the prepared coefficients
SIZES = (7, 24)  # two tensors, one of odd size
N_WEIGHTS = sum(SIZES)
SLICES = (slice(0, 7), slice(7, 31))
DTYPES = [torch.float32, torch.float64]
LANES = {
    "lr": [0.1, 1e-3, 0.02],
    "momentum": [0.0, 0.9, 0.5],
    "beta1": [0.9, 0.0, 0.95],
    "beta2": [0.999, 0.98, 0.9],
    "eps": [1e-8, 1e-6, 1e-3],
    "weight_decay": [0.0, 5.0, 0.1],
    "l2": [0.0, 0.1, 1e-3],
}


def lanes(*used: str, **static: object) -> Trials:
    off = {"momentum": 0.0, "weight_decay": 0.0, "l2": 0.0}
    columns = {n: v if n in used or n not in off else [off[n]] * 3 for n, v in LANES.items()}
    fixed = {"nesterov": False, "gradient_projection": "none", **static}
    return Trials(np.arange(3), fixed, columns)


def gradients(dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(N_STEPS, 3, N_WEIGHTS, dtype=dtype)


def start(dtype: torch.dtype) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(3, N_WEIGHTS, dtype=dtype)


def ours(trials: Trials, dtype: torch.dtype) -> torch.Tensor:
    """Return the weights after each step, [S, K, P]."""
    weights_KP = start(dtype)
    rule = update_rule(trials, SLICES, dtype, torch.device("cpu"))
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    found = []
    for step, gradient_KP in enumerate(gradients(dtype)):
        rule.update(weights_KP, gradient_KP.clone(), moments, step)
        found.append(weights_KP.clone())
    return torch.stack(found)


def torchs(make, dtype: torch.dtype) -> torch.Tensor:
    """Return the same of one torch optimizer a lane; `make(weight, lane)` builds it."""
    found = torch.empty(N_STEPS, 3, N_WEIGHTS, dtype=dtype)
    for lane in range(3):
        weight = start(dtype)[lane].clone().requires_grad_()
        optimizer = make(weight, {name: values[lane] for name, values in LANES.items()})
        for step, gradient_KP in enumerate(gradients(dtype)):
            weight.grad = gradient_KP[lane].clone()
            optimizer.step()
            found[step, lane] = weight.detach()
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_is_torchs_adamw_bit_for_bit(dtype: torch.dtype) -> None:
    def make(weight, p):
        betas = (p["beta1"], p["beta2"])
        return torch.optim.AdamW(
            [weight], p["lr"], betas, p["eps"], p["weight_decay"], foreach=False
        )

    trials = lanes("weight_decay", optimizer="adamw")
    assert torch.equal(ours(trials, dtype), torchs(make, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_without_decay_is_torchs_adam_bit_for_bit(dtype: torch.dtype) -> None:
    def make(weight, p):
        return torch.optim.Adam(
            [weight], p["lr"], (p["beta1"], p["beta2"]), p["eps"], foreach=False
        )

    assert torch.equal(ours(lanes(optimizer="adam"), dtype), torchs(make, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_with_coupled_decay_is_torchs_to_rounding(dtype: torch.dtype) -> None:
    def make(weight, p):
        return torch.optim.Adam(
            [weight], p["lr"], (p["beta1"], p["beta2"]), p["eps"], weight_decay=p["l2"],
            foreach=False,
        )  # fmt: skip

    # g + l2 w is rounded twice instead of once: one ulp of a gradient of order 1 a step. A
    # step moves by lr g / (|g| + eps), so an ulp of g is at most an ulp over the smallest
    # moment's root, here > 1e-2 as gradients are of order 1, times lr = 0.1.
    ulp = torch.finfo(dtype).eps
    tolerance = N_STEPS * ulp * 0.1 / 1e-2
    trials = lanes("l2", optimizer="adam")
    torch.testing.assert_close(ours(trials, dtype), torchs(make, dtype), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_sgd_to_rounding(dtype: torch.dtype, nesterov: bool) -> None:
    trials = lanes("momentum", "l2", optimizer="sgd", nesterov=nesterov)

    def make(weight, p):
        return torch.optim.SGD(
            [weight], p["lr"], p["momentum"], weight_decay=p["l2"],
            nesterov=nesterov and p["momentum"] > 0, foreach=False,
        )  # fmt: skip

    # torch rounds `a + c b` once (fma), we round twice: up to three such sums a step, each
    # off by an ulp of numbers below 1 / (1 - 0.9) * 4 standard deviations = 40, times lr.
    # Weights stay below 10, and their own last sum adds an ulp of that.
    ulp = torch.finfo(dtype).eps
    tolerance = N_STEPS * ulp * (3 * 40 * 0.1 + 10)
    found, expected = ours(trials, dtype), torchs(make, dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_decoupled_decay_of_sgd_shrinks_the_weight_before_the_step() -> None:
    trials = lanes("weight_decay", optimizer="sgd")
    weights_KP, gradient_KP = start(torch.float64), gradients(torch.float64)[0]
    rule = update_rule(trials, SLICES, torch.float64, torch.device("cpu"))
    lr_K1 = torch.tensor(LANES["lr"], dtype=torch.float64)[:, None]
    decay_K1 = torch.tensor(LANES["weight_decay"], dtype=torch.float64)[:, None]
    expected = weights_KP * (1 - lr_K1 * decay_K1) - lr_K1 * gradient_KP
    rule.update(weights_KP, gradient_KP.clone(), {}, 0)
    # Three rounded operations on numbers below 4.
    torch.testing.assert_close(weights_KP, expected, rtol=0, atol=3 * 4 * 2.3e-16)


@given(st.integers(1, 40), st.floats(-3, 3), st.integers(0, 2**31))
def test_a_projected_gradient_is_orthogonal_and_as_long(n: int, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(2, n + 1, dtype=torch.float64)
    gradient = torch.randn(2, n + 1, dtype=torch.float64) * 10**scale
    before = gradient.norm(dim=1)
    # Where almost all of g lies along w, rescaling magnifies the rounding of what is left.
    left = gradient - (gradient * weight).sum(1, True) / weight.square().sum(1, True) * weight
    magnified = before / left.norm(dim=1)
    project_(weight, gradient)
    cosine = (weight * gradient).sum(1) / (weight.norm(dim=1) * before)
    assert torch.all(cosine.abs() <= 1e-14 * (n + 1) * magnified)
    torch.testing.assert_close(gradient.norm(dim=1), before, rtol=1e-14 * (n + 1), atol=0)


def test_perpgrad_projects_each_tensor_by_itself() -> None:
    weights_KP, gradient_KP = start(torch.float64), gradients(torch.float64)[0]
    plain = lanes(optimizer="sgd")
    perp = lanes(optimizer="sgd", gradient_projection="orthogonal")
    projected_KP = gradient_KP.clone()
    for place in SLICES:
        project_(weights_KP[:, place], projected_KP[:, place])
    found = []
    for trials, gradient in ((perp, gradient_KP.clone()), (plain, projected_KP)):
        moved_KP = weights_KP.clone()
        rule = update_rule(trials, SLICES, torch.float64, torch.device("cpu"))
        rule.update(moved_KP, gradient, {}, 0)
        found.append(moved_KP)
    assert torch.equal(*found)


def test_a_zero_weight_leaves_the_gradient_as_it_is() -> None:
    gradient = torch.tensor([[3.0, 4.0]])
    project_(torch.zeros(1, 2), gradient)
    assert gradient.tolist() == [[3.0, 4.0]]


def test_an_unknown_optimizer_names_those_that_exist() -> None:
    with pytest.raises(ExperimentError, match="adam, adamw, sgd"):
        update_rule(lanes(optimizer="lion"), SLICES, torch.float32, torch.device("cpu"))
