"""A tangent vector that is trained along with the weights: training as a dynamical system.

Each trained weight w gets a tensor v of its shape, called `tangent_...`. The loss that is
trained on has the value L(w) and, by w, the gradient of L; by v its gradient is H v, with
H the Hessian of L at w. So every rule that is linear in the gradient (SGD, heavy ball,
Nesterov, decay, schedules of lr) moves v by the tangent of its own map of w, and
log |v_t| / t tends to the largest Lyapunov exponent of training. Clipping, adaptive rates
and a second gradient a step are not linear: under them v is no tangent.

An experiment calls `add_tangent` at the end of `model`, `fill_tangent` at the end of
`init`, and returns `carried_loss` from `loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import grad, vjp

if TYPE_CHECKING:
    from phasecube.engine.streams import Stream

Weights = Mapping[str, Tensor]
PREFIX = "tangent_"


def tangent_name(weight: str) -> str:
    """Return the name of the tangent of a weight: tangent_hidden_0_bias of hidden.0.bias."""
    return PREFIX + weight.replace(".", "_")


def add_tangent(model: nn.Module) -> None:
    """Give `model` one tensor more for each weight that it trains; its forward pass ignores them.

    Raises ValueError where two names fall together.
    """
    trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
    for name, weight in trained.items():
        tangent = tangent_name(name)
        if hasattr(model, tangent):
            raise ValueError(f"the tangent of {name} cannot be called {tangent}: it is taken")
        model.register_parameter(tangent, nn.Parameter(torch.zeros_like(weight)))


@torch.no_grad()
def fill_tangent(model: nn.Module, stream: Stream) -> None:
    """Draw a direction, the same for all trials of a seed; its length over all weights is 1."""
    found = {n: w for n, w in model.named_parameters() if n.startswith(PREFIX)}
    for name, tangent in found.items():
        drawn = stream.normal(f"init {name}", tuple(tangent.shape))
        tangent.copy_(torch.as_tensor(drawn))
    length = _length(list(found.values()))
    for tangent in found.values():
        tangent.div_(length)


def tangent_of(weights: Weights) -> dict[str, Tensor]:
    """Return the tangents by the names of their weights."""
    return {n: weights[tangent_name(n)] for n in weights if not n.startswith(PREFIX)}


def carried_loss(loss: Callable[[Weights], Tensor], weights: Weights) -> Tensor:
    """Return loss(weights), with H v as its gradient by v.

    It is L + v.H v - v.H v, where of the second product and of H v no gradient is taken. In
    float64 the value stays L until |v| passes some 1e150, where the product overflows and
    the trial counts as diverged.
    """
    plain = {n: w for n, w in weights.items() if not n.startswith(PREFIX)}
    tangent = tangent_of(weights)
    here = {n: w.detach() for n, w in plain.items()}
    along = {n: v.detach() for n, v in tangent.items()}
    # H is symmetric: a second backward pass along v, which needs no forward-mode rules.
    turned: dict[str, Tensor] = vjp(grad(loss), here)[1](along)[0]
    product = torch.stack([(v * turned[n].detach()).sum() for n, v in tangent.items()]).sum()
    return loss(plain) + (product - product.detach())


def log_tangent(weights: Weights) -> Tensor:
    """Return log |v| over all weights, also of numbers whose squares overflow; -inf of zeros."""
    tensors = list(tangent_of(weights).values())
    largest = torch.stack([v.abs().amax() for v in tensors]).amax()
    # A step of lr = 1 / h takes all of v away where H is one number.
    unit = torch.where(largest > 0, largest, 1.0)
    return largest.log() + _length([v / unit for v in tensors]).clamp(min=1).log()


def _length(tensors: list[Tensor]) -> Tensor:
    return torch.stack([t.square().sum() for t in tensors]).sum().sqrt()
