"""Sharpness-aware minimisation, held against the authors' two steps on one torch module."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import Mlp, NoisyMlp, make_trials, run
from torch import Tensor, nn

from phasecube.engine.choice import EngineChoice
from phasecube.engine.descent import Descent
from phasecube.engine.pack_state import build_state
from phasecube.engine.record import Engine
from phasecube.engine.step import step_engine

STEPS = 20
RHO, LR = [0.05, 0.0, 0.5], [0.05, 0.05, 0.02]


class NormedMlp(Mlp):
    """With running statistics, which the second gradient of a step must not move."""

    name = "normed_mlp"
    measures: ClassVar[dict[str, Any]] = {}

    def model(self, params: Any) -> nn.Module:
        n = params.width
        return nn.Sequential(
            nn.Linear(1, n), nn.BatchNorm1d(n, track_running_stats=True), nn.Tanh(), nn.Linear(n, 1)
        )

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, Tensor]:
        return {}


def group(experiment: Any, engine: Engine, lane: int | None = None) -> tuple[Any, Any, Descent]:
    trials = make_trials(experiment, 3, {"sam_rho": RHO, "lr": LR}, dtype="float64")
    trials = trials if lane is None else trials.take([lane])
    state, model = build_state(experiment, trials, torch.device("cpu"))
    descent = Descent(state)
    choice = EngineChoice(engine, len(trials), False, "asked for by a test")
    return state, step_engine(choice, experiment, model, state), descent


def test_a_step_is_the_authors_two_steps() -> None:
    """Climb by rho g / |g|, take the gradient there, come back and descend by it."""
    experiment = Mlp()
    state, engine, descent = group(experiment, Engine.VMAP_FORWARD)
    model = experiment.model(experiment.params_type()).double()
    expected = []
    for lane in range(3):
        weights = {
            name: view[lane].clone() for name, view in state.layout.views(state.weights_KP).items()
        }
        model.load_state_dict(weights)
        x, y = state.data["x"][lane], state.data["y"][lane]
        for _ in range(STEPS):
            before = [p.detach().clone() for p in model.parameters()]
            model.zero_grad()
            (model(x) - y).square().mean().backward()
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(p.grad, alpha=RHO[lane] / (float(norm) + 1e-12))
            model.zero_grad()
            (model(x) - y).square().mean().backward()
            with torch.no_grad():
                for p, start in zip(model.parameters(), before, strict=True):
                    p.copy_(start - LR[lane] * p.grad)
        expected.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    for _ in range(STEPS):
        descent.step(engine, engine.gradient()[1])
    # 20 steps of some 10^3 rounded operations of 1e-16, as in test_pack_independence.
    torch.testing.assert_close(state.weights_KP, torch.stack(expected), rtol=0, atol=1e-11)


@pytest.mark.parametrize("engine", [Engine.VMAP_FORWARD, Engine.SEQUENTIAL])
def test_buffers_move_once_a_step(engine: Engine) -> None:
    lane = 0 if engine is Engine.SEQUENTIAL else None
    state, steps, descent = group(NormedMlp(), engine, lane)
    for step in range(1, 4):
        _, gradient_KP = steps.gradient()
        after_first = {name: tensor.clone() for name, tensor in state.frozen.items()}
        descent.step(steps, gradient_KP)
        for name, tensor in state.frozen.items():
            assert torch.equal(tensor, after_first[name])
        assert (state.frozen["1.num_batches_tracked"] == step).all()


def test_a_lane_that_does_not_climb_is_the_plain_one_bit_for_bit() -> None:
    experiment = NoisyMlp()
    climbing = make_trials(experiment, 3, {"sam_rho": RHO, "lr": LR})
    plain = make_trials(experiment, 3, {"lr": LR})
    one, two = run(experiment, climbing), run(experiment, plain)
    assert np.array_equal(one.scalars_RMS[1], two.scalars_RMS[1])
    assert not np.array_equal(one.scalars_RMS[0], two.scalars_RMS[0])
