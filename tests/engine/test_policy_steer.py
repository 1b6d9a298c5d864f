"""STEER's weights (arXiv:2510.10150) against NumPy, and its estimate against the exact change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_update import made_update, plain

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import steer
from phasecube.engine.policy.rollouts import Update


def sizes(update: Update) -> np.ndarray:
    """|A / pi_old * pi (1 - pi)(ln pi + H)| of each valid token."""
    seen = plain(update)
    p = np.exp(seen["log_prob"])
    bend = p * (1 - p) * (np.log(p) + seen["entropy"])
    return np.abs(seen["advantage"] / np.exp(seen["log_then"]) * bend)


def valid(update: Update, weight_BGL: torch.Tensor) -> np.ndarray:
    return weight_BGL[update.rollouts.valid_BGL].numpy()


@pytest.mark.parametrize("low", [0.05, 0.8])
def test_the_exponential_law_weighs_the_largest_change_least(low: float) -> None:
    update, _ = made_update(steer_min=low)
    m = sizes(update)
    found = valid(update, steer.exponential(update))
    np.testing.assert_allclose(found, np.exp(np.log(low) * m / max(m.max(), 0.02)), rtol=1e-10)
    assert found.min() == pytest.approx(low) and found.max() <= 1


def test_where_no_token_changes_the_entropy_by_002_the_exponential_law_spares_them() -> None:
    update, _ = made_update(steer_min=0.5, advantage=1e-4)
    m = sizes(update)
    assert m.max() < 0.02 / 5
    found = valid(update, steer.exponential(update))
    np.testing.assert_allclose(found, 0.5 ** (m / 0.02), rtol=1e-10)
    assert found.min() > 0.5**0.2


def test_a_smaller_least_weight_weighs_no_token_more() -> None:
    weights = [
        valid(update, steer.exponential(update))
        for update, _ in (made_update(steer_min=low) for low in (1.0, 0.8, 0.5, 0.2, 0.05))
    ]
    assert (weights[0] == 1).all()
    assert (np.diff(weights, axis=0) <= 0).all() and (np.diff(weights, axis=0) < 0).any(1).all()


def test_the_linear_law_maps_smallest_and_largest_change_to_the_two_weights() -> None:
    update, _ = made_update(steer_min=0.8, steer_max=1.2)
    m = sizes(update)
    expected = 1.2 - 0.4 * (m - m.min()) / (m.max() - m.min())
    np.testing.assert_allclose(valid(update, steer.linear(update)), expected, rtol=1e-10)


def test_the_linear_law_weighs_equal_changes_by_the_middle() -> None:
    update, _ = made_update(steer_min=0.8, steer_max=1.2, advantage=0.0)
    assert (valid(update, steer.linear(update)) == 1.0).all()


@pytest.mark.parametrize("law", [steer.exponential, steer.linear])
def test_tokens_behind_an_answers_end_change_no_weight(law) -> None:
    update, _ = made_update()
    behind_BGL = ~update.rollouts.valid_BGL
    other = replace(update, advantage_BGL=update.advantage_BGL.where(~behind_BGL, 1e6))
    np.testing.assert_array_equal(valid(update, law(update)), valid(other, law(other)))


def test_a_certain_token_and_an_impossible_one_have_finite_weights() -> None:
    update, _ = made_update()
    log_prob_BGL = update.log_prob_BGL.detach().clone()
    log_prob_BGL[0, 0, 0], log_prob_BGL[1, 0, 0] = 0.0, -np.inf
    odd = replace(update, log_prob_BGL=log_prob_BGL)
    for law in (steer.exponential, steer.linear):
        assert law(odd).isfinite().all()


def test_the_estimate_is_the_sampled_logits_part_of_the_entropy_change_over_pi() -> None:
    """On the policy that answered. One token a of advantage A moves logits by A (e_a - pi), and
    dH/dz_b = -pi_b (ln pi_b + H). What b = a adds to dH is -pi_a times STEER's estimate."""
    update, _ = made_update(moved=0.0)
    seen = plain(update)
    p = np.exp(seen["log_prob"])
    part = -seen["advantage"] * p * (1 - p) * (seen["log_prob"] + seen["entropy"])
    np.testing.assert_allclose(valid(update, steer.entropy_change(update)) * -p, part, rtol=1e-10)


def test_the_sampled_logits_part_stands_for_the_whole_entropy_change() -> None:
    """4000 states of 32 actions, logits of deviation 1, actions sampled: correlation .85, slope 1,
    as in an independent program. The standard error of the slope is sqrt(.27 / .73 / 4000) = .01.
    STEER's estimate, larger by 1 / pi, follows the change less closely."""
    rng = np.random.default_rng(0)
    n, actions = 4000, 32
    z = rng.normal(size=(n, actions))
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    p = np.exp(log_p)
    lean = p * (log_p - (p * log_p).sum(1, keepdims=True))  # pi (ln pi + H), sums to 0
    at = np.arange(n), (p.cumsum(1) < rng.uniform(size=(n, 1))).sum(1).clip(max=actions - 1)
    advantage = rng.normal(size=n)
    exact = -advantage * (lean[at] - (p * lean).sum(1))
    part = -advantage * (1 - p[at]) * lean[at]
    assert np.corrcoef(part, exact)[0, 1] == pytest.approx(0.85, abs=0.03)
    assert (part @ exact) / (part @ part) == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(part / p[at], exact)[0, 1] < 0.8


def test_the_weights_carry_no_gradient() -> None:
    update, _ = made_update()
    assert not steer.exponential(update).requires_grad and not steer.linear(update).requires_grad


def test_a_least_weight_above_the_largest_is_refused() -> None:
    params = SumChainParams(algorithm="group_std + dual_clip + steer_linear", steer_max=0.5)
    assert [where for where, _ in params.faults()] == ["steer_min"]
