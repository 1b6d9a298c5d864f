"""Weights with learning rates of their own, as parameter groups of torch.optim have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from phasecube.engine.optimizers.rule import Hyperparameters, UpdateRule
from phasecube.engine.schedules import Lanes


class PerWeight:
    """A rule for each named weight, whose lr is multiplied, and for each run of the others.

    `factors` holds the multipliers of all lanes by name of weight, shape (K,). What is taken
    apart depends on the names alone and on no lane's numbers.
    """

    def __init__(
        self,
        make: Callable[[Hyperparameters], UpdateRule],
        hyper: Hyperparameters,
        factors: Mapping[str, Lanes],
    ) -> None:
        self._parts = []
        for names in _groups(hyper.layout.names, factors):
            part = hyper.part(names, factors.get(names[0], 1.0))
            first, last = (hyper.layout.names.index(name) for name in (names[0], names[-1]))
            place = slice(hyper.layout.slices[first].start, hyper.layout.slices[last].stop)
            self._parts.append((place, make(part)))

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the moments of all parts."""
        return tuple(dict.fromkeys(name for _, rule in self._parts for name in rule.moments))

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step, part by part."""
        for place, rule in self._parts:
            own = {name: moments[name][:, place] for name in rule.moments}
            rule.update(weights_KP[:, place], gradient_KP[:, place], own, step)


def _groups(names: tuple[str, ...], apart: Mapping[str, Lanes]) -> Iterator[tuple[str, ...]]:
    """Return each name of `apart` alone and the runs of names between them, in order."""
    run: list[str] = []
    for name in names:
        if name in apart:
            if run:
                yield tuple(run)
            yield (name,)
            run = []
        else:
            run.append(name)
    if run:
        yield tuple(run)
