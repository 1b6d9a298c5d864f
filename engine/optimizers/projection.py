"""perpGrad: the gradient's part along each weight removed, its length kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from phasecube.engine.optimizers.rule import UpdateRule

TINY = 1e-30  # keeps w.g / w.w finite where a weight is zero (Prieto et al. 2025, their code)


class OrthogonalGradient:
    """An update rule fed with g_perp = g - (w.g / w.w) w, rescaled to |g|, for each tensor.

    Reference: Prieto et al. 2025, arXiv:2501.04697, section 5; docs/science.md, G7.
    """

    def __init__(self, inner: UpdateRule, slices: Sequence[slice]) -> None:
        self._inner = inner
        self._slices = slices

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the moments of the wrapped rule."""
        return self._inner.moments

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Project the gradient of every lane and tensor in place, then move."""
        for place in self._slices:
            project_(weights_KP[:, place], gradient_KP[:, place])
        self._inner.update(weights_KP, gradient_KP, moments, step)


def project_(weight_Kp: Tensor, gradient_Kp: Tensor) -> None:
    """Replace each row of the gradient by its part orthogonal to the weight, at equal length."""
    # Row sums: each lane is reduced by itself, so its bits do not depend on the others.
    along_K1 = (weight_Kp * gradient_Kp).sum(1, keepdim=True)
    square_K1 = weight_Kp.square().sum(1, keepdim=True)
    length_K1 = gradient_Kp.square().sum(1, keepdim=True).sqrt()
    gradient_Kp.addcmul_(weight_Kp, -(along_K1 / (square_K1 + TINY)))
    left_K1 = gradient_Kp.square().sum(1, keepdim=True).sqrt()
    gradient_Kp.mul_(length_K1 / (left_K1 + TINY))
