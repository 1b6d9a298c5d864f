"""What an update rule is, and its per-lane coefficients.

Every coefficient is computed in float64 for each lane and rounded once to the dtype of
training, as torch.optim rounds a Python float; so a lane's coefficient does not depend on
what the other lanes use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from phasecube.engine.trials import Trials

Lanes = npt.NDArray[np.float64]
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
    """The run parameters of K lanes: float64 columns, and how to round them to tensors."""

    def __init__(self, trials: Trials, dtype: torch.dtype, device: torch.device) -> None:
        self._trials = trials
        self._dtype = dtype
        self._device = device

    def static(self, name: str) -> Any:
        """Return a parameter that all lanes share."""
        return self._trials.static[name]

    def lanes(self, name: str) -> Lanes:
        """Return a float parameter of each lane, shape (K,)."""
        if name in self._trials.varying:
            return np.asarray(self._trials.varying[name], np.float64)
        return np.full(len(self._trials), self._trials.static[name], np.float64)

    def column(self, values_K: Lanes) -> Tensor:
        """Return `values_K` rounded to the dtype of training, shape (K, 1)."""
        return torch.from_numpy(values_K).to(self._device, self._dtype).unsqueeze(-1)

    def columns(self, values_CK: Lanes) -> tuple[Tensor, ...]:
        """Return one (K, 1) tensor for each of C steps."""
        return torch.from_numpy(values_CK).to(self._device, self._dtype).unsqueeze(-1).unbind()


class BiasCorrections:
    """1 - beta^t of each lane for a range of steps, by Python's own power.

    numpy's vectorised power may differ from it in the last bit; lanes share few betas, so
    each power is computed once.
    """

    def __init__(self, beta_K: Lanes) -> None:
        unique_U, self._which_K = np.unique(beta_K, return_inverse=True)
        self._betas = [float(beta) for beta in unique_U]

    def at(self, counts: range) -> Lanes:
        """Return 1 - beta^count, shape (C, K)."""
        found = np.array([[1.0 - beta**count for beta in self._betas] for count in counts])
        taken: Lanes = found[:, self._which_K]
        return taken

    def root_at(self, counts: range) -> Lanes:
        """Return (1 - beta^count)^0.5, shape (C, K)."""
        found = np.array([[(1.0 - beta**count) ** 0.5 for beta in self._betas] for count in counts])
        taken: Lanes = found[:, self._which_K]
        return taken
