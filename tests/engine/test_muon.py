"""Muon held against torch.optim.Muon, and its iteration against the singular values."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch

from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.optimizers.newton_schulz import orthogonalised
from phasecube.engine.params import RunParams
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

N_STEPS = 30
SHAPES = {"embedding": (5, 6), "wide": (4, 9), "bias": (9,), "tall": (19, 4), "square": (17, 17)}
LR, DECAY, MOMENTUM = [0.02, 0.001, 0.1], [0.1, 0.0, 1.0], [0.95, 0.9, 0.0]


def layout() -> WeightLayout:
    model = torch.nn.Module()
    for name, shape in SHAPES.items():
        model.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))
    return WeightLayout.of(model)


def ours(dtype: torch.dtype, **settings: object) -> dict[str, torch.Tensor]:
    """Return the weights of three lanes after N_STEPS, by name."""
    columns = {"lr": LR, "weight_decay": DECAY, "momentum": MOMENTUM}
    known = RunParams(steps=N_STEPS, optimizer="muon").model_dump() | settings
    static = {name: value for name, value in known.items() if name not in columns}
    where = layout()
    rule = update_rule(
        hyperparameters(Trials(np.arange(3), static, columns), where, dtype, torch.device("cpu"))
    )
    weights_KP, gradients_SKP = drawn(where, dtype)
    moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
    for step, gradient_KP in enumerate(gradients_SKP):
        rule.update(weights_KP, gradient_KP.clone(), moments, step)
    return where.views(weights_KP)


def torchs(dtype: torch.dtype, nesterov: bool, adjust_lr: str) -> dict[str, torch.Tensor]:
    """Return the same of torch.optim.Muon and torch.optim.AdamW, a pair for each lane."""
    where = layout()
    weights_KP, gradients_SKP = drawn(where, dtype)
    for lane in range(3):
        views = {name: view[lane] for name, view in where.views(weights_KP).items()}
        leaves = {name: view.clone().requires_grad_() for name, view in views.items()}
        others = [leaves.pop("embedding"), leaves.pop("bias")]
        optimizers = [
            torch.optim.Muon(
                leaves.values(), LR[lane], DECAY[lane], MOMENTUM[lane], nesterov,
                adjust_lr_fn=adjust_lr,
            ),
            torch.optim.AdamW(others, LR[lane], weight_decay=DECAY[lane], foreach=False),
        ]  # fmt: skip
        leaves |= dict(zip(("embedding", "bias"), others, strict=True))
        for gradient_KP in gradients_SKP:
            for name, view in where.views(gradient_KP).items():
                leaves[name].grad = view[lane].clone()
            for optimizer in optimizers:
                optimizer.step()
        for name, view in views.items():
            view.copy_(leaves[name].detach())
    return where.views(weights_KP)


def drawn(where: WeightLayout, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    weights_KP = torch.randn(3, where.size, dtype=torch.float64)
    gradients_SKP = torch.randn(N_STEPS, 3, where.size, dtype=torch.float64)
    return weights_KP.to(dtype), gradients_SKP.to(dtype)


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_is_torchs_muon_without_its_bfloat16(nesterov: bool, adjust_lr: str) -> None:
    found = ours(torch.float64, nesterov=nesterov, adjust_lr=adjust_lr)
    with patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
        expected = torchs(torch.float64, nesterov, adjust_lr)
    for name in SHAPES:
        # Five steps of the iteration, each of sums of 19 products of numbers below 1, whose slope
        # of at most 3.4445 magnifies what is before it: 19 * 3.4445^5 ulps of a direction, times
        # the largest rate (.1 * .2 * sqrt 19 or .1 * sqrt(19 / 4)), in each of the steps.
        ulp = torch.finfo(torch.float64).eps
        tolerance = N_STEPS * ulp * 19 * 3.4445**5 * 0.1 * math.sqrt(19 / 4)
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=tolerance)


def test_muon_leaves_what_is_no_matrix_to_adamw_bit_for_bit() -> None:
    found, expected = ours(torch.float32), torchs(torch.float32, False, "original")
    for name in ("embedding", "bias"):
        assert torch.equal(found[name], expected[name])


def test_muon_differs_from_torchs_by_the_rounding_to_bfloat16() -> None:
    found = ours(torch.float32, nesterov=True)
    expected = torchs(torch.float32, True, "match_rms_adamw")
    for name in ("wide", "tall", "square"):
        moved = (found[name] - drawn_at(name)).flatten(1).norm(dim=1)
        apart = (found[name] - expected[name]).flatten(1).norm(dim=1)
        # bfloat16 keeps 8 bits: .4 % of each product of the iteration, whose slope of at most
        # 3.4445 a step magnifies the first of its five; independent from step to step.
        assert (apart / moved < 0.05).all()


def drawn_at(name: str) -> torch.Tensor:
    where = layout()
    return where.views(drawn(where, torch.float32)[0])[name]


@pytest.mark.parametrize("pattern", ["", "*embed*, square", "*"])
def test_patterns_say_which_matrices_adamw_moves(pattern: str) -> None:
    found = ours(torch.float64, adamw_weights=pattern, lr=0.1)
    as_muon, as_adamw = (
        ours(torch.float64, adamw_weights=""),
        ours(torch.float64, adamw_weights="*"),
    )
    named = {"": (), "*embed*, square": ("embedding", "square"), "*": tuple(SHAPES)}[pattern]
    for name in SHAPES:
        assert torch.equal(found[name], (as_adamw if name in named else as_muon)[name])


def test_the_share_of_adamw_in_the_rate_moves_only_what_is_no_matrix() -> None:
    found, frozen = ours(torch.float64), ours(torch.float64, adamw_lr_ratio=0.0, weight_decay=0.0)
    for name in ("wide", "tall", "square"):
        assert torch.equal(found[name], frozen[name])


def test_singular_values_end_near_one_and_vectors_stay() -> None:
    """Card A5: values of at least .003 of the norm end within [.68, 1.20]."""
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(2, 24, 20, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(2, 20, 20, dtype=torch.float64))
    values = torch.logspace(math.log10(0.003), 0, 20, dtype=torch.float64)
    values = values.clamp(min=0.003 * values.norm().item())
    matrix = left @ torch.diag(values) @ right.mT
    found = orthogonalised(matrix)
    ended = torch.linalg.svdvals(found)
    assert ended.min() >= 0.68
    assert ended.max() <= 1.205
    # Same singular vectors: in their bases what is found is diagonal.
    inside = left.mT @ found @ right
    off = inside - torch.diag_embed(inside.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-12


def test_a_matrix_of_zeros_gives_no_direction() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))
