"""EPO (arXiv:2509.22576) against NumPy; the penalty of its released code against nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_rollouts import made_rollouts
from made_update import L, made_update
from torch import Tensor

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy import entropy, epo
from phasecube.engine.policy.rollouts import Update

HISTORY_L = np.linspace(0.9, 1.5, L)


def with_history(seed: int = 0, **values: float) -> tuple[Update, Tensor]:
    update, logits = made_update(seed, **values)
    return replace(update, memory={epo.HISTORY: torch.tensor(HISTORY_L)}), logits


def slope(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_hinge_is_the_distance_to_a_range_around_the_past(seed: int) -> None:
    update, _ = with_history(seed, epo_low=0.9, epo_high=1.1, epo_weight=3.0)
    found = []
    for b, g, t in np.argwhere(update.rollouts.valid_BGL.numpy()):
        h, past = update.entropy_BGL[b, g, t].item(), HISTORY_L[t]
        found.append(h - 3.0 * (max(0.9 * past - h, 0) + max(h - 1.1 * past, 0)))
    np.testing.assert_allclose(epo.hinge(update).item(), -0.05 * np.mean(found), rtol=1e-12)


def test_the_released_penalty_trains_as_the_entropy_bonus_and_has_another_value() -> None:
    update, logits = with_history(epo_low=0.9, epo_high=1.1)
    found = epo.released(update)
    assert found.item() != entropy.bonus(update).item()
    assert torch.equal(slope(found, logits), slope(entropy.bonus(update), logits))
    assert not torch.equal(slope(epo.hinge(update), logits), slope(found, logits))


def test_the_released_penalty_counts_late_tokens_out_of_range() -> None:
    update, _ = with_history(epo_low=0.9, epo_high=1.1)
    h, valid = update.entropy_BGL.detach().numpy(), update.rollouts.valid_BGL.numpy()
    out = ~((h > 0.9 * HISTORY_L) & (h < 1.1 * HISTORY_L)) & (np.arange(L) >= L // 2)
    expected = -0.05 * (h[valid] - 0.1 * out[valid]).mean()
    np.testing.assert_allclose(epo.released(update).item(), expected, rtol=1e-12)


def test_a_hinge_without_weight_is_the_entropy_bonus() -> None:
    update, _ = with_history(epo_weight=0.0)
    torch.testing.assert_close(epo.hinge(update), entropy.bonus(update), rtol=1e-14, atol=0)


def test_the_past_is_the_mean_of_the_collections_that_had_a_token_there() -> None:
    rng = np.random.default_rng(0)
    memory = {name: torch.zeros(3, dtype=torch.float64) for name in (epo.HISTORY, epo.COLLECTIONS)}
    means: list[list[float]] = [[], [], []]
    for seed in range(4):
        # In the first collection no answer has a third token.
        length_BG = rng.integers(1, 3 if seed == 0 else 4, (5, 2))
        rollouts = made_rollouts(np.zeros((5, 2)), length_BG, seed=seed)
        for place in range(3):
            here = rollouts.entropy_BGL[..., place][rollouts.valid_BGL[..., place]]
            means[place] += [float(here.mean())] if len(here) else []
        memory = epo.remember(rollouts, None, memory)
    np.testing.assert_allclose(memory[epo.HISTORY], [np.mean(m) for m in means], rtol=1e-12)
    assert memory[epo.COLLECTIONS].tolist() == [4, 4, 3]


def test_the_released_variant_says_that_its_penalty_does_nothing() -> None:
    told = SumChainParams(algorithm="epo_released").warnings()
    assert ["no gradient" in text for name, text in told if name == "algorithm"] == [True]
    assert SumChainParams(algorithm="epo").warnings() == []


@pytest.mark.parametrize("algorithm", ["epo", "epo_released"])
def test_a_coefficient_of_0_is_told_since_it_takes_the_penalty_along(algorithm: str) -> None:
    told = dict(SumChainParams(algorithm=algorithm, entropy_coefficient=0.0).warnings())
    assert "penalty" in told["entropy_coefficient"]
