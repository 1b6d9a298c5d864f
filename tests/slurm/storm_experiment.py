"""A small regression that notes every step it trains, so that work done twice can be counted.

One file a process, which a SIGKILL leaves whole but for the step in flight: records of
(seconds since the epoch, a number that belongs to the pack and the step).
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from phasecube.engine.experiment import Experiment, Measure, Params

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream

STEPS = Path(__file__).parent / "steps"  # in the study's code/ folder
PAUSE = STEPS.with_name("pause_s")  # if it is there: seconds to sleep at each step
RECORD = struct.Struct("<dd")


class NotedParams(Params):
    noise: float = 0.1
    width: int = 24


class Noted(Experiment[NotedParams]):
    """Mini-batch least squares of a linear map onto noisy targets."""

    name = "noted"
    params_type = NotedParams
    measures: ClassVar = {"val_loss": Measure("loss on rows held out")}
    defaults: ClassVar = {"optimizer": "adamw", "lr": 0.01, "steps": 1000}

    _file: ClassVar[int | None] = None
    _pause_s: ClassVar[float] = 0.0

    def model(self, params: NotedParams) -> nn.Module:
        from torch import nn

        width = params.width
        return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def data(self, params: NotedParams, stream: Stream) -> dict[str, Tensor]:
        import torch

        x = torch.as_tensor(stream.normal("x", (96, params.width)))
        noise = torch.as_tensor(stream.normal("noise", (96, 1)))
        y = x.sum(1, keepdim=True) / params.width**0.5 + params.noise * noise
        return {"x": x[:64], "y": y[:64], "x_val": x[64:], "y_val": y[64:]}

    def loss(self, trial: Trial) -> Tensor:
        import torch

        # 53 random bits of the first lane's seed and step: packs of different seeds differ.
        mark = trial.rng.uniform("mark", (), torch.float64)
        self._note(float(torch.func.debug_unwrap(mark).reshape(-1)[0]))
        rows = trial.rng.integers("batch", 64, (16,))
        error = trial.model(trial.data["x"][rows]) - trial.data["y"][rows]
        loss: Tensor = (error**2).mean()
        return loss

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        error = trial.model(trial.data["x_val"]) - trial.data["y_val"]
        return {"val_loss": (error**2).mean()}

    def _note(self, mark: float) -> None:
        if Noted._file is None:
            STEPS.mkdir(exist_ok=True)
            path = STEPS / f"{time.time():.3f}-{os.getpid()}"
            Noted._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            Noted._pause_s = float(PAUSE.read_text()) if PAUSE.exists() else 0.0
        os.write(Noted._file, RECORD.pack(time.time(), mark))
        time.sleep(Noted._pause_s)
