"""The trials of one pack as columns: what an engine is asked to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Trials:
    """Trials of equal static shape. `lanes` is each trial's place in its pack.

    `static` holds the parameters all share and that fix shapes and code paths;
    `varying` holds one value per trial for every other parameter, `seed` among them.
    """

    lanes: npt.NDArray[np.int64]
    static: Mapping[str, Any]
    varying: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.lanes)

    def params(self, index: int) -> dict[str, Any]:
        """Return every resolved parameter of one trial."""
        return {**self.static, **{name: values[index] for name, values in self.varying.items()}}

    def joined(self, others: Trials) -> Trials:
        """Return these trials and, behind them, others of the same pack."""
        varying = {name: [*values, *others.varying[name]] for name, values in self.varying.items()}
        return Trials(np.concatenate([self.lanes, others.lanes]), self.static, varying)

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Trials:
        """Return the trials at `indices`, in that order."""
        varying = {name: [values[i] for i in indices] for name, values in self.varying.items()}
        return Trials(self.lanes[np.asarray(indices, np.int64)], self.static, varying)
