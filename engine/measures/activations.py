"""Measures of what flows through a network: the stream after a block, [B, T, D]."""

from __future__ import annotations

from torch import Tensor


def rms(x: Tensor) -> Tensor:
    """Return the root of the mean square over all numbers."""
    return x.square().mean().sqrt()


def massive_ratio(stream_BTD: Tensor) -> Tensor:
    """Return the largest magnitude of a sequence over its median one, mean over sequences.

    Of an even number of magnitudes the lower of the two in the middle. Sun et al. 2024
    (arXiv:2402.17762) call an activation massive from 1000 times the median on (and a
    magnitude above 100).
    """
    magnitude_BN = stream_BTD.abs().flatten(-2)
    return (magnitude_BN.amax(-1) / magnitude_BN.median(-1).values).mean()
