"""What an update rule is, and its per-lane coefficients.

Every coefficient is computed in float64 for each lane and rounded once to the dtype of
training, as torch.optim rounds a Python float; so a lane's coefficient does not depend on
what the other lanes use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.schedules import Lanes, LaneSchedules, budgets_of

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials
    from phasecube.engine.weights import WeightLayout

CHUNK_STEPS = 64  # coefficients are made for this many steps at once


class UpdateRule(Protocol):
    """An optimizer of K lanes at once.

    `moments` names the [K, P] tensors it keeps for `hyper`, all zero at the start.
    """

    def __init__(self, hyper: Hyperparameters) -> None: ...

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the names of the tensors it keeps."""

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move the weights and moments of every lane in place from `step` to `step + 1`.

        `gradient_KP` may be overwritten.
        """


class Hyperparameters:
    """The run parameters of K lanes: float64 columns, and how to round them to tensors.

    `layout` says where in a lane's row each weight tensor stands; `lr_factor` multiplies lr.
    """

    def __init__(
        self,
        trials: Trials,
        layout: WeightLayout,
        dtype: torch.dtype,
        device: torch.device,
        lr_factor: Lanes | float = 1.0,
    ) -> None:
        self._trials = trials
        self.layout = layout
        self.dtype = dtype
        self.device = device
        self._lr_K = self.lanes("lr") * lr_factor
        self._schedules = LaneSchedules(
            self.lanes,
            self.static("schedule"),
            int(self.static("steps")),
            self.static("decay_type"),
            budgets_of(self.static("budgets")),
        )

    def part(self, names: Sequence[str], lr_factor: Lanes | float) -> Hyperparameters:
        """Return the same for some neighbouring weights only, lr multiplied by `lr_factor`."""
        layout = self.layout.part(names)
        return Hyperparameters(self._trials, layout, self.dtype, self.device, lr_factor)

    def static(self, name: str) -> Any:
        """Return a parameter that all lanes share."""
        return self._trials.static[name]

    def lanes(self, name: str) -> Lanes:
        """Return a number of each lane as float64, shape (K,)."""
        if name in self._trials.varying:
            return np.asarray(self._trials.varying[name], np.float64)
        return np.full(len(self._trials), self._trials.static[name], np.float64)

    def lr_at(self, steps: range) -> Lanes:
        """Return the scheduled learning rate of each step and lane, shape (C, K)."""
        found: Lanes = self._lr_K * self._schedules.at(steps)
        return found

    def kept_at(self, steps: range) -> Lanes:
        """Return what decoupled decay leaves of a weight, 1 - lr * weight_decay, shape (C, K).

        Independent decay follows the schedule and not `lr`: Wortsman et al. 2023,
        arXiv:2309.14322.
        """
        decay_K = self.lanes("weight_decay")
        if self.static("independent_weight_decay"):
            return 1 - self._schedules.at(steps) * decay_K
        return 1 - self.lr_at(steps) * decay_K

    @property
    def decays(self) -> bool:
        """Return whether any lane has decoupled decay; 1 * weight is exact, so others may."""
        return bool(self.lanes("weight_decay").any())

    def column(self, values_K: Lanes) -> Tensor:
        """Return `values_K` rounded to the dtype of training, shape (K, 1)."""
        return torch.from_numpy(values_K).to(self.device, self.dtype).unsqueeze(-1)

    def columns(self, values_CK: Lanes) -> tuple[Tensor, ...]:
        """Return one (K, 1) tensor for each of C steps."""
        return torch.from_numpy(values_CK).to(self.device, self.dtype).unsqueeze(-1).unbind()

    def by_step(self, *make: Callable[[range], Lanes]) -> ByStep:
        """Return the columns of coefficients that change from step to step."""
        return ByStep(self, make)


class ByStep:
    """Columns (K, 1) that differ from step to step, made CHUNK_STEPS at a time."""

    def __init__(self, hyper: Hyperparameters, make: tuple[Callable[[range], Lanes], ...]) -> None:
        self._hyper = hyper
        self._make = make
        self._chunk = -1
        self._columns: list[tuple[Tensor, ...]] = []

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return the step's column of each coefficient."""
        chunk, place = divmod(step, CHUNK_STEPS)
        if chunk != self._chunk:
            steps = range(chunk * CHUNK_STEPS, (chunk + 1) * CHUNK_STEPS)
            found = [self._hyper.columns(make(steps)) for make in self._make]
            self._columns = list(zip(*found, strict=True))
            self._chunk = chunk
        return self._columns[place]


class BiasCorrections:
    """1 - beta^t of each lane for a range of steps, by Python's own power.

    numpy's vectorised power may differ from it in the last bit; lanes share few betas, so
    each power is computed once.
    """

    def __init__(self, beta_K: Lanes) -> None:
        unique_U, self._which_K = np.unique(beta_K, return_inverse=True)
        self._betas = [float(beta) for beta in unique_U]

    def at(self, steps: range) -> Lanes:
        """Return 1 - beta^(step + 1), shape (C, K)."""
        found = np.array([[1.0 - beta ** (t + 1) for beta in self._betas] for t in steps])
        taken: Lanes = found[:, self._which_K]
        return taken

    def root_at(self, steps: range) -> Lanes:
        """Return (1 - beta^(step + 1))^0.5, shape (C, K)."""
        found = np.array([[(1.0 - beta ** (t + 1)) ** 0.5 for beta in self._betas] for t in steps])
        taken: Lanes = found[:, self._which_K]
        return taken
