"""Where each weight tensor of a model stands in a lane's row of [K, P]."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
        trained = {n: p.shape for n, p in model.named_parameters() if p.requires_grad}
        return cls._side_by_side(trained)

    @classmethod
    def _side_by_side(cls, shapes: Mapping[str, torch.Size]) -> WeightLayout:
        slices, start = [], 0
        for shape in shapes.values():
            slices.append(slice(start, start + shape.numel()))
            start += shape.numel()
        return cls(tuple(shapes), tuple(shapes.values()), tuple(slices))

    def part(self, names: Sequence[str]) -> WeightLayout:
        """Return the layout of some of the weights side by side."""
        shapes = dict(zip(self.names, self.shapes, strict=True))
        return self._side_by_side({name: shapes[name] for name in names})

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
