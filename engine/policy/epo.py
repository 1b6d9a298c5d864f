"""EPO: a token's entropy is held near its own past (Xu et al. 2025, arXiv:2509.22576).

Loss = policy gradient - c (mean H - weight * penalty), c the coefficient of the bonus. The
penalty looks at tokens whose entropy left [low, high] times the mean entropy of all
collections so far at the same place of the answer, the paper's turn.

The released code makes the penalty a constant per token (a `where` of two numbers), and
only in the second half of the turns: it has no gradient, so what acts is the entropy bonus.
`hinge` is the smoothing that the paper describes, with a gradient; `released` is the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Rollouts, Update

HISTORY, COLLECTIONS = "epo_entropy_L", "epo_collections_L"
RELEASED_PENALTY = 0.1  # entropy_smooth_out_range_penalty, once a token is out of range


def hinge(update: Update) -> Tensor:
    """Return -c (mean H - weight * mean distance of H to [low, high] times its history)."""
    low_L, high_L = _range(update)
    entropy_BGL = update.entropy_BGL
    outside_BGL = (low_L - entropy_BGL).clamp(min=0) + (entropy_BGL - high_L).clamp(min=0)
    params = update.params
    found: Tensor = -params.entropy_coefficient * update.mean(
        entropy_BGL - params.epo_weight * outside_BGL
    )
    return found


def released(update: Update) -> Tensor:
    """Return the loss of the released code: its gradient is that of the entropy bonus."""
    import torch

    low_L, high_L = _range(update)
    entropy_BGL = update.entropy_BGL
    length = entropy_BGL.shape[-1]
    late_L = torch.arange(length, device=entropy_BGL.device) >= length // 2
    outside_BGL = ((entropy_BGL <= low_L) | (entropy_BGL >= high_L)) & late_L
    penalty_BGL = RELEASED_PENALTY * outside_BGL.to(entropy_BGL.dtype)
    found: Tensor = -update.params.entropy_coefficient * update.mean(entropy_BGL - penalty_BGL)
    return found


def none_yet(params: Any, shape_BGL: tuple[int, int, int]) -> Tensor:  # noqa: ARG001
    """Return a zero for each place of an answer."""
    import torch

    return torch.zeros(shape_BGL[-1])


def remember(rollouts: Rollouts, params: Any, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG001
    """Return the mean entropy at each place over all collections that had a token there."""
    valid_BGL = rollouts.valid_BGL
    count_L = valid_BGL.sum((0, 1))
    here_L = count_L > 0
    mean_L = rollouts.entropy_BGL.where(valid_BGL, 0.0).sum((0, 1)) / count_L.clamp(min=1)
    seen_L = memory[COLLECTIONS] + here_L
    moved_L = (mean_L - memory[HISTORY]) / seen_L.clamp(min=1)
    return {HISTORY: memory[HISTORY] + moved_L.where(here_L, 0.0), COLLECTIONS: seen_L}


def without_effect(params: Any) -> list[tuple[str, str]]:
    """Return the warning of a coefficient of 0, which takes the penalty along."""
    if params.entropy_coefficient > 0:
        return []
    return [
        (
            "entropy_coefficient",
            "0: EPO multiplies its bonus and its penalty by it, so both do nothing",
        )
    ]


def only_a_bonus(params: Any) -> list[tuple[str, str]]:
    """Return the warning that the released penalty is a constant."""
    return [
        (
            "algorithm",
            "the penalty of 'epo_released' has no gradient: it is the code that was published, "
            "and trains as an entropy bonus alone; 'epo' has a penalty that acts",
        ),
        *without_effect(params),
    ]


def _range(update: Update) -> tuple[Tensor, Tensor]:
    history_L, params = update.memory[HISTORY], update.params
    return params.epo_low * history_L, params.epo_high * history_L
