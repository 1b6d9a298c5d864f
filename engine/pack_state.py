"""The tensors of K trials that train side by side: made from seeds, reduced, saved, restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.streams import NO_STEP, Stream, key_words, philox, purpose_words
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout, frozen_tensors

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass
class PackState:
    """K lanes at one step. Row k of every tensor belongs to `trials[k]` and to no other.

    `frozen` holds buffers and untrained parameters; `vector_KV` the varying parameters in
    the order of `places`.
    """

    trials: Trials
    step: int
    layout: WeightLayout
    weights_KP: Tensor
    moments: dict[str, Tensor]
    frozen: dict[str, Tensor]
    data: dict[str, Tensor]
    vector_KV: Tensor
    places: Mapping[str, int]
    keys_K2: Tensor
    steps_K: Tensor
    ended_at_K: Tensor  # the first step whose loss was not finite or too large; -1 while none

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision of training."""
        return self.weights_KP.dtype

    def take(self, keep: npt.NDArray[np.int64]) -> PackState:
        """Return the lanes at `keep` as contiguous rows of their own."""
        index = torch.from_numpy(keep).to(self.weights_KP.device)

        def rows(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, index)

        return PackState(
            self.trials.take(keep),
            self.step,
            self.layout,
            rows(self.weights_KP),
            {name: rows(t) for name, t in self.moments.items()},
            {name: rows(t) for name, t in self.frozen.items()},
            {name: rows(t) for name, t in self.data.items()},
            rows(self.vector_KV),
            self.places,
            rows(self.keys_K2),
            rows(self.steps_K),
            rows(self.ended_at_K),
        )

    def saved(self, n_lanes: int) -> dict[str, Tensor]:
        """Return what training changes: enough, with the trials, to go on bit for bit."""
        tensors = {
            "weights": self.weights_KP,
            **{f"moment.{name}": t for name, t in self.moments.items()},
            **{f"frozen.{name}": t for name, t in self.frozen.items()},
        }
        return {name: t[:n_lanes] for name, t in tensors.items()}

    def restore(self, saved: Mapping[str, Tensor], step: int) -> None:
        """Put back what `saved` gave, rows in the order of `trials`."""
        self.weights_KP.copy_(saved["weights"])
        for name, tensor in self.frozen.items():
            tensor.copy_(saved[f"frozen.{name}"])
        device = self.weights_KP.device
        for name, tensor in saved.items():
            if name.startswith("moment."):
                self.moments[name.removeprefix("moment.")] = tensor.to(device)
        self.step = step
        self.steps_K.fill_(step)


def build_state(
    experiment: Experiment[Any], trials: Trials, device: torch.device
) -> tuple[PackState, nn.Module]:
    """Return the lanes at step 0, and a model whose weights no trial uses.

    Initial weights and data are drawn once for each seed and each combination of the
    experiment's own varying parameters: trials that differ in their optimizer share them.
    """
    dtype = DTYPES[trials.static["dtype"]]
    own = [name for name in experiment.params_type.model_fields if name in trials.varying]
    default_init = type(experiment).init is Experiment.init
    starts = _Distinct()
    data = _Distinct()
    with _global_generator_kept():
        for i in range(len(trials)):
            seed = int(
                trials.varying["seed"][i] if "seed" in trials.varying else trials.static["seed"]
            )
            key = (seed, *(trials.varying[name][i] for name in own))
            # The constructor sees static parameters only, so its draws are the seed's.
            start_key = (seed,) if default_init else key
            params = None
            if not starts.has(start_key) or not data.has(key):
                params = own_params(experiment, trials, i)
            if not starts.has(start_key):
                starts.add(start_key, draw_model(experiment, params, seed, dtype))
            if not data.has(key):
                data.add(key, _draw_data(experiment, params, seed, dtype))
            starts.use(start_key)
            data.use(key)
    model = starts.found[0]
    layout = WeightLayout.of(model)
    rows_UP = torch.stack([layout.flatten(dict(m.named_parameters())) for m in starts.found])
    weights_KP = starts.spread(rows_UP.detach().to(device)).clone()
    frozen = {
        name: t.clone()
        for name, t in starts.stacked([frozen_tensors(m) for m in starts.found], device)
    }
    names = [name for name in trials.varying if name != "seed"]
    vector_KV = torch.tensor(
        np.array([_column(name, trials.varying[name]) for name in names], np.float64)
        .reshape(len(names), len(trials))
        .T.copy()
    )
    seeds = trials.varying.get("seed") or [trials.static["seed"]] * len(trials)
    state = PackState(
        trials,
        0,
        layout,
        weights_KP,
        {},
        frozen,
        dict(data.stacked(data.found, device)),
        vector_KV.to(device, dtype),
        {name: place for place, name in enumerate(names)},
        torch.tensor([key_words(seed) for seed in seeds], device=device),
        torch.zeros(len(trials), dtype=torch.int64, device=device),
        torch.full((len(trials),), -1, dtype=torch.int64, device=device),
    )
    return state, model.to(device)


