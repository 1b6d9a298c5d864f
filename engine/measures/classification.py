"""Measures of a classifier's logits [rows, classes] against integer labels [rows]."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the share of rows whose largest logit is that of the label."""
    return hits(logits_RC, labels_R).mean()


def hits(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return 1.0 for each row whose largest logit is that of the label, else 0.0."""
    return (logits_RC.argmax(-1) == labels_R).to(logits_RC.dtype)


def share(flags_R: Tensor, rows_R: Tensor) -> Tensor:
    """Return the mean of `flags_R` over the rows marked in `rows_R`; NaN if none is."""
    chosen_R = rows_R.to(flags_R.dtype)
    return (flags_R * chosen_R).sum() / chosen_R.sum()


def logit_margin(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return the label's logit minus the largest other logit, mean over rows."""
    label_R1 = labels_R.unsqueeze(-1)
    correct_R = logits_RC.gather(-1, label_R1).squeeze(-1)
    other_R = logits_RC.scatter(-1, label_R1, -torch.inf).amax(-1)
    return (correct_R - other_R).mean()


def softmax_collapse(logits_RC: Tensor) -> Tensor:
    """Return the share of rows whose softmax denominator is exactly 1 in the logits' dtype.

    There every class but the largest was absorbed by rounding: such a row, if right,
    gives loss 0 and no gradient to its label's logit.

    Reference: Prieto et al. 2025, arXiv:2501.04697.
    """
    shifted_RC = logits_RC - logits_RC.amax(-1, keepdim=True)
    return (shifted_RC.exp().sum(-1) == 1).to(torch.float32).mean()
