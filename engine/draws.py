"""Initial weights and data of a pack's trials, each drawn once.

Trials share what depends on none of the parameters in which they differ: `init` and
`data` are watched for those they read. So do all seeds where nothing random is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from phasecube.engine.reads import Reads, watched
from phasecube.engine.streams import Stream
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout, frozen_tensors


class Distinct:
    """Things drawn from trials, each once, and which of them each trial uses.

    What reads some parameters and finds the same values reads on alike, so a thing drawn
    for one trial is that of every trial with the values that were read. `known` are things
    drawn before; those that are used are found again here.
    """

    def __init__(self, known: Distinct | None = None) -> None:
        self.found: list[Any] = []
        self._known = known
        self._reads: list[tuple[str, ...]] = []
        self._places: dict[tuple[str, ...], dict[tuple[Any, ...], int]] = {}
        self._index: list[int] = []

    def place(self, values: Mapping[str, Any]) -> int | None:
        """Return the place of what was drawn for a trial with these parameters."""
        for names, places in self._places.items():
            place = places.get(tuple(values[name] for name in names))
            if place is not None:
                return place
        there = None if self._known is None else self._known.place(values)
        if self._known is None or there is None:
            return None
        return self.add(values, self._known._reads[there], self._known.found[there])

    def add(self, values: Mapping[str, Any], read: Iterable[str], thing: Any) -> int:
        """Keep what was drawn and depends on the parameters `read` alone; return its place."""
        names = tuple(sorted(read))
        places = self._places.setdefault(names, {})
        place = places[tuple(values[name] for name in names)] = len(self.found)
        self.found.append(thing)
        self._reads.append(names)
        return place

    def shared(self) -> Distinct:
        """Return what later trials may know: this, or, where few trials share a thing, what
        was known before.
        """
        known, self._known = self._known, None
        return self if 2 * len(self.found) <= len(self._index) else known or Distinct()

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

    def shared(self) -> Drawn:
        """Return what trials that are drawn later may share."""
        parts = (part.shared() for part in (self.weights, self.frozen, self.data))
        return Drawn(self.model, self.layout, *parts)

    def another(self) -> Drawn:
        """Return a place for other trials, to which all of this is known."""
        parts = (Distinct(part) for part in (self.weights, self.frozen, self.data))
        return Drawn(self.model, self.layout, *parts)


def draw(
    experiment: Experiment[Any], trials: Trials, dtype: torch.dtype, known: Drawn | None = None
) -> Drawn:
    """Return the initial weights and data of all trials; torch's own generator is put back.

    What is `known` from trials drawn before is not drawn again.
    """
    own = [name for name in experiment.params_type.model_fields if name in trials.varying]
    default_init = type(experiment).init is Experiment.init
    drawn = None if known is None else known.another()
    with _global_generator_kept():
        for i in range(len(trials)):
            values = {name: trials.varying[name][i] for name in own}
            seeds = trials.varying.get("seed")
            values["seed"] = int(trials.static["seed"] if seeds is None else seeds[i])
            start = None if drawn is None else drawn.weights.place(values)
            if drawn is None or start is None:
                with _Draws(values, own, "init") as draws:
                    # The constructor sees static parameters only.
                    model = experiment.model(own_params(experiment, trials, i)).to(dtype)
                    if not default_init:
                        params = watched(own_params(experiment, trials, i), draws.reads)
                        experiment.init(model, params, draws.stream)
                drawn = drawn or Drawn(model, WeightLayout.of(model))
                row_P = drawn.layout.flatten(dict(model.named_parameters())).detach()
                start = drawn.weights.add(values, draws.read, row_P)
                # Copies: an engine may train this very model.
                fixed = {name: t.clone() for name, t in frozen_tensors(model).items()}
                drawn.frozen.add(values, draws.read, fixed)
            place = drawn.data.place(values)
            if place is None:
                with _Draws(values, own, "data") as draws:
                    params = watched(own_params(experiment, trials, i), draws.reads)
                    found = experiment.data(params, draws.stream)
                place = drawn.data.add(values, draws.read, _cast(found, dtype))
            drawn.weights.use(start)
            drawn.frozen.use(_there(drawn.frozen.place(values)))
            drawn.data.use(place)
    assert drawn is not None
    return drawn


def _there(place: int | None) -> int:
    assert place is not None  # weights and buffers are drawn and found together
    return place


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
    """Gives a trial's stream, seeds torch's own generator, and sees what the draw depends on."""

    def __init__(self, values: Mapping[str, Any], own: Sequence[str], purpose: str) -> None:
        self.reads = Reads()
        self.stream = Stream(values["seed"])
        self.read: set[str] = set()
        self._own = own
        torch.default_generator.manual_seed(seed_of(values["seed"], purpose))
        self._before = torch.default_generator.get_state()

    def __enter__(self) -> _Draws:
        return self

    def __exit__(self, *_: object) -> None:
        self.read = self.reads.among(self._own)
        moved = not torch.equal(self._before, torch.default_generator.get_state())
        if moved or self.stream.drawn:
            self.read.add("seed")


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