def draw_model(
    experiment: Experiment[Any], params: Any, seed: int, dtype: torch.dtype
) -> nn.Module:
    """Return a model with the initial weights of `seed`; moves torch's global generator."""
    _seed_global(seed, "init")
    model = experiment.model(params).to(dtype)
    experiment.init(model, params, Stream(seed))
    return model


def _draw_data(
    experiment: Experiment[Any], params: Any, seed: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    _seed_global(seed, "data")
    drawn = experiment.data(params, Stream(seed))
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in drawn.items()}


def seed_of(seed: int, purpose: str, step: int = NO_STEP) -> int:
    """Return 63 bits for a torch generator, a function of seed, purpose and step."""
    high, low, *_ = philox((0, step, *purpose_words(purpose)), key_words(seed))
    word: int = (high >> 1) << 32 | low
    return word


def _seed_global(seed: int, purpose: str) -> None:
    torch.default_generator.manual_seed(seed_of(seed, purpose))


@contextmanager
def _global_generator_kept() -> Iterator[None]:
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)


def own_params(experiment: Experiment[Any], trials: Trials, index: int) -> Any:
    """Return the experiment's own parameters of one trial."""
    own = experiment.params_type.model_fields
    return experiment.params_type(
        **{name: value for name, value in trials.params(index).items() if name in own}
    )


def _column(name: str, values: Any) -> Any:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ExperimentError(
            f"parameter {name!r} varies inside a pack but is no number; declare it static"
        ) from None


class _Distinct:
    """Things drawn once per key, and which of them each lane uses."""

    def __init__(self) -> None:
        self._place: dict[Any, int] = {}
        self.found: list[Any] = []
        self._index: list[int] = []

    def has(self, key: Any) -> bool:
        return key in self._place

    def add(self, key: Any, thing: Any) -> None:
        self._place[key] = len(self.found)
        self.found.append(thing)

    def use(self, key: Any) -> None:
        self._index.append(self._place[key])

    def spread(self, rows_U: Tensor) -> Tensor:
        """Return one row for each lane; without a copy where all lanes share one."""
        if len(rows_U) == 1:
            return rows_U.expand(len(self._index), *rows_U.shape[1:])
        return rows_U[torch.tensor(self._index, device=rows_U.device)]

    def stacked(
        self, dicts: list[dict[str, Tensor]], device: torch.device
    ) -> Iterator[tuple[str, Tensor]]:
        for name in dicts[0]:
            try:
                rows_U = torch.stack([tensors[name] for tensors in dicts])
            except (RuntimeError, KeyError):
                shapes = sorted({str(tuple(d[name].shape)) if name in d else "none" for d in dicts})
                raise ExperimentError(
                    f"data {name!r} has shapes {', '.join(shapes)} in one pack; declare the "
                    "parameter that sets its shape static"
                ) from None
            yield name, self.spread(rows_U.to(device))
