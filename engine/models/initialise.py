"""Initial weights, drawn from a trial's stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from phasecube.engine.streams import Stream


def gromov_std(width: int) -> float:
    """Return 0.5 / (2 width)^(1/3), the standard deviation of the published quadratic MLP.

    Reference: Doshi et al. 2023, arXiv:2310.13061, its code.
    """
    return 0.5 / math.cbrt(2 * width)


@torch.no_grad()
def fill_normal(model: nn.Module, std: Mapping[str, float], stream: Stream) -> None:
    """Draw each weight named in `std` from N(0, std[name]^2), one stream for each name."""
    for name in std:
        weight = model.get_parameter(name)
        weight.copy_(torch.as_tensor(stream.normal(f"init {name}", tuple(weight.shape))))
        weight.mul_(std[name])


@torch.no_grad()
def fill_uniform(model: nn.Module, bound: Mapping[str, float], stream: Stream) -> None:
    """Draw each weight uniformly from [-bound[name], bound[name]), one stream for each name."""
    for name, weight in model.named_parameters():
        weight.copy_(torch.as_tensor(stream.uniform(f"init {name}", tuple(weight.shape))))
        weight.mul_(2 * bound[name]).sub_(bound[name])
