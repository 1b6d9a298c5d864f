"""EMPG: an answer's advantage is spread over its tokens by how certain they were.

Wang et al. 2025, arXiv:2509.09265, eqs. 10-12; the reason is the identity
E ||grad_z log pi||^2 = 1 - sum pi^2 (proposition 1): uncertain tokens move more.
A step of the paper, one turn of an agent, is a token here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phasecube.engine.policy.advantages import group_std

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts

FLOOR = 1e-8  # of the range of entropies and of the mean factor, as in the authors' pseudocode


def modulated(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> Tensor:
    """Return A g(H_t) + zeta exp(-k_f H_{t+1}), less its mean over all tokens, [B, G, L].

    A is GRPO's, H the token's entropy scaled to [0, 1] over the collection, g = exp(-k H)
    over its mean, and an answer's last token has no next one. The clarity term is the same
    for right and wrong answers: zeta > 0 draws towards certain tokens.
    """
    import torch

    valid_BGL = rollouts.valid_BGL
    n = valid_BGL.sum()
    scaled_BGL = _scaled(rollouts)
    factor_BGL = (-params.empg_scale * scaled_BGL).exp()
    mean_factor = factor_BGL.where(valid_BGL, 0.0).sum() / n
    clear_BGL = params.empg_clarity * (-params.empg_clarity_scale * scaled_BGL).exp()
    next_BGL = torch.zeros_like(clear_BGL)
    next_BGL = torch.cat([clear_BGL.where(valid_BGL, 0.0)[..., 1:], next_BGL[..., :1]], -1)
    advantage_BG1 = group_std(rollouts, params, memory).unsqueeze(-1)
    whole_BGL: Tensor = advantage_BG1 * factor_BGL / (mean_factor + FLOOR) + next_BGL
    return whole_BGL - whole_BGL.where(valid_BGL, 0.0).sum() / n


def _scaled(rollouts: Rollouts) -> Tensor:
    entropy_BGL, valid_BGL = rollouts.entropy_BGL, rollouts.valid_BGL
    least = entropy_BGL.where(valid_BGL, float("inf")).amin()
    most = entropy_BGL.where(valid_BGL, -float("inf")).amax()
    return (entropy_BGL - least) / (most - least + FLOOR)
