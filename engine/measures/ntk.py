"""The tangent kernel of any model, from the Jacobian of its outputs by the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import jacrev

Weights = Mapping[str, Tensor]


def tangent_kernel(outputs: Callable[[Weights], Tensor], weights: Weights) -> Tensor:
    """Return K = J J', [R, R], J the Jacobian of outputs(weights) with R numbers, by rows first.

    Inside an experiment: `tangent_kernel(lambda w: trial.at(w).model(x), trial.weights)`.
    It costs R backward passes and holds R numbers for each weight, so give it few rows.

    Reference: Jacot et al. 2018, arXiv:1806.07572.
    """
    jacobian = jacrev(outputs)(dict(weights))
    # As many dims of each block as its weight has belong to the weight, the others to outputs.
    flat = [block.reshape(-1, max(weights[name].numel(), 1)) for name, block in jacobian.items()]
    jacobian_RP = torch.cat(flat, 1)
    return jacobian_RP @ jacobian_RP.T


def relative_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return |one - other| / |other| in Frobenius' norm."""
    return (one - other).square().sum().sqrt() / other.square().sum().sqrt()
