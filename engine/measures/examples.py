"""Scores of single examples: which of them a step moves, and which are hard.

Each returns one number an example, (R,). An experiment records them as a vector, or says with
`precision_at` how well the largest find the examples it knows to be special.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

Weights = Mapping[str, Tensor]


def loss_change(losses: Callable[[Weights], Tensor], weights: Weights, update: Weights) -> Tensor:
    """Return by how much the coming step changes the loss of each example.

    `losses` gives them as a function of the weights, `update` is what the step adds
    (`trial.update`). The examples whose loss rises most and falls most are opposing
    signals: Rosenfeld & Risteski 2023, arXiv:2311.04163.
    """
    after = {name: weight + update[name] for name, weight in weights.items()}
    return losses(after) - losses(weights)


def el2n(logits_RC: Tensor, labels_R: Tensor) -> Tensor:
    """Return |softmax(logits) - onehot(label)|, the error's Euclidean norm, in [0, sqrt 2].

    The published score is its mean over initial weights, so over seeds that share the data.
    Reference: Paul et al. 2021, arXiv:2107.07075, definition 2.2.
    """
    onehot_RC = torch.nn.functional.one_hot(labels_R, logits_RC.shape[-1])
    found_R: Tensor = torch.linalg.vector_norm(logits_RC.softmax(-1) - onehot_RC, dim=-1)
    return found_R


def grand(loss: Callable[..., Tensor], weights: Weights, examples: tuple[Tensor, ...]) -> Tensor:
    """Return the norm of the gradient of each example's own loss, GraNd.

    `loss(weights, *example)` is that of one example; `examples` are tensors with one row
    each. Memory: the gradients of all of them at once.
    Reference: Paul et al. 2021, arXiv:2107.07075, definition 2.1.
    """
    across = (None, *(0 for _ in examples))
    gradients: Weights = vmap(grad(loss), in_dims=across)(dict(weights), *examples)
    squares = [tensor.flatten(1).square().sum(1) for tensor in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


def precision_at(scores_R: Tensor, special_R: Tensor, k: int) -> Tensor:
    """Return which share of the k examples with the largest scores is special."""
    chosen_k = scores_R.topk(k).indices
    return special_R.to(scores_R.dtype).gather(0, chosen_k).mean()
