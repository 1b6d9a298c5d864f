"""All that a table of logits says of a chain of tokens, exactly, by dynamic programming."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from phasecube.engine.policy.tabular import covariance
from phasecube.engine.policy.token_laws import LEAST_LOG, entropy_of, log_softmax


class ChainLaw:
    """The law of L tokens that are added modulo V, of each prompt; the state is the sum so far.

    Means over tokens are means over prompts, places and the states that the policy visits.
    Nothing is computed that is not asked for, and nothing twice.
    """

    def __init__(self, table_BLSV: Tensor, target_B: Tensor) -> None:
        self._table_BLSV = table_BLSV
        self._target_B = target_B
        symbols = torch.arange(table_BLSV.shape[-1], device=table_BLSV.device)
        self._symbols = symbols
        self._next_SV = (symbols.unsqueeze(-1) + symbols) % len(symbols)
        self._token_ST = (symbols - symbols.unsqueeze(-1)) % len(symbols)  # from a sum to another

    @cached_property
    def log_probs_BLSV(self) -> Tensor:  # noqa: N802 the dims of an array are part of its name
        """Return the log-probabilities of each state's tokens."""
        return log_softmax(self._table_BLSV)

    @cached_property
    def chance_BLSV(self) -> Tensor:  # noqa: N802
        """Return the probabilities of each state's tokens."""
        return self.log_probs_BLSV.exp()

    @cached_property
    def entropy_BLS(self) -> Tensor:  # noqa: N802
        """Return the entropy of each state's token, nat."""
        return -(self.chance_BLSV * self.log_probs_BLSV.clamp(min=LEAST_LOG)).sum(-1)

    @cached_property
    def visits_BTS(self) -> Tensor:  # noqa: N802
        """Return the law of the sum before each place and behind the last: T = L + 1."""
        chance_BLSV = self.chance_BLSV
        start_S = (self._symbols == 0).to(chance_BLSV.dtype)
        laws = [start_S.expand(chance_BLSV.shape[0], -1)]
        for chance_BSV in chance_BLSV.unbind(1):
            joint_BSV = laws[-1].unsqueeze(-1) * chance_BSV
            laws.append(joint_BSV.gather(2, self._token_ST.expand(joint_BSV.shape)).sum(1))
        return torch.stack(laws, 1)

    @cached_property
    def advantage_BLSV(self) -> Tensor:  # noqa: N802
        """Return the expected reward of each token less its state's, by backward recursion."""
        chance_BLSV = self.chance_BLSV
        value_BS = (self._symbols == self._target_B.unsqueeze(-1)).to(chance_BLSV.dtype)
        found: list[Tensor] = []
        for chance_BSV in reversed(chance_BLSV.unbind(1)):
            of_token_BSV = value_BS[:, self._next_SV]
            value_BS = (chance_BSV * of_token_BSV).sum(-1)
            found.append(of_token_BSV - value_BS.unsqueeze(-1))
        return torch.stack(found[::-1], 1)

    def right_B(self) -> Tensor:  # noqa: N802
        """Return the probability of the target, of each prompt."""
        return self.visits_BTS[:, -1].gather(1, self._target_B.unsqueeze(-1)).squeeze(-1)

    def token_mean(self, value_BLS: Tensor) -> Tensor:
        """Return the mean of a value of states over the tokens of an answer."""
        return (self.visits_BTS[:, :-1] * value_BLS).sum(-1).mean()

    def covariance(self) -> Tensor:
        """Return the token mean of Cov_{a ~ pi}(log pi, pi A)."""
        gain_BLSV = self.chance_BLSV * self.advantage_BLSV
        return self.token_mean(covariance(self.log_probs_BLSV, gain_BLSV))

    def predicted_change(self, update_BLSV: Tensor) -> Tensor:
        """Return the change of the entropy that a change of the logits makes, to first order."""
        return -self.token_mean(covariance(self.log_probs_BLSV, update_BLSV))

    def change(self, update_BLSV: Tensor) -> Tensor:
        """Return that change itself, at the states that are visited before it."""
        after_BLSV = log_softmax(self._table_BLSV + update_BLSV)
        return self.token_mean(entropy_of(after_BLSV) - self.entropy_BLS)

    def kl(self, reference_BLSV: Tensor) -> Tensor:
        """Return the token mean of the KL of this policy to another table's, nat."""
        log_BLSV = self.log_probs_BLSV.clamp(min=LEAST_LOG)
        gap_BLSV = log_BLSV - log_softmax(reference_BLSV)
        return self.token_mean((self.chance_BLSV * gap_BLSV).sum(-1))
