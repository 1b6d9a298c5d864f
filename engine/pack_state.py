"""The tensors of K trials that train side by side: made from seeds, reduced, saved, restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phasecube.engine.draws import draw, lr_factors
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.schedules import Lanes
from phasecube.engine.streams import key_words
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass
class PackState:
    """K lanes at one step. Row k of every tensor belongs to `trials[k]` and to no other.

    `frozen` holds buffers and untrained parameters; `vector_KV` the varying parameters in
    the order of `places`; `lr_factors` what multiplies lr, (K,) for each weight named there.
    """

    trials: Trials
    step: int
    layout: WeightLayout
    lr_factors: Mapping[str, Lanes]
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
        """Return the lanes at `keep` as contiguous rows of their own; shared data stay shared."""
        index = torch.from_numpy(keep).to(self.weights_KP.device)

        def rows(tensor: Tensor) -> Tensor:
            if len(tensor) > 1 and tensor.stride(0) == 0:
                return tensor[:1].expand(len(keep), *tensor.shape[1:])
            return tensor.index_select(0, index)

        return PackState(
            self.trials.take(keep),
            self.step,
            self.layout,
            {name: factor_K[keep] for name, factor_K in self.lr_factors.items()},
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
    """Return the lanes at step 0, and a model whose weights no trial uses."""
    dtype = DTYPES[trials.static["dtype"]]
    drawn = draw(experiment, trials, dtype)
    weights_KP = drawn.weights.spread(torch.stack(drawn.weights.found).to(device)).clone()
    frozen = {name: t.clone() for name, t in drawn.frozen.stacked(device)}
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
        drawn.layout,
        lr_factors(experiment, trials, drawn.layout),
        weights_KP,
        {},
        frozen,
        dict(drawn.data.stacked(device)),
        vector_KV.to(device, dtype),
        {name: place for place, name in enumerate(names)},
        torch.tensor([key_words(seed) for seed in seeds], device=device),
        torch.zeros(len(trials), dtype=torch.int64, device=device),
        torch.full((len(trials),), -1, dtype=torch.int64, device=device),
    )
    return state, drawn.model.to(device)


def _column(name: str, values: Any) -> Any:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ExperimentError(
            f"parameter {name!r} varies inside a pack but is no number; declare it static"
        ) from None
