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

from phasecube.engine.schedules import Lanes, LaneSchedules, Steps, budgets_of

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials
    from phasecube.engine.weights import WeightLayout

# Coefficients are made for this many steps at once: at first, and at most.
FIRST_STEPS, CHUNK_STEPS = 8, 64


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
        """Move the weights and moments of every lane in place by one step.

        `step` counts from where the lanes stood when `hyper` was made, each at its own of
        `hyper.from_K`. `gradient_KP` may be overwritten.
        """


class Hyperparameters:
    """The run parameters of K lanes: float64 columns, and how to round them to tensors.

    `layout` says where in a lane's row each weight tensor stands; `lr_factor` multiplies lr.
    Lane k has made `from_K[k]` steps; all ranges of steps below are counted from there.
    """

    def __init__(
        self,
        trials: Trials,
        layout: WeightLayout,
        dtype: torch.dtype,
        device: torch.device,
        lr_factor: Lanes | float = 1.0,
        from_K: Steps | None = None,
    ) -> None:
        self._trials = trials
        self.layout = layout
        self.dtype = dtype
        self.device = device
        self.from_K = np.zeros(len(trials), np.int64) if from_K is None else from_K.copy()
        self._lr_K = self.lanes("lr") * lr_factor
        self._schedules = LaneSchedules(
            self.lanes,
            self.static("schedule"),
            int(self.static("steps")),
            self.static("decay_type"),
            budgets_of(self.static("budgets")),
            self.from_K,
        )

    def part(self, names: Sequence[str], lr_factor: Lanes | float) -> Hyperparameters:
        """Return the same for some neighbouring weights only, lr multiplied by `lr_factor`."""
        layout = self.layout.part(names)
        return Hyperparameters(
            self._trials, layout, self.dtype, self.device, lr_factor, self.from_K
        )

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
    """Columns (K, 1) that differ from step to step, made for many steps at a time."""

    def __init__(self, hyper: Hyperparameters, make: tuple[Callable[[range], Lanes], ...]) -> None:
        self._hyper = hyper
        self._make = make
        self._made = range(0)
        self._columns: list[tuple[Tensor, ...]] = []

    def at(self, step: int) -> tuple[Tensor, ...]:
        """Return the step's column of each coefficient."""
        if step not in self._made:
            # Few at first: lanes that come and go may make an end to these soon.
            n = min(max(FIRST_STEPS, 2 * len(self._made)), CHUNK_STEPS)
            self._made = range(step, step + n)
            found = [self._hyper.columns(make(self._made)) for make in self._make]
            self._columns = list(zip(*found, strict=True))
        return self._columns[step - self._made.start]


class BiasCorrections:
    """1 - beta^t of each lane for a range of steps from `from_K` on, by Python's own power.

    numpy's vectorised power may differ from it in the last bit; lanes share few betas and
    steps, so each power is computed once.
    """

    def __init__(self, beta_K: Lanes, from_K: Steps) -> None:
        unique_U2, which_K = np.unique(np.stack([beta_K, from_K], 1), axis=0, return_inverse=True)
        self._which_K = which_K.reshape(-1)  # numpy 2.0 gives it another shape than 2.1
        self._betas = [(beta, int(begun) + 1) for beta, begun in unique_U2.tolist()]

    def at(self, steps: range) -> Lanes:
        """Return 1 - beta^(step + 1), shape (C, K)."""
        found = np.array([[1.0 - beta ** (n + t) for beta, n in self._betas] for t in steps])
        taken: Lanes = found[:, self._which_K]
        return taken

    def root_at(self, steps: range) -> Lanes:
        """Return (1 - beta^(step + 1))^0.5, shape (C, K)."""
        found = np.array(
            [[(1.0 - beta ** (n + t)) ** 0.5 for beta, n in self._betas] for t in steps]
        )
        taken: Lanes = found[:, self._which_K]
        return taken
