"""A regression whose process ends in the way that a parameter asks for."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, ClassVar

from phasecube.engine.experiment import Experiment, Measure, Params

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.experiment import Trial
    from phasecube.engine.streams import Stream

FINE, SLOW, STUCK, KILLED, RAISES = range(5)


class EndsParams(Params):
    end: int = FINE


class Ends(Experiment[EndsParams]):
    """One weight that is drawn to zero."""

    name = "ends"
    params_type = EndsParams
    measures: ClassVar = {"size": Measure("magnitude of the weight")}
    defaults: ClassVar = {"optimizer": "sgd", "lr": 0.1, "steps": 20}

    def model(self, params: EndsParams) -> nn.Module:
        from torch import nn

        return nn.Linear(1, 1, bias=False)

    def data(self, params: EndsParams, stream: Stream) -> dict[str, Tensor]:
        import torch

        return {"x": torch.as_tensor(stream.normal("x", (4, 1)))}

    def loss(self, trial: Trial) -> Tensor:
        match trial.params.end:
            case 1:
                time.sleep(1)
            case 2:
                time.sleep(600)
            case 3:
                os.kill(os.getpid(), signal.SIGKILL)
            case 4:
                raise RuntimeError("told to raise")
        loss: Tensor = (trial.model(trial.data["x"]) ** 2).mean()
        return loss

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {"size": trial.weights["weight"].abs().sum()}
