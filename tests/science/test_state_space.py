"""A selective state-space layer: its recurrence, its tasks and the sign of its exponents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packs import assert_same_bits_alone, grid, train

from phasecube.engine.admission import choose_engine
from phasecube.engine.experiments.state_space import StateSpace
from phasecube.engine.models.state_space import StateSpace as Layer
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine
from phasecube.engine.tasks.sequences import last_marked, moving_average
from phasecube.engine.trials import Trials


def layer(seed: int, scale: float = 1.0, inputs: int = 2, channels: int = 3) -> Layer:
    rng = np.random.default_rng(seed)
    made = Layer(inputs, channels, 2).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.as_tensor(scale * rng.standard_normal(weight.shape)))
    return made


def inputs_of(seed: int, rows: int = 2, length: int = 7, inputs: int = 2) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_normal((rows, length, inputs)))


@torch.no_grad()
def test_all_times_at_once_are_the_recurrence_step_by_step() -> None:
    made, x_RTI = layer(0), inputs_of(1)
    start_RN = torch.as_tensor(np.random.default_rng(2).standard_normal((2, 3)))
    output_RTO, state_RTN, _ = made(x_RTI, start_RN)
    w = {name: value.numpy() for name, value in made.named_parameters()}
    for row in range(2):
        h_N = start_RN[row].numpy()
        for t in range(7):
            x_I = x_RTI[row, t].numpy()
            delta_N = np.log1p(np.exp(w["step_weight"] @ x_I + w["step_bias"]))
            h_N = np.exp(-delta_N * np.exp(w["log_decay"])) * h_N + delta_N * (w["input"] @ x_I)
            np.testing.assert_allclose(state_RTN[row, t], h_N, rtol=1e-12)
            y_O = w["output"] @ h_N + w["skip"] @ x_I
            np.testing.assert_allclose(output_RTO[row, t], y_O, rtol=1e-11)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(0.01, 30),
    loudness=st.floats(0, 1e3),
    length=st.integers(1, 20),
)
@torch.no_grad()
def test_two_states_under_one_input_never_draw_apart(
    seed: int, scale: float, loudness: float, length: int
) -> None:
    """For any weights and inputs: every factor is at most 1, and so is every exponent."""
    made, x_RTI = layer(seed, scale), loudness * inputs_of(seed + 1, length=length)
    _, one_RTN, log_factor_RTN = made(x_RTI)
    assert (log_factor_RTN <= 0).all()
    kick_RN = torch.full((2, 3), 2.0**20, dtype=torch.float64)
    two_RTN = made(x_RTI, kick_RN)[1]
    apart_RTN = (two_RTN - one_RTN).abs()
    # What the sum with the state of the other inputs rounds away.
    rounding = 4e-16 * (one_RTN.abs().amax() + 2.0**20)
    assert (apart_RTN <= 2.0**20 + rounding).all()
    assert (apart_RTN.diff(dim=1) <= rounding).all()


@torch.no_grad()
def test_the_exponent_is_the_rate_at_which_a_difference_of_states_shrinks() -> None:
    made, x_RTI = layer(3, 0.5), inputs_of(4, rows=1, length=16)
    made.input.zero_()  # the difference is as small as e^-80: nothing may round it away
    _, one_RTN, log_factor_RTN = made(x_RTI)
    two_RTN = made(x_RTI, torch.ones(1, 3, dtype=torch.float64))[1]
    rate_N = (two_RTN - one_RTN)[0, -1].log() / 16
    np.testing.assert_allclose(rate_N, log_factor_RTN[0].mean(0), rtol=1e-9)


def test_targets_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(5)
    x_RT, mark_RT = rng.standard_normal((3, 9)), rng.random((3, 9)) < 0.3
    average_RT = moving_average(torch.as_tensor(x_RT), 0.7).numpy()
    held_RT = last_marked(torch.as_tensor(x_RT), torch.as_tensor(mark_RT)).numpy()
    for row in range(3):
        average, held = 0.0, x_RT[row, 0]
        for t in range(9):
            average = 0.7 * average + 0.3 * x_RT[row, t]
            held = x_RT[row, t] if mark_RT[row, t] else held
            assert average_RT[row, t] == pytest.approx(average, rel=1e-12)
            assert held_RT[row, t] == held


@torch.no_grad()
def test_one_channel_can_be_a_moving_average_exactly() -> None:
    memory, made = 0.8, Layer(1, 1, 1).double()
    delta = math.log(2)  # softplus(0)
    made.log_decay.fill_(math.log(-math.log(memory) / delta))
    made.input.fill_((1 - memory) / delta)
    made.output.fill_(1)
    x_RT = inputs_of(6, inputs=1)[..., 0]
    found_RT = made(x_RT.unsqueeze(-1))[0].squeeze(-1)
    np.testing.assert_allclose(found_RT, moving_average(x_RT, memory), rtol=1e-12)


def test_training_learns_the_average_and_no_exponent_is_ever_positive() -> None:
    fixed = {"length": 16, "batch": 4, "channels": 4, "test_rows": 16, "lr": 0.03}
    _, found = train(StateSpace(), grid(seed=range(3)), 200, 40, **fixed)
    assert (found["test_error"][:, -1] < 0.1 * found["test_error"][:, 0]).all()
    assert (found["lyapunov"] < 0).all()
    assert ((found["separation"] > 0) & (found["separation"] <= 1)).all()


@pytest.mark.slow
def test_step_sizes_that_depend_on_the_input_hold_what_no_linear_filter_can() -> None:
    """The best causal filter of stream and marks, by least squares, against training."""
    length = 24
    fixed = {"task": "hold", "lr": 0.02, "length": length, "test_rows": 64}
    _, found = train(StateSpace(), grid(seed=range(4)), 800, 800, **fixed)
    rng = np.random.default_rng(7)
    x_RT, mark_RT = rng.standard_normal((4000, length)), rng.random((4000, length)) < 0.2
    held_RT = last_marked(torch.as_tensor(x_RT), torch.as_tensor(mark_RT)).numpy()
    seen = np.concatenate([x_RT, mark_RT, np.ones((4000, 1))], 1)
    # At the last time, where the filter sees the most.
    weight = np.linalg.lstsq(seen, held_RT[:, -1], rcond=None)[0]
    apart = seen @ weight - held_RT[:, -1]
    best_filter = (apart**2).sum() / (held_RT[:, -1] ** 2).sum()
    assert (found["test_error"][:, -1] < 0.5 * best_filter).all()


@pytest.mark.parametrize("task", ["average", "hold"])
def test_admission_finds_the_same_bits_alone_and_in_company(task: str) -> None:
    """softplus rounds by where in a tensor a number stands, so a spare lane is needed."""
    experiment = StateSpace()
    known = parameters(experiment)
    values = {n: p.default for n, p in known.items()} | {"task": task, "length": 5, "channels": 3}
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * 6 for name, p in known.items() if not p.static}
    varying |= {"seed": list(range(6)), "lr": [0.01, 0.02, 0.03] * 2}
    trials = Trials(np.arange(6), static, varying)
    choice = choose_engine(experiment, trials, requested="vmap", lanes=6)
    assert choice.engine is Engine.VMAP_FORWARD and choice.spare >= 1


@pytest.mark.parametrize("task", ["average", "hold"])
def test_a_trial_has_the_same_bits_alone_and_in_company(task: str) -> None:
    """With sizes that leave no rest of a vector (place_rounding)."""
    trials = grid(lr=[0.01, 0.03], memory=[0.5, 0.9], mark_rate=[0.1, 0.4], seed=[0, 7])
    fixed = {"task": task, "length": 8, "batch": 4, "test_rows": 4, "channels": 4}
    assert_same_bits_alone(StateSpace(), trials, (0, 9, 15), 6, 2, **fixed)
