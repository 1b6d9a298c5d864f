"""Estimators of the KL to a reference, by enumeration of every token (Schulman 2020)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_update import B, G, L, V, made_update
from torch import Tensor

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import reference
from phasecube.engine.policy.training import chosen


def expected(estimator: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The penalty's mean over tokens that the policy of now samples and its gradient, logits,
    and the reference: each token in turn, weighted by its probability."""
    update, logits = made_update(reference=0.7, kl_estimator=estimator, kl_coefficient=1.0)
    chance_BGLV = update.log_probs_BGLV.detach().exp()
    whole = torch.ones(B, G, L, dtype=torch.bool)
    total = torch.zeros((), dtype=torch.float64)
    slope = torch.zeros_like(logits)
    for token in range(V):
        token_BGL = torch.full((B, G, L), token)
        at = replace(
            update,
            rollouts=replace(update.rollouts, token_BGL=token_BGL, valid_BGL=whole),
            log_prob_BGL=chosen(update.log_probs_BGLV, token_BGL),
        )
        # One token of each place counts as often as it is sampled.
        for b, g, place in np.ndindex(B, G, L):
            only = torch.zeros_like(whole)
            only[b, g, place] = True
            one = replace(at, rollouts=replace(at.rollouts, valid_BGL=only))
            value = reference.penalty(one)
            (part,) = torch.autograd.grad(value, logits, retain_graph=True)
            total += value.detach() * chance_BGLV[b, g, place, token]
            slope += part * chance_BGLV[b, g, place, token]
    assert update.reference_BGLV is not None
    return total, slope, logits, update.reference_BGLV


def divergence(first_BGLV: Tensor, second_BGLV: Tensor) -> Tensor:
    """KL of the first to the second, summed over tokens, from logits."""
    a, b = first_BGLV.log_softmax(-1), second_BGLV.log_softmax(-1)
    return (a.exp() * (a - b)).sum()


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_have_no_bias(estimator: str) -> None:
    total, _, logits, near = expected(estimator)
    assert float(total) == pytest.approx(float(divergence(logits.detach(), near)), rel=1e-12)


def test_k1_as_a_loss_has_a_mean_gradient_of_zero() -> None:
    _, slope, _, _ = expected("k1")
    assert slope.abs().max() < 1e-14


def test_k2_has_the_mean_gradient_of_the_divergence_to_the_reference() -> None:
    _, slope, logits, near = expected("k2")
    (exact,) = torch.autograd.grad(divergence(logits, near), logits)
    np.testing.assert_allclose(slope, exact, rtol=1e-10, atol=1e-14)


def test_k3_has_the_mean_gradient_of_the_divergence_from_the_reference() -> None:
    _, slope, logits, near = expected("k3")
    (exact,) = torch.autograd.grad(divergence(near, logits), logits)
    np.testing.assert_allclose(slope, exact, rtol=1e-10, atol=1e-14)


def test_k1_as_a_loss_is_told_to_hold_nothing() -> None:
    ((where, told),) = SumChainParams(algorithm="grpo_kl", kl_estimator="k1").warnings()
    assert where == "kl_estimator" and "mean gradient of 0" in told
    assert SumChainParams(algorithm="grpo_kl").warnings() == []
