"""What an experiment collects at every n-th step stands until the next, in any company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from phasecube.engine.admission import admit
from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment, Measure, Params, Trial
from phasecube.engine.pack_state import build_state
from phasecube.engine.params import parameters
from phasecube.engine.probe import TrialSteps
from phasecube.engine.record import Engine
from phasecube.engine.step import step_engine
from phasecube.engine.trials import Trials

EVERY = 3
KINDS = (Engine.SEQUENTIAL, Engine.VMAP_FORWARD, Engine.VMAP_GRADIENT)


class Follower(nn.Module):
    """A weight, where it last was, and a number drawn there."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("last", torch.zeros(()))
        self.register_buffer("drawn", torch.zeros(()))
        self.register_buffer("times", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        return self.weight


class FollowerParams(Params):
    pull: float = 1.0


class Following(Experiment[FollowerParams]):
    """Away from where it last was, and with what was drawn there."""

    name = "following"
    params_type = FollowerParams
    measures: ClassVar[Mapping[str, Measure]] = {}
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.1, "steps": 10}

    def model(self, params: FollowerParams) -> nn.Module:
        return Follower()

    def data(self, params: FollowerParams, stream: Any) -> dict[str, Tensor]:
        return {}

    def collect_every(self, params: FollowerParams) -> int:
        return EVERY

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        assert not torch.is_grad_enabled()
        return {
            "last": trial.model() + 0,
            "drawn": trial.rng.uniform("drawn"),
            "times": trial.buffers["times"] + 1,
        }

    def loss(self, trial: Trial) -> Tensor:
        kept = trial.buffers
        away: Tensor = trial.model() - kept["last"] + kept["drawn"] * trial.params.pull
        return away.square()


def trials(n: int) -> Trials:
    known = parameters(Following())
    static = {name: p.default for name, p in known.items() if p.static}
    varying = {name: [p.default] * n for name, p in known.items() if not p.static}
    return Trials(np.arange(n), static, {**varying, "seed": list(range(n))})


def steps(kind: Engine, n: int) -> TrialSteps:
    return TrialSteps(Following(), trials(n), EngineChoice(kind, n, False, ""), torch.device("cpu"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_collects_before_the_loss_of_every_nth_step_and_then_only(kind: Engine) -> None:
    run = steps(kind, 1)
    last, weights = [], []
    for _ in range(2 * EVERY + 1):
        weights.append(float(run.state.weights_KP[0]))
        run.step()
        last.append(float(run.state.frozen["last"][0]))
    at = [step - step % EVERY for step in range(len(last))]
    assert last == [weights[step] for step in at]
    assert int(run.state.frozen["times"][0]) == 3


def test_a_lane_that_is_not_due_keeps_what_it_collected() -> None:
    engine_choice = EngineChoice(Engine.VMAP_FORWARD, 2, False, "")
    state, model = build_state(Following(), trials(2), torch.device("cpu"))
    state.host_steps_K[1] = state.steps_K[1] = 1
    step_engine(engine_choice, Following(), model, state).collect()
    assert state.frozen["times"].tolist() == [1, 0]
    assert state.frozen["last"].tolist() == [1, 0]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_collects_is_packed(kind: Engine) -> None:
    assert admit(Following(), trials(4), kind, torch.device("cpu")).engine is kind


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"nowhere": torch.zeros(())}, "returned 'nowhere', which is no buffer of the module"),
        ({"last": torch.zeros(2)}, r"must return last as the buffer is, \(\) of torch.float32"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_no_buffer_is_refused_by_name(
    kind: Engine, found: dict[str, Tensor], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Following, "collect", lambda self, trial: found)
    with pytest.raises(ExperimentError, match=message):
        steps(kind, 1).step()
