"""Update rules over [K, P] held against torch.optim, one lane a torch optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasecube.engine.errors import ExperimentError
from phasecube.engine.optimizers.choose import hyperparameters, update_rule
from phasecube.engine.optimizers.projection import project_
from phasecube.engine.optimizers.rule import CHUNK_STEPS
from phasecube.engine.params import RunParams
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

N_STEPS = CHUNK_STEPS + 6  # crosses one border of the prepared coefficients
SHAPES = (torch.Size([7]), torch.Size([4, 6]))  # two tensors, one of odd size
SLICES = (slice(0, 7), slice(7, 31))
LAYOUT = WeightLayout(("bias", "weight"), SHAPES, SLICES)
N_WEIGHTS = LAYOUT.size
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
    known = RunParams(steps=N_STEPS).model_dump() | static
    fixed = {name: value for name, value in known.items() if name not in columns}
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
    rule = update_rule(hyperparameters(trials, LAYOUT, dtype, torch.device("cpu")))
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
    rule = update_rule(hyperparameters(trials, LAYOUT, torch.float64, torch.device("cpu")))
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
        rule = update_rule(hyperparameters(trials, LAYOUT, torch.float64, torch.device("cpu")))
        rule.update(moved_KP, gradient, {}, 0)
        found.append(moved_KP)
    assert torch.equal(*found)


def test_a_zero_weight_leaves_the_gradient_as_it_is() -> None:
    gradient = torch.tensor([[3.0, 4.0]])
    project_(torch.zeros(1, 2), gradient)
    assert gradient.tolist() == [[3.0, 4.0]]


def test_an_unknown_optimizer_names_those_that_exist() -> None:
    with pytest.raises(
        ExperimentError, match="adam, adamw, adamw_8bit, lion, muon, sgd, triple_momentum"
    ):
        update_rule(
            hyperparameters(lanes(optimizer="ada"), LAYOUT, torch.float32, torch.device("cpu"))
        )


RULES = {
    "sgd": {"momentum": 0.9, "nesterov": True, "l2": 0.1},
    "triple_momentum": {"momentum": 0.9, "lookahead": 0.5},
    "adam": {"l2": 0.1},
    "adamw": {"weight_decay": 0.1},
    "adamw_8bit": {"weight_decay": 0.1, "state_min_size": 50, "state_block_size": 32},
    "lion": {"weight_decay": 0.1},
    "muon": {"momentum": 0.95, "nesterov": True, "weight_decay": 0.1},
}
# Odd shapes, vectors that are matrices, and a side beyond one padded block.
MANY_SHAPES = ((7,), (13, 13), (3, 50), (50, 3), (1, 9), (9, 1), (17, 33), (2, 2, 5), (4,))


def layout_of(shapes: tuple[tuple[int, ...], ...]) -> WeightLayout:
    model = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(shape)) for shape in shapes)
    return WeightLayout.of(model)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", RULES)
def test_a_lane_has_the_same_bits_beside_a_copy_in_3_and_in_64(
    optimizer: str, dtype: torch.dtype
) -> None:
    layout, rng = layout_of(MANY_SHAPES), np.random.default_rng(0)
    known = RunParams(steps=5, optimizer=optimizer, schedule="cosine").model_dump()
    settings = {"lr": 0.1, "clip_norm": 30.0, "warmup_steps": 3, **RULES[optimizer]}
    varying = {
        name: (value * rng.choice([0.0, 0.5, 1.0], 64)).tolist()
        for name, value in settings.items()
        if not isinstance(value, bool) and not name.startswith("state_")
    }
    known |= {name: value for name, value in settings.items() if name not in varying}
    static = {name: value for name, value in known.items() if name not in varying}
    trials = Trials(np.arange(64), static, varying)
    torch.manual_seed(0)
    begin = torch.randn(64, layout.size, dtype=dtype)
    gradients_SKP = torch.randn(5, 64, layout.size, dtype=dtype)

    def end(lanes: list[int]) -> torch.Tensor:
        weights_KP = begin[lanes].clone()
        rule = update_rule(hyperparameters(trials.take(lanes), layout, dtype, torch.device("cpu")))
        moments = {name: torch.zeros_like(weights_KP) for name in rule.moments}
        for step, gradient_KP in enumerate(gradients_SKP[:, lanes]):
            rule.update(weights_KP, gradient_KP.clone(), moments, step)
        return weights_KP

    together = end(list(range(64)))
    assert together.isfinite().all()
    for lane in range(64):
        assert torch.equal(end([lane, lane])[0], together[lane])
    assert torch.equal(end([63, 5, 30]), together[[63, 5, 30]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_lion_is_the_published_rule(dtype: torch.dtype) -> None:
    """Written out from arXiv:2302.06675, algorithm 2, one number at a time."""
    trials = lanes("weight_decay", optimizer="lion")
    found = ours(trials, dtype)
    weights_KP, momentum_KP = start(dtype), torch.zeros(3, N_WEIGHTS, dtype=dtype)
    lr, beta1, beta2, decay = (
        torch.tensor(LANES[name], dtype=torch.float64)[:, None]
        for name in ("lr", "beta1", "beta2", "weight_decay")
    )
    for step, gradient_KP in enumerate(gradients(dtype)):
        c_KP = momentum_KP * beta1.to(dtype) + gradient_KP * (1 - beta1).to(dtype)
        kept_K1, lr_K1 = (1 - lr * decay).to(dtype), lr.to(dtype)
        weights_KP = weights_KP * kept_K1 - lr_K1 * c_KP.sign()
        momentum_KP = momentum_KP * beta2.to(dtype) + gradient_KP * (1 - beta2).to(dtype)
        # Weights below 8; at most one ulp of that a step, where a sum is rounded once for twice.
        torch.testing.assert_close(
            found[step], weights_KP, rtol=0, atol=8 * (step + 1) * torch.finfo(dtype).eps
        )


@pytest.mark.parametrize("nesterov", [False, True])
def test_triple_momentum_holds_torchs_momentum_and_nesterov_as_cases(nesterov: bool) -> None:
    dtype = torch.float64
    trials = lanes("momentum", optimizer="triple_momentum")
    ahead = LANES["momentum"] if nesterov else [0.0] * 3
    trials = Trials(trials.lanes, trials.static, {**trials.varying, "lookahead": ahead})

    def make(weight, p):
        return torch.optim.SGD(
            [weight], p["lr"], p["momentum"], nesterov=nesterov and p["momentum"] > 0,
            foreach=False,
        )  # fmt: skip

    # Numbers as in the test of sgd, two more sums a step of weights below 10.
    tolerance = N_STEPS * torch.finfo(dtype).eps * (3 * 40 * 0.1 + 3 * 10)
    torch.testing.assert_close(ours(trials, dtype), torchs(make, dtype), rtol=0, atol=tolerance)


def test_independent_decay_follows_the_schedule_and_not_the_rate() -> None:
    """nanodo's way to it: a decay divided by the peak rate."""
    independent = lanes(
        "weight_decay", optimizer="adamw", schedule="cosine", independent_weight_decay=True
    )
    divided = [decay / lr for decay, lr in zip(LANES["weight_decay"], LANES["lr"], strict=True)]
    small = [decay / 10 for decay in LANES["weight_decay"]]
    coupled = lanes("weight_decay", optimizer="adamw", schedule="cosine")
    one = Trials(
        independent.lanes, independent.static, {**independent.varying, "weight_decay": small}
    )
    two = Trials(
        coupled.lanes,
        coupled.static,
        {**coupled.varying, "weight_decay": [d / 10 for d in divided]},
    )
    # lr * (decay / lr) is off by two roundings of the decay: of weights below 8 each step.
    torch.testing.assert_close(
        ours(one, torch.float64), ours(two, torch.float64), rtol=0, atol=N_STEPS * 8 * 3e-16
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_is_torchs_to_the_rounding_of_the_norm(dtype: torch.dtype) -> None:
    trials = lanes(optimizer="sgd")
    clip_K = [0.0, 3.0, 1e3]  # never, always and never: norms are near sqrt 31
    trials = Trials(trials.lanes, trials.static, {**trials.varying, "clip_norm": clip_K})
    found = ours(trials, dtype)
    plain = ours(lanes(optimizer="sgd"), dtype)
    assert torch.equal(found[:, [0, 2]], plain[:, [0, 2]])
    weight = start(dtype)[1].clone().requires_grad_()
    optimizer = torch.optim.SGD([weight], LANES["lr"][1], foreach=False)
    # A sum of 31 squares, a root, a sum, a quotient and a product: each below an ulp, 35 of the
    # step's 3 lr; and an ulp of weights below 8.
    ulp = torch.finfo(dtype).eps
    tolerance = N_STEPS * ulp * (35 * 3 * LANES["lr"][1] + 8)
    for step, gradient_KP in enumerate(gradients(dtype)):
        weight.grad = gradient_KP[1].clone()
        norm = torch.nn.utils.clip_grad_norm_([weight], 3.0)
        assert norm > 3.0
        optimizer.step()
        torch.testing.assert_close(found[step, 1], weight.detach(), rtol=0, atol=tolerance)


def test_clipping_comes_before_the_projection_and_shortens_the_gradient() -> None:
    trials = lanes(optimizer="sgd", clip_norm=1.0, gradient_projection="orthogonal")
    weights_KP, gradient_KP = start(torch.float64), gradients(torch.float64)[0]
    rule = update_rule(hyperparameters(trials, LAYOUT, torch.float64, torch.device("cpu")))
    moved_KP = weights_KP.clone()
    rule.update(moved_KP, gradient_KP, {}, 0)
    lengths_K = (moved_KP - weights_KP).norm(dim=1) / torch.tensor(LANES["lr"]).double()
    # 1e-6 stands beside the norm, as in torch.
    torch.testing.assert_close(lengths_K, torch.ones(3).double(), rtol=0, atol=1e-6)
