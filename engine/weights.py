"""Where each weight tensor of a model stands in a lane's row of [K, P]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WeightLayout:
    """Names, shapes and places of the trained tensors of one model."""

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    slices: tuple[slice, ...]

    @classmethod
    def of(cls, model: nn.Module) -> WeightLayout:
        """Return the layout of the parameters that require a gradient."""
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        slices, start = [], 0
        for weight in trained.values():
            slices.append(slice(start, start + weight.numel()))
            start += weight.numel()
        return cls(tuple(trained), tuple(w.shape for w in trained.values()), tuple(slices))

    @property
    def size(self) -> int:
        """Return P, the number of weights of a lane."""
        return sum(math.prod(shape) for shape in self.shapes)

    def views(self, rows_KP: Tensor) -> dict[str, Tensor]:
        """Return each tensor of all lanes, [K, *shape], sharing memory with `rows_KP`."""
        n = len(rows_KP)
        return {
            name: rows_KP[:, place].view(n, *shape)
            for name, shape, place in zip(self.names, self.shapes, self.slices, strict=True)
        }

    def flatten(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return one row [P] with the tensors of one lane."""
        return torch.cat([tensors[name].reshape(-1) for name in self.names])


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what a model holds beside trained weights: buffers and frozen parameters."""
    fixed = {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}
    return {**fixed, **dict(model.named_buffers())}
