"""Softmax policies whose every action is known: value, soft advantage, covariance, exact ascent.

Rows are states S, columns actions A. With an entropy temperature tau the objective of a state
is V + tau H, and r - tau log pi stands where the reward stood. A probability of 0 adds 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phasecube.engine.policy.token_laws import LEAST_LOG, entropy_of, sampled

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.streams import Stream


def objective(log_SA: Tensor, reward_SA: Tensor, temperature: Tensor) -> Tensor:
    """Return V + tau H of each state, [S]."""
    found: Tensor = (log_SA.exp() * reward_SA).sum(-1) + temperature * entropy_of(log_SA)
    return found


def advantage(log_SA: Tensor, reward_SA: Tensor, temperature: Tensor) -> Tensor:
    """Return r - tau log pi less its mean under the policy, [S, A]: the gradient of the
    objective by the logits is pi times it, its natural gradient is the advantage itself."""
    soft_SA = reward_SA - temperature * log_SA.clamp(min=LEAST_LOG)
    return soft_SA - (log_SA.exp() * soft_SA).sum(-1, keepdim=True)


def covariance(log_SA: Tensor, value_SA: Tensor) -> Tensor:
    """Return Cov_{a ~ pi}(log pi, value) of each state, [S].

    To first order a change dz of the logits changes the entropy by -Cov(log pi, dz), since
    dH / dz_a = -pi_a (log pi_a + H) (Cui et al. 2025, arXiv:2505.22617).
    """
    around_SA = log_SA.clamp(min=LEAST_LOG) + entropy_of(log_SA).unsqueeze(-1)
    mean_S1 = (log_SA.exp() * value_SA).sum(-1, keepdim=True)
    found: Tensor = (log_SA.exp() * around_SA * (value_SA - mean_S1)).sum(-1)
    return found


def led_by(surrogate: Tensor, value: Tensor) -> Tensor:
    """Return a loss that is `value` and has the gradient of `surrogate`."""
    return surrogate - surrogate.detach() + value.detach()


def drawn(log_SA: Tensor, samples: int, rng: Stream) -> Tensor:
    """Return actions that the policy takes, int64 [S, samples]."""
    share_SN1 = rng.uniform("action", (log_SA.shape[0], samples, 1))
    return sampled(log_SA.detach().unsqueeze(1), share_SN1)
