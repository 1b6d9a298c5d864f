"""Losses against their definitions, and where softmax collapses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from phasecube.engine.losses import LOSSES, centred_mse, cross_entropy, mse, stablemax_weight
from phasecube.engine.losses import stablemax_cross_entropy as stablemax
from phasecube.engine.measures.classification import (
    accuracy,
    hits,
    logit_margin,
    share,
    softmax_collapse,
)

logits = st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


def labels_of(logits_RC: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(logits_RC)) % logits_RC.shape[1]


@given(logits)
def test_mse_is_the_mean_over_rows_and_classes(logits_RC: torch.Tensor) -> None:
    label_R = labels_of(logits_RC)
    expected = functional.mse_loss(logits_RC, functional.one_hot(label_R, 4).double())
    torch.testing.assert_close(mse(logits_RC, label_R), expected)


@given(logits)
def test_centred_mse_equals_the_published_expansion(logits_RC: torch.Tensor) -> None:
    label_R = labels_of(logits_RC)
    z_RC = logits_RC - logits_RC.mean(1, keepdim=True)
    correct_R = z_RC.gather(1, label_R[:, None])[:, 0]
    expected = ((z_RC**2).sum(1) - 2 * correct_R).mean() + 1 - 1 / 4
    torch.testing.assert_close(centred_mse(logits_RC, label_R), expected)


@given(logits)
def test_cross_entropy_is_that_of_torch_in_float64(logits_RC: torch.Tensor) -> None:
    label_R = labels_of(logits_RC)
    torch.testing.assert_close(
        cross_entropy(logits_RC, label_R), functional.cross_entropy(logits_RC, label_R)
    )


@given(logits)
def test_stablemax_of_the_logits_is_softmax_of_the_signed_log(logits_RC: torch.Tensor) -> None:
    # s(x) = exp(sign(x) log(1 + |x|)), so StableMax is a softmax of that function.
    label_R = labels_of(logits_RC)
    squeezed_RC = logits_RC.sign() * torch.log1p(logits_RC.abs())
    expected = functional.cross_entropy(squeezed_RC, label_R)
    torch.testing.assert_close(stablemax(logits_RC, label_R), expected)


def test_the_stablemax_weight_is_smooth_at_zero_and_finite_at_its_poles() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    weight = stablemax_weight(x)
    weight.sum().backward()
    assert weight.tolist() == [0.5, 1.0, 2.0] and x.grad is not None
    assert x.grad.tolist() == [0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    ("dtype", "margin"), [(torch.float16, 9.0), (torch.float32, 18.0), (torch.float64, 38.0)]
)
def test_softmax_collapses_where_all_others_fall_below_half_a_rounding_step(
    dtype: torch.dtype, margin: float
) -> None:
    # 1 + e^-m rounds to 1 once e^-m <= eps / 2: m >= ln(2 / eps) = 7.6, 16.6, 36.7.
    assert softmax_collapse(torch.tensor([[0.0, -margin]], dtype=dtype)) == 1
    assert softmax_collapse(torch.tensor([[0.0, -margin + 3]], dtype=dtype)) == 0


def test_a_collapsed_row_that_is_right_has_loss_zero_and_pulls_its_label_no_more() -> None:
    row = torch.tensor([[20.0, 0.0]], requires_grad=True)
    loss = cross_entropy(row, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, row)
    assert loss.item() == 0 and gradient[0, 0].item() == 0


def test_stablemax_still_pulls_where_softmax_has_collapsed() -> None:
    row = torch.tensor([[20.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(stablemax(row, torch.tensor([0])), row)
    # d/dx log((x + 2) / (x + 1)) = 1 / 22 - 1 / 21
    assert gradient[0, 0].item() == pytest.approx(1 / 22 - 1 / 21, rel=1e-4)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_is_the_same_alone_and_under_vmap(name: str) -> None:
    logits_KRC = torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator())
    label_KR = torch.arange(15).reshape(3, 5) % 7
    together_K = torch.func.vmap(LOSSES[name])(logits_KRC, label_KR)
    alone_K = torch.stack([LOSSES[name](x, y) for x, y in zip(logits_KRC, label_KR, strict=True)])
    torch.testing.assert_close(together_K, alone_K, rtol=1e-14, atol=0)


def test_the_margin_is_negative_exactly_where_the_answer_is_wrong() -> None:
    logits_RC = torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    assert logit_margin(logits_RC[:1], torch.tensor([0])) == 2
    assert logit_margin(logits_RC[:1], torch.tensor([1])) == -2
    assert accuracy(logits_RC, torch.tensor([0, 1])) == 0.5


def test_the_share_over_no_rows_is_nan() -> None:
    flags = hits(torch.eye(2), torch.tensor([0, 0]))
    assert share(flags, torch.tensor([False, True])) == 0
    assert share(flags, torch.tensor([False, False])).isnan()
