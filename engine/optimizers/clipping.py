"""Clipping of the gradient by its norm over all weights of a trial."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters, UpdateRule

TINY = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


class ClippedGradient:
    """An update rule fed with g * min(1, clip_norm / |g|); 0 leaves a lane's gradient as it is."""

    def __init__(self, inner: UpdateRule, hyper: Hyperparameters) -> None:
        self._inner = inner
        clip_K = hyper.lanes("clip_norm")
        self._clip_K1 = hyper.column(clip_K)
        self._free_K1 = self._clip_K1 == 0

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the moments of the wrapped rule."""
        return self._inner.moments

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Shorten the gradient of every lane in place, then move."""
        # Row sums: each lane is reduced by itself, so its bits do not depend on the others.
        norm_K1 = gradient_KP.square().sum(1, keepdim=True).sqrt()
        share_K1 = (self._clip_K1 / (norm_K1 + TINY)).clamp(max=1.0)
        gradient_KP.mul_(torch.where(self._free_K1, 1.0, share_K1))
        self._inner.update(weights_KP, gradient_KP, moments, step)
