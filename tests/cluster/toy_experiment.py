"""A regression small enough to train in milliseconds, that fails and dies when told to."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from phasecube.engine.experiment import Experiment, Measure, Params

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream

HERE = Path(__file__).parent  # the study's code/ folder: a place all processes share


class ToyParams(Params):
    noise: float = 0.1
    broken: float = 0.0  # 1: building the data raises
    width: int = 8


class Toy(Experiment[ToyParams]):
    """Mini-batch least squares; `val_loss` on fresh rows, `spectrum` a vector."""

    name = "toy"
    params_type = ToyParams
    measures: ClassVar = {
        "val_loss": Measure("loss on rows held out"),
        "spectrum": Measure("magnitudes of the weights", "1", "weight"),
    }
    defaults: ClassVar = {"optimizer": "sgd", "lr": 0.1, "steps": 60}

    def model(self, params: ToyParams) -> nn.Module:
        from torch import nn

        return nn.Linear(params.width, 1)

    def data(self, params: ToyParams, stream: Stream) -> dict[str, Tensor]:
        if params.broken:
            raise RuntimeError("told to break")
        import torch

        x = torch.as_tensor(stream.normal("x", (32, params.width)))
        noise = torch.as_tensor(stream.normal("noise", (32, 1)))
        y = x.sum(1, keepdim=True) + params.noise * noise
        return {"x": x[:24], "y": y[:24], "x_val": x[24:], "y_val": y[24:]}

    def loss(self, trial: Trial) -> Tensor:
        _die_when_told()
        rows = trial.rng.integers("batch", 24, (8,))
        error = trial.model(trial.data["x"][rows]) - trial.data["y"][rows]
        loss: Tensor = (error**2).mean()
        return loss

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        error = trial.model(trial.data["x_val"]) - trial.data["y_val"]
        return {"val_loss": (error**2).mean(), "spectrum": trial.weights["weight"][0].abs()}

    def labels(self, measure: str, params: ToyParams) -> tuple[str, ...]:
        return tuple(f"w{i}" for i in range(params.width))


def _die_when_told() -> None:
    """Count gradients, one byte each; by the hundredth the process is killed, once or always."""
    if not (HERE / "deadly").exists():
        return
    with (HERE / "gradients").open("ab") as file:
        file.write(b".")
    often = (HERE / "deadly").read_text() == "always"
    if (HERE / "gradients").stat().st_size >= 100 and (often or not (HERE / "killed").exists()):
        (HERE / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
