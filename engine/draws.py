"""Initial weights and data of a pack's trials, each drawn once.

Trials that differ in their optimizer only share both; so do all seeds where nothing
random is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.streams import Stream
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout, frozen_tensors

Key = tuple[Any, ...]  # seed, and the experiment's own varying parameters


class Distinct:
    """Things drawn once for each key, and which of them each trial uses."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self._place: dict[Key, int] = {}
        self._index: list[int] = []

    def place(self, key: Key) -> int | None:
        """Return the place of what was drawn for a key, or for all seeds."""
        return self._place.get(key, self._place.get((None, *key[1:])))

    def add(self, key: Key, thing: Any, *, any_seed: bool) -> int:
        """Keep what was drawn for a key and return its place."""
        place = self._place[(None, *key[1:]) if any_seed else key] = len(self.found)
        self.found.append(thing)
        return place

    def use(self, place: int) -> None:
        """Give what stands at `place` to the next trial."""
        self._index.append(place)

    def spread(self, rows_U: Tensor) -> Tensor:
        """Return one row for each trial; without a copy where all share one."""
        if len(rows_U) == 1:
            return rows_U.expand(len(self._index), *rows_U.shape[1:])
        return rows_U[torch.tensor(self._index, device=rows_U.device)]

    def stacked(self, device: torch.device) -> Iterator[tuple[str, Tensor]]:
        """Return each tensor of dicts of tensors with one row for each trial.

        Raises ExperimentError where shapes differ.
        """
        for name in self.found[0]:
            try:
                rows_U = torch.stack([tensors[name] for tensors in self.found])
            except (RuntimeError, KeyError):
                shapes = sorted({_shape(tensors, name) for tensors in self.found})
                raise ExperimentError(
                    f"{name!r} has shapes {', '.join(shapes)} in one pack; declare the parameter "
                    "that sets its shape static"
                ) from None
            yield name, self.spread(rows_U.to(device))


@dataclass
class Drawn:
    """What the trials of a pack start from. `weights` holds rows [P]."""

    model: nn.Module
    layout: WeightLayout
    weights: Distinct = field(default_factory=Distinct)
    frozen: Distinct = field(default_factory=Distinct)
    data: Distinct = field(default_factory=Distinct)


def draw(experiment: Experiment[Any], trials: Trials, dtype: torch.dtype) -> Drawn:
    """Return the initial weights and data of all trials; torch's own generator is put back."""
    own = [name for name in experiment.params_type.model_fields if name in trials.varying]
    default_init = type(experiment).init is Experiment.init
    columns = [trials.varying[name] for name in own]
    seeds = trials.varying.get("seed")
    drawn: Drawn | None = None
    with _global_generator_kept():
        for i in range(len(trials)):
            seed = int(trials.static["seed"] if seeds is None else seeds[i])
            key = (seed, *(column[i] for column in columns))
            # The constructor sees static parameters only.
            start_key = (seed,) if default_init else key
            start = None if drawn is None else drawn.weights.place(start_key)
            if drawn is None or start is None:
                with _Draws(seed, "init") as draws:
                    model = experiment.model(own_params(experiment, trials, i)).to(dtype)
                    experiment.init(model, own_params(experiment, trials, i), draws.stream)
                drawn = drawn or Drawn(model, WeightLayout.of(model))
                row_P = drawn.layout.flatten(dict(model.named_parameters())).detach()
                start = drawn.weights.add(start_key, row_P, any_seed=not draws.any)
                drawn.frozen.add(start_key, frozen_tensors(model), any_seed=not draws.any)
            place = drawn.data.place(key)
            if place is None:
                with _Draws(seed, "data") as draws:
                    found = experiment.data(own_params(experiment, trials, i), draws.stream)
                place = drawn.data.add(key, _cast(found, dtype), any_seed=not draws.any)
            drawn.weights.use(start)
            drawn.frozen.use(start)
            drawn.data.use(place)
    assert drawn is not None
    return drawn


def lr_factors(
    experiment: Experiment[Any], trials: Trials, layout: WeightLayout
) -> dict[str, npt.NDArray[np.float64]]:
    """Return what multiplies lr in each trial, shape (K,) for each weight the experiment names.

    Raises ExperimentError for a weight that the model does not have, a factor that is no
    finite number >= 0, and trials of one pack that name different weights.
    """
    if type(experiment).lr_factor is Experiment.lr_factor:
        return {}
    rows = [experiment.lr_factor(own_params(experiment, trials, i)) for i in range(len(trials))]
    names = tuple(rows[0])
    unknown = sorted(set(names).difference(layout.names))
    if unknown:
        raise ExperimentError(
            f"{experiment.name}: lr_factor() names {', '.join(unknown)}; the trained weights "
            f"are {', '.join(layout.names)}"
        )
    if any(tuple(row) != names for row in rows):
        raise ExperimentError(
            f"{experiment.name}: lr_factor() names other weights for other trials of one pack; "
            "give a factor of 1.0 instead of leaving a weight out"
        )
    found = {name: np.array([row[name] for row in rows], np.float64) for name in names}
    for name, factor_K in found.items():
        if not (np.isfinite(factor_K) & (factor_K >= 0)).all():
            raise ExperimentError(
                f"{experiment.name}: lr_factor() of {name} must be finite and >= 0, "
                f"got {factor_K.min()} to {factor_K.max()}"
            )
    return found


def own_params(experiment: Experiment[Any], trials: Trials, index: int) -> Any:
    """Return the experiment's own parameters of one trial."""
    values = {}
    for name in experiment.params_type.model_fields:
        column = trials.varying.get(name)
        if column is not None:
            values[name] = column[index]
        elif name in trials.static:
            values[name] = trials.static[name]
    return experiment.params_type(**values)


def seed_of(seed: int, purpose: str, step: int | None = None) -> int:
    """Return 63 bits for a torch generator, a function of seed, purpose and step."""
    digest = blake2b(f"{seed} {purpose} {step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class _Draws:
    """Gives a trial's stream, seeds torch's own generator, and sees whether either was used."""

    def __init__(self, seed: int, purpose: str) -> None:
        self.stream = Stream(seed)
        self.any = True
        torch.default_generator.manual_seed(seed_of(seed, purpose))
        self._before = torch.default_generator.get_state()

    def __enter__(self) -> _Draws:
        return self

    def __exit__(self, *_: object) -> None:
        moved = not torch.equal(self._before, torch.default_generator.get_state())
        self.any = moved or self.stream.drawn


@contextmanager
def _global_generator_kept() -> Iterator[None]:
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _cast(drawn: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in drawn.items()}


def _shape(tensors: dict[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "none"
