"""Losses of a classifier: logits [rows, classes] and integer labels [rows] to one scalar.

All are plain tensor functions that also hold under vmap. The caller chooses the
precision by casting the logits: softmax collapse is a matter of the dtype in which
the exponentials are summed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def one_hot(labels_R: Tensor, like_RC: Tensor) -> Tensor:
    """Return the labels as rows of 0 and 1 in the shape and dtype of `like_RC`."""
    classes_C = torch.arange(like_RC.shape[-1], device=like_RC.device)
    return (labels_R.unsqueeze(-1) == classes_C).to(like_RC.dtype)


def mse(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the squared distance to the one-hot labels, mean over rows and classes.

    Reference: Gromov 2023, arXiv:2301.02679.
    """
    return (logits_RC - one_hot(labels_R, logits_RC)).square().mean()


def centred_mse(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the squared distance between logits and one-hot labels, both without their mean
    over classes; summed over classes, mean over rows.

    Reference: Tian 2025, arXiv:2509.21519 (Li2).
    """
    error_RC = logits_RC - one_hot(labels_R, logits_RC)
    centred_RC = error_RC - error_RC.mean(-1, keepdim=True)
    return centred_RC.square().sum(-1).mean()


def cross_entropy(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the softmax cross-entropy in nats, every operation rounded to the logits' dtype.

    Written out because torch's fused kernel sums half-precision rows in float32, which
    hides the collapse that a softmax in that precision has.
    """
    shifted_RC = logits_RC - logits_RC.amax(-1, keepdim=True).detach()
    correct_R = shifted_RC.gather(-1, labels_R.unsqueeze(-1)).squeeze(-1)
    return (shifted_RC.exp().sum(-1).log() - correct_R).mean()


def cross_entropy_and_log_z(logits_RC: Tensor, labels_R: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean softmax cross-entropy in nats, and log Z of each row, [rows].

    Z is the softmax's denominator. The fused kernel of one pass, for many classes;
    `cross_entropy` is the one that rounds each operation.
    """
    log_z_R = logits_RC.logsumexp(-1)
    correct_R = logits_RC.gather(-1, labels_R.unsqueeze(-1)).squeeze(-1)
    return (log_z_R - correct_R).mean(), log_z_R


def z_loss(log_z_R: Tensor) -> Tensor:
    """Return the mean of (log Z)^2, which keeps the logits from drifting away together.

    Reference: Chowdhery et al. 2022, arXiv:2204.02311 (PaLM), section 5, weight 1e-4.
    """
    return log_z_R.square().mean()


def stablemax_cross_entropy(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the cross-entropy of s(x) / sum s(x), s(x) = x + 1 for x >= 0 else 1 / (1 - x).

    s grows linearly, so no precision turns the other classes into zeros.

    Reference: Prieto et al. 2025, arXiv:2501.04697, section 4.
    """
    weight_RC = stablemax_weight(logits_RC)
    correct_R = weight_RC.gather(-1, labels_R.unsqueeze(-1)).squeeze(-1)
    return (weight_RC.sum(-1).log() - correct_R.log()).mean()


def stablemax_weight(logits_RC: Tensor) -> Tensor:
    """Return s(x), the positive weight that StableMax puts in the place of exp(x)."""
    # Each branch sees its own side only: `where` alone would send back 0 * inf from x = 1.
    rising_RC = logits_RC.clamp(min=0) + 1
    falling_RC = 1 / (1 - logits_RC.clamp(max=0))
    return torch.where(logits_RC >= 0, rising_RC, falling_RC)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "centred_mse": centred_mse,
    "cross_entropy": cross_entropy,
    "stablemax": stablemax_cross_entropy,
}
