"""An experiment without tensors, for tests of sweeps and plans: nothing of it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params


class ToyParams(Params):
    width: int = Field(32, ge=1)
    depth: int = Field(1, ge=1, le=8)
    heads: int = Field(1, ge=1)
    noise: float = Field(0.0, ge=0, le=1)
    activation: str = "relu"
    biased: bool = False

    def faults(self) -> list[tuple[str, str]]:
        if self.width % self.heads:
            return [("heads", f"width {self.width} is no multiple of heads {self.heads}")]
        return []


def train(trial: Any) -> None:
    """Declares neither parameters nor measures: the sweep file names them."""


class Toy(Experiment[ToyParams]):
    name = "toy"
    params_type = ToyParams
    measures: ClassVar[Mapping[str, Measure]] = {
        "val_loss": Measure("validation loss"),
        "norms": Measure("norm per layer", dim="layer"),
        "costly": Measure("a costly one", recorded=False),
    }
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "adam", "steps": 100}

    def model(self, params: ToyParams) -> Any:
        return None

    def data(self, params: ToyParams, stream: Any) -> dict[str, Any]:
        return {}

    def loss(self, trial: Any) -> Any:
        return None

    def labels(self, measure: str, params: ToyParams) -> tuple[str, ...]:
        return tuple(f"layer{i}" for i in range(params.depth))
