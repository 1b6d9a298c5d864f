"""The tensors of K trials that train side by side: made from seeds, joined, saved, restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from phasecube.engine.draws import Drawn, draw, lr_factors
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.schedules import Lanes, Steps
from phasecube.engine.streams import key_words
from phasecube.engine.trials import Trials
from phasecube.engine.weights import WeightLayout

DTYPES = {"float32": torch.float32, "float64": torch.float64}
MOMENT = "moment."
# Where a trial comes from: nothing that it computes with.
NO_LANE_PARAMS = ("seed", "parent_trial", "branch_step")


@dataclass(frozen=True)
class Start:
    """Where one lane stands: its tensors as `PackState.lane` gives them, its seconds so far."""

    tensors: Mapping[str, Tensor]
    elapsed_s: float = 0.0


@dataclass
class PackState:
    """K lanes, each before a step of its own. Row k of every tensor belongs to `trials[k]`.

    `frozen` holds buffers and untrained parameters; `vector_KV` the varying parameters in
    the order of `places`; `lr_factors` what multiplies lr, (K,) for each weight named there.
    """

    trials: Trials
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
    host_steps_K: Steps  # the same as steps_K: to ask a GPU would stall it
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
            self.host_steps_K[keep],
            rows(self.ended_at_K),
        )

    def joined(self, others: PackState) -> PackState:
        """Return these lanes and, behind them, others; data that all share stay shared."""
        self.needs_moments(others.moments)
        others.needs_moments(self.moments)

        def both(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: torch.cat([t, theirs[name]]) for name, t in mine.items()}

        return PackState(
            self.trials.joined(others.trials),
            self.layout,
            {
                name: np.concatenate([factor_K, others.lr_factors[name]])
                for name, factor_K in self.lr_factors.items()
            },
            torch.cat([self.weights_KP, others.weights_KP]),
            both(self.moments, others.moments),
            both(self.frozen, others.frozen),
            {name: _shared_or_joined(t, others.data[name]) for name, t in self.data.items()},
            torch.cat([self.vector_KV, others.vector_KV]),
            self.places,
            torch.cat([self.keys_K2, others.keys_K2]),
            torch.cat([self.steps_K, others.steps_K]),
            np.concatenate([self.host_steps_K, others.host_steps_K]),
            torch.cat([self.ended_at_K, others.ended_at_K]),
        )

    def lane(self, place: int) -> dict[str, Tensor]:
        """Return what training changes of one lane: enough, with its trial, to go on bit for bit.

        The tensors are views.
        """
        return {name: t[place] for name, t in self._trained().items()}

    def put(self, place: int, tensors: Mapping[str, Tensor]) -> None:
        """Put what `lane` gave into the lane at `place`."""
        self.needs_moments(name.removeprefix(MOMENT) for name in tensors if name.startswith(MOMENT))
        for name, tensor in self._trained().items():
            if name in tensors:
                tensor[place] = tensors[name].to(tensor.device)
            else:  # a moment that its company of then did not need
                tensor[place] = 0
        self.host_steps_K[place] = int(tensors["step"])

    def needs_moments(self, names: Iterable[str]) -> None:
        """Add those moments that are missing: one that no lane needed so far is still at zero."""
        for name in names:
            if name not in self.moments:
                self.moments[name] = torch.zeros_like(self.weights_KP)

    def _trained(self) -> dict[str, Tensor]:
        return {
            "weights": self.weights_KP,
            **{f"{MOMENT}{name}": t for name, t in self.moments.items()},
            **{f"frozen.{name}": t for name, t in self.frozen.items()},
            "step": self.steps_K,
            "ended_at": self.ended_at_K,
        }


def stacked(lanes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return what `PackState.lane` gave of several lanes as rows of one tensor a name."""
    names = {name: t for lane in lanes for name, t in lane.items()}
    # Only a moment may be missing, where no lane of a company needed it: it is at zero.
    return {
        name: torch.stack(
            [lane[name] if name in lane else torch.zeros_like(like) for lane in lanes]
        )
        for name, like in names.items()
    }


def _shared_or_joined(mine: Tensor, theirs: Tensor) -> Tensor:
    """Return the rows of both; one row for all where all are alike and share it already."""
    one = all(len(t) == 1 or t.stride(0) == 0 for t in (mine, theirs))
    if one and torch.equal(mine[:1], theirs[:1]):
        return mine[:1].expand(len(mine) + len(theirs), *mine.shape[1:])
    return torch.cat([mine, theirs])


def build_state(
    experiment: Experiment[Any], trials: Trials, device: torch.device
) -> tuple[PackState, nn.Module]:
    """Return the lanes at step 0, and a model whose weights no trial uses."""
    drawn = draw(experiment, trials, DTYPES[trials.static["dtype"]])
    return state_of(experiment, trials, drawn, device), drawn.model.to(device)


def state_of(
    experiment: Experiment[Any], trials: Trials, drawn: Drawn, device: torch.device
) -> PackState:
    """Return the lanes at step 0, with what was drawn for them."""
    weights_KP = drawn.weights.spread(torch.stack(drawn.weights.found).to(device)).clone()
    frozen = {name: t.clone() for name, t in drawn.frozen.stacked(device)}
    names = [name for name in trials.varying if name not in NO_LANE_PARAMS]
    vector_KV = torch.tensor(
        np.array([_column(name, trials.varying[name]) for name in names], np.float64)
        .reshape(len(names), len(trials))
        .T.copy()
    )
    seeds = trials.varying.get("seed") or [trials.static["seed"]] * len(trials)
    return PackState(
        trials,
        drawn.layout,
        lr_factors(experiment, trials, drawn.layout),
        weights_KP,
        {},
        frozen,
        dict(drawn.data.stacked(device)),
        vector_KV.to(device, weights_KP.dtype),
        {name: place for place, name in enumerate(names)},
        torch.tensor([key_words(seed) for seed in seeds], device=device),
        torch.zeros(len(trials), dtype=torch.int64, device=device),
        np.zeros(len(trials), np.int64),
        torch.full((len(trials),), -1, dtype=torch.int64, device=device),
    )


def _column(name: str, values: Any) -> Any:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ExperimentError(
            f"parameter {name!r} varies inside a pack but is no number; declare it static"
        ) from None
