"""Curvature of the step's training loss: sharpness, its preconditioned form, trace.

The Hessian H is that of `experiment.loss` at the trial's weights, on the batch and with
the draws of the step (see `Trial.at` for the module's mode). It is never formed: one
linearisation of the gradient gives products H v, each the cost of about two gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment, Trial
from phasecube.engine.measures.lanczos import top_eigenvalue

LANCZOS_ITERATIONS = 20  # products H v of one sharpness: to 1e-6 where the spectrum is not flat
TRACE_PROBES = 16  # products H v of one trace
BATCHES = 8  # batches of one batch sharpness

Product = Callable[[Tensor], Tensor]


def curvature(
    experiment: Experiment[Any], trial: Trial, wanted: frozenset[str]
) -> dict[str, Tensor]:
    """Return the wanted measures of the Hessian.

    sharpness: its largest eigenvalue, from below, by LANCZOS_ITERATIONS of Lanczos' method
    from a random start; sharpness_residual: an eigenvalue is that near. preconditioned_*:
    the same of P^-1 H, P the diagonal by which Adam's coming step divides (`adam_diagonal`).
    hessian_trace: mean of v'Hv over TRACE_PROBES random signs v, without bias (Hutchinson
    1990); hessian_trace_error: the standard error of that mean.
    """
    weights = dict(trial.weights)
    product = hessian_product(experiment, trial, weights)
    start_P = trial.rng.normal("curvature.start", (_size(weights),))
    found: dict[str, Tensor] = {}
    if wanted & {"sharpness", "sharpness_residual"}:
        value, bound = top_eigenvalue(product, start_P, LANCZOS_ITERATIONS)
        found |= {"sharpness": value, "sharpness_residual": bound}
    if wanted & {"preconditioned_sharpness", "preconditioned_sharpness_residual"}:
        root_P = flat(adam_diagonal(trial)).rsqrt()

        def preconditioned(vector_P: Tensor) -> Tensor:
            # P^-1/2 H P^-1/2 is symmetric and has the eigenvalues of P^-1 H.
            return root_P * product(root_P * vector_P)

        value, bound = top_eigenvalue(preconditioned, start_P, LANCZOS_ITERATIONS)
        found |= {"preconditioned_sharpness": value, "preconditioned_sharpness_residual": bound}
    if wanted & {"hessian_trace", "hessian_trace_error"}:
        quadratic_N = torch.stack([_probe(trial, product, i) for i in range(TRACE_PROBES)])
        found["hessian_trace"] = quadratic_N.mean()
        found["hessian_trace_error"] = quadratic_N.std() / math.sqrt(TRACE_PROBES)
    return found


def batch_sharpness(
    experiment: Experiment[Any],
    trial: Trial,
    wanted: frozenset[str],  # noqa: ARG001 the only one
) -> dict[str, Tensor]:
    """Return g'Hg / |g|^2, mean over BATCHES draws of the step's batch, each with its g and H.

    For a loss that draws nothing all are the same, the quotient of its gradient. NaN where
    a gradient is zero.
    Reference: Andreyev and Beneventano 2024, arXiv:2412.20553.
    """
    weights = dict(trial.weights)
    quotients = []
    for i in range(BATCHES):
        drawn = trial.redrawn(f"batch {i}")

        def loss(at: Mapping[str, Tensor], drawn: Trial = drawn) -> Tensor:
            return experiment.loss(drawn.at(at))

        gradient = grad(loss)(weights)
        bent = jvp(grad(loss), (weights,), (gradient,))[1]
        g_P, bent_P = flat(gradient), flat(bent)
        quotients.append(torch.dot(g_P, bent_P) / torch.dot(g_P, g_P))
    return {"batch_sharpness": torch.stack(quotients).mean()}


def hessian_product(
    experiment: Experiment[Any], trial: Trial, weights: Mapping[str, Tensor]
) -> Product:
    """Return v -> H v over all weights side by side; the gradient is computed once for all v."""

    def gradient(at: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = grad(lambda w: experiment.loss(trial.at(w)))(at)
        return found

    pull: Callable[..., Any] = vjp(gradient, weights)[1]

    def product(vector_P: Tensor) -> Tensor:
        return flat(pull(named(vector_P, weights))[0])

    return product


def adam_diagonal(trial: Trial) -> dict[str, Tensor]:
    """Return P of the coming step theta -= lr P^-1 m of Adam, by weight name.

    P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps) with t and v after the step's gradient.
    Full-batch Adam is stable up to a largest eigenvalue of P^-1 H of (2 + 2 beta1) /
    ((1 - beta1) lr), 38 / lr at beta1 = 0.9. Gradients that are clipped, projected or taken
    uphill count as they are before.

    Reference: Cohen et al. 2022, arXiv:2207.14484.
    """
    params = trial.params
    if params.optimizer not in ("adam", "adamw"):
        raise ExperimentError(
            "preconditioned_sharpness is of what adam and adamw divide by; optimizer = "
            f"{params.optimizer!r} has no such diagonal, record its sharpness"
        )
    t = trial.step.to(next(iter(trial.gradient.values())).dtype) + 1
    first, second = 1 - params.beta1**t, 1 - params.beta2**t
    found = {}
    for name, gradient in trial.gradient.items():
        if params.optimizer == "adam":
            gradient = gradient + params.l2 * trial.weights[name]
        before = trial.moments["second"][name]
        squares = params.beta2 * before + (1 - params.beta2) * gradient.square()
        found[name] = first * ((squares / second).sqrt() + params.eps)
    return found


def flat(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the tensors side by side, (P,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors.values()])


def named(vector_P: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of a vector under the names and in the shapes of `like`."""
    parts = torch.split(vector_P, [tensor.numel() for tensor in like.values()])
    return {n: part.reshape(t.shape) for (n, t), part in zip(like.items(), parts, strict=True)}


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _probe(trial: Trial, product: Product, index: int) -> Tensor:
    size = (_size(trial.weights),)
    half_P = trial.rng.uniform(f"curvature.sign {index}", size) - 0.5
    sign_P = torch.where(half_P < 0, -1.0, 1.0).to(half_P.dtype)
    return torch.dot(sign_P, product(sign_P))
