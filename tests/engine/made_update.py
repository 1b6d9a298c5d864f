"""A minibatch out of thin air: random logits, answers of unequal length, free advantages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.engine.policy.rollouts import Rollouts, Update
from phasecube.engine.policy.token_laws import chosen, entropy_of
from phasecube.engine.streams import Stream, key_words

B, G, L, V = 3, 4, 5, 7


class Values:
    """Parameters as a trial has them: numbers that may vary are tensors."""

    def __init__(self, **values: Any) -> None:
        self._params = SumChainParams(**values)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._params, name)
        return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value


def made_update(
    seed: int = 0,
    *,
    moved: float = 0.5,
    reference: float | None = None,
    advantage: float | None = None,
    step: int = 0,
    **values: Any,
) -> tuple[Update, Tensor]:
    """Return a minibatch and its logits [B, G, L, V], through which gradients flow.

    `moved` is how far they are from those of the policy that answered, `reference` how far
    those of the reference; `advantage` is every token's, else each has its own.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Tensor:
        return torch.tensor(rng.normal(size=shape))

    then_BGLV = 1.5 * normal(B, G, L, V)
    logits_BGLV = (then_BGLV + moved * normal(B, G, L, V)).requires_grad_()
    token_BGL = torch.tensor(rng.integers(0, V, (B, G, L)))
    length_BG1 = torch.tensor(rng.integers(1, L + 1, (B, G, 1)))
    log_then_BGLV = then_BGLV.log_softmax(-1)
    rollouts = Rollouts(
        torch.arange(B),
        token_BGL,
        torch.arange(L) < length_BG1,
        chosen(log_then_BGLV, token_BGL),
        entropy_of(log_then_BGLV),
        normal(B, G),
    )
    advantage_BGL = normal(B, G, L)
    if advantage is not None:
        advantage_BGL = torch.full_like(advantage_BGL, advantage)
    log_now_BGLV = logits_BGLV.log_softmax(-1)
    near_BGLV = None
    if reference is not None:
        near_BGLV = (logits_BGLV.detach() + reference * normal(B, G, L, V)).log_softmax(-1)
    key = torch.tensor(key_words(seed))
    update = Update(
        Values(**values),
        Stream.traced(key, torch.tensor(step), torch.float64),
        torch.tensor(step),
        rollouts,
        advantage_BGL,
        log_now_BGLV,
        chosen(log_now_BGLV, token_BGL),
        near_BGLV,
        {},
        lambda prompt_B, token_BGL: log_now_BGLV,
    )
    return update, logits_BGLV


def plain(update: Update) -> dict[str, np.ndarray]:
    """Return what a part sees as flat arrays of its valid tokens."""
    valid = update.rollouts.valid_BGL
    found = {
        "advantage": update.advantage_BGL,
        "log_prob": update.log_prob_BGL,
        "log_then": update.rollouts.log_prob_BGL,
        "entropy": update.entropy_BGL,
    }
    return {name: tensor[valid].detach().numpy() for name, tensor in found.items()}
