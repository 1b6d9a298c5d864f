"""Measures of causal attention: scores [B, H, T, T], -inf where a token may not look."""

from __future__ import annotations

from torch import Tensor


def largest_logit(scores_BHTT: Tensor) -> Tensor:
    """Return the largest score before the softmax, over sequences, heads and pairs.

    Above some 10^4 training was seen to diverge (Wortsman et al. 2023, arXiv:2309.14322,
    figure 2; Zhai et al. 2023, arXiv:2303.06296).
    """
    return scores_BHTT.amax()


def attention_entropy(scores_BHTT: Tensor) -> Tensor:
    """Return the entropy of where a token looks, in nats, mean over sequences, heads, tokens.

    Uniform attention gives the mean of log t over t = 1 .. T, a single target 0.

    Reference: Zhai et al. 2023, arXiv:2303.06296.
    """
    log_share = scores_BHTT.log_softmax(-1)
    # exp(-inf) * -inf is no number; what a token may not see adds nothing.
    return -(log_share.exp() * log_share.clamp(min=-1e30)).sum(-1).mean()
