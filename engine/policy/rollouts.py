"""What an algorithm's parts are given: the answers of a collection, and a minibatch of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from phasecube.engine.policy.token_laws import entropy_of

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.streams import Stream


@dataclass(frozen=True)
class Rollouts:
    """Answers to prompts: B prompts, G answers to each, L tokens of each answer.

    Log-probabilities and entropies are those of the policy that answered; tokens that are
    not `valid`, behind an answer's end, count nowhere.
    """

    prompt_B: Tensor
    token_BGL: Tensor
    valid_BGL: Tensor  # bool
    log_prob_BGL: Tensor
    entropy_BGL: Tensor
    reward_BG: Tensor

    @property
    def length_BG(self) -> Tensor:  # noqa: N802 the dims of an array are part of its name
        """Return the tokens of each answer."""
        return self.valid_BGL.sum(-1)

    def with_reward(self, reward_BG: Tensor) -> Rollouts:
        """Return the same answers, judged otherwise."""
        return replace(self, reward_BG=reward_BG)


@dataclass(frozen=True)
class Update:
    """A minibatch at one step of training: its answers, and what the policy of now says of them.

    Gradients flow through `log_prob_BGL`, `log_probs_BGLV` and `entropy_BGL`.
    """

    params: Any
    rng: Stream
    step: Tensor
    rollouts: Rollouts
    advantage_BGL: Tensor
    log_probs_BGLV: Tensor  # of every token that could stand there
    log_prob_BGL: Tensor  # of the token that does
    reference_BGLV: Tensor | None  # log-probabilities of the reference policy, where asked for
    memory: Mapping[str, Tensor]
    # Log-probabilities of every token of other answers, (prompts, tokens) -> [B, G, L, V].
    log_probs_of: Callable[[Tensor, Tensor], Tensor]

    @cached_property
    def entropy_BGL(self) -> Tensor:  # noqa: N802
        """Return the entropy of each token's law, nat; not computed where no part asks."""
        return entropy_of(self.log_probs_BGLV)

    @property
    def log_ratio_BGL(self) -> Tensor:  # noqa: N802
        """Return log of the probability of now over that of the policy that answered."""
        return self.log_prob_BGL - self.rollouts.log_prob_BGL

    @property
    def ratio_BGL(self) -> Tensor:  # noqa: N802
        """Return the probability of now over that of the policy that answered."""
        return self.log_ratio_BGL.exp()

    def mean(self, value_BGL: Tensor) -> Tensor:
        """Return one number of all valid tokens', as `params.reduction` makes the loss of them."""
        return reduced(value_BGL, self.rollouts.valid_BGL, self.params.reduction)

    def token_mean(self, value_BGL: Tensor) -> Tensor:
        """Return the mean over valid tokens, each alike, whatever the reduction."""
        return reduced(value_BGL, self.rollouts.valid_BGL, "token_mean")


def reduced(value_BGL: Tensor, valid_BGL: Tensor, reduction: str) -> Tensor:
    """Return one number of many tokens'.

    token_mean: each token alike (DAPO, verl); answer_mean: each answer alike (GRPO);
    prompt_sum: summed over tokens and prompts, the mean over answers, which in a table gives
    every prompt the learning rate it would have alone.
    """
    kept_BGL = value_BGL.where(valid_BGL, 0.0)
    if reduction == "token_mean":
        return kept_BGL.sum() / valid_BGL.sum()
    if reduction == "answer_mean":
        mean: Tensor = (kept_BGL.sum(-1) / valid_BGL.sum(-1).clamp(min=1)).mean()
        return mean
    return kept_BGL.sum((0, 2)).mean()
