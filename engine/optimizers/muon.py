"""Muon: momentum, orthogonalised, for matrices; AdamW for all other weights.

Reference: Jordan et al. 2024, kellerjordan.github.io/posts/muon; the scale that lets matrices and
the others share one learning rate: Liu et al. 2025, arXiv:2502.16982.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from phasecube.engine.optimizers.adam import AdamMoments
from phasecube.engine.optimizers.newton_schulz import orthogonalised
from phasecube.engine.optimizers.rule import ByStep, Hyperparameters
from phasecube.engine.schedules import Lanes
from phasecube.engine.weights import WeightLayout


@dataclass(frozen=True)
class _Matrix:
    place: slice
    shape: torch.Size
    minus_lr: ByStep


class Muon:
    """torch.optim.Muon for the matrices, in the trial's precision where torch rounds to bfloat16.

    Matrices are the 2-D weights that no pattern of `adamw_weights` names. `first` is the momentum
    of both parts; `second` stays zero at the matrices.
    """

    moments: tuple[str, ...] = ("first", "second")

    def __init__(self, hyper: Hyperparameters) -> None:
        momentum_K = hyper.lanes("momentum")
        self._momentum = hyper.column(momentum_K)
        self._one_minus_momentum = hyper.column(1 - momentum_K)
        self._nesterov = bool(hyper.static("nesterov"))
        self._kept = hyper.by_step(hyper.kept_at) if hyper.decays else None
        patterns = [text.strip() for text in str(hyper.static("adamw_weights")).split(",")]
        self._matrices = []
        for place, shape in matrices(hyper.layout, patterns):
            ratio = lr_ratio(str(hyper.static("adjust_lr")), shape)
            self._matrices.append(_Matrix(place, shape, hyper.by_step(_minus_lr(hyper, ratio))))
        self._others = _gaps([matrix.place for matrix in self._matrices], hyper.layout.size)
        self._adamw = AdamMoments(hyper, hyper.lanes("adamw_lr_ratio"))

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        if self._kept is not None:
            weights_KP.mul_(*self._kept.at(step))
        for place in self._others:
            parts = {name: moment[:, place] for name, moment in moments.items()}
            self._adamw.move(weights_KP[:, place], gradient_KP[:, place], parts, step)
        for matrix in self._matrices:
            gradient_Kp, momentum_Kp = (
                gradient_KP[:, matrix.place],
                moments["first"][:, matrix.place],
            )
            momentum_Kp.lerp_(gradient_Kp, self._one_minus_momentum)
            if self._nesterov:
                momentum_Kp = gradient_Kp.lerp(momentum_Kp, self._momentum)
            direction_Kp = orthogonalised(momentum_Kp.view(-1, *matrix.shape)).flatten(1)
            weights_KP[:, matrix.place].addcmul_(direction_Kp, *matrix.minus_lr.at(step))


def matrices(layout: WeightLayout, but: list[str]) -> Iterator[tuple[slice, torch.Size]]:
    """Return place and shape of each 2-D weight whose name matches none of the patterns."""
    for name, shape, place in zip(layout.names, layout.shapes, layout.slices, strict=True):
        if len(shape) == 2 and not any(fnmatchcase(name, pattern) for pattern in but):
            yield place, shape


def lr_ratio(adjust_lr: str, shape: torch.Size) -> float:
    """Return the learning rate of a matrix of this shape over `lr`, as in torch.optim.Muon."""
    rows, columns = shape
    if adjust_lr == "original":
        return math.sqrt(max(1, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))


def _minus_lr(hyper: Hyperparameters, ratio: float) -> Callable[[range], Lanes]:
    def at(steps: range) -> Lanes:
        found: Lanes = hyper.lr_at(steps) * -ratio
        return found

    return at


def _gaps(taken: list[slice], size: int) -> list[slice]:
    """Return what of range(size) the slices, which stand in order, leave free."""
    borders = [0, *(border for place in taken for border in (place.start, place.stop)), size]
    pairs = zip(borders[::2], borders[1::2], strict=True)
    return [slice(start, stop) for start, stop in pairs if start < stop]
