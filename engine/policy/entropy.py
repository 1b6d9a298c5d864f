"""The entropy bonus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update


def bonus(update: Update) -> Tensor:
    """Return -coefficient times the mean entropy of the tokens (Williams & Peng 1991)."""
    found: Tensor = -update.params.entropy_coefficient * update.mean(update.entropy_BGL)
    return found
