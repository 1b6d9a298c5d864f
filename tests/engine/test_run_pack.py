from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import Mlp, Quadratic, every_step, make_trials, run, scalar
from pydantic import Field

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiment import Params
from phasecube.engine.record import (
    Engine,
    Outcome,
    PackRecord,
    RecordRule,
    Status,
    StopRule,
    Target,
)
from phasecube.engine.run_pack import run_pack

ENGINES = [Engine.VMAP_FORWARD, Engine.VMAP_GRADIENT, Engine.SEQUENTIAL]


def outcomes(record: PackRecord) -> list[Outcome]:
    return [Outcome(o) for o in record.status_RF[:, Status.OUTCOME]]


def lanes_of(engine: Engine) -> int:
    return 1 if engine is Engine.SEQUENTIAL else 64


@pytest.mark.parametrize("engine", ENGINES)
def test_a_record_at_step_t_is_of_the_weights_after_t_updates(engine: Engine) -> None:
    trials = make_trials(Quadratic(), 2, {"lr": [0.1, 0.05]}, dtype="float64")
    rule = every_step(Quadratic(), 10)
    record = run(Quadratic(), trials, engine=engine, lanes=lanes_of(engine), rule=rule)
    weight_RS = (1 - 4 * np.array([[0.1], [0.05]])) ** np.arange(11)  # exact solution
    np.testing.assert_allclose(scalar(record, rule, "weight"), weight_RS, rtol=1e-13)
    np.testing.assert_allclose(scalar(record, rule, "train_loss"), 2 * weight_RS**2, rtol=1e-13)
    np.testing.assert_allclose(scalar(record, rule, "gradient_norm"), 4 * weight_RS, rtol=1e-13)
    np.testing.assert_allclose(scalar(record, rule, "weight_norm"), weight_RS, rtol=1e-13)
    assert outcomes(record) == [Outcome.DONE] * 2
    assert record.status_RF[:, Status.STOPPED_AT].tolist() == [10, 10]
    assert record.status_RF[:, Status.N_RECORDED].tolist() == [11, 11]
    assert record.status_RF[:, Status.ENGINE].tolist() == [engine] * 2


def test_gradient_descent_diverges_above_two_over_sharpness() -> None:
    trials = make_trials(Quadratic(), 2, {"lr": [0.49, 0.51]}, steps=10_000)
    rule = RecordRule(np.array([0, 10_000]), ("train_loss",))
    assert outcomes(run(Quadratic(), trials, rule=rule)) == [Outcome.DONE, Outcome.DIVERGED]


def test_nothing_is_kept_from_the_step_of_divergence_on() -> None:
    # The weight is (-3)^t and the loss 2 * 9^t: above 1e6 first at t = 6.
    trials = make_trials(Quadratic(), 2, {"lr": [1.0, 0.1]}, dtype="float64")
    rule = every_step(Quadratic(), 10)
    record = run(Quadratic(), trials, rule=rule, stop=StopRule(loss_above=1e6))
    assert outcomes(record) == [Outcome.DIVERGED, Outcome.DONE]
    assert record.status_RF[0, [Status.N_RECORDED, Status.STOPPED_AT]].tolist() == [6, 6]
    assert np.isfinite(record.scalars_RMS[0, :, :6]).all()
    assert np.isnan(record.scalars_RMS[0, :, 6:]).all()


def test_a_divergence_between_records_is_dated_to_its_step() -> None:
    trials = make_trials(Quadratic(), 1, {"lr": [1.0]}, dtype="float64", steps=1000)
    rule = RecordRule(np.array([0, 4, 1000]), ("train_loss",))
    record = run(Quadratic(), trials, rule=rule, stop=StopRule(loss_above=1e6))
    assert record.status_RF[0, [Status.N_RECORDED, Status.STOPPED_AT]].tolist() == [2, 6]


@pytest.mark.parametrize("lanes", [64, 1])
def test_a_target_must_hold_for_its_number_of_records_in_a_row(lanes: int) -> None:
    # 0.6^t falls below 0.1 at t = 5; the third record in a row is t = 7.
    trials = make_trials(Quadratic(), 2, {"lr": [0.1, 0.001]})
    target = Target("weight", 0.1, above=False, records=3)
    record = run(Quadratic(), trials, stop=StopRule(target), lanes=lanes)
    assert outcomes(record) == [Outcome.DONE, Outcome.DONE]
    assert record.status_RF[:, Status.STOPPED_AT].tolist() == [7, 10]
    assert record.status_RF[:, Status.N_RECORDED].tolist() == [8, 11]


def test_a_target_may_be_a_measure_that_is_not_recorded() -> None:
    trials = make_trials(Quadratic(), 1)
    rule = RecordRule(np.arange(11), ("train_loss",))
    stop = StopRule(Target("weight", 0.1, above=False))
    record = run(Quadratic(), trials, rule=rule, stop=stop)
    assert record.status_RF[0, Status.STOPPED_AT] == 5


def test_only_the_rows_of_the_trials_are_filled() -> None:
    trials = make_trials(Quadratic(), 5).take([1, 3])
    record = PackRecord.empty(5, every_step(Quadratic(), 10))
    run(Quadratic(), trials, record=record)
    settled = [Outcome.DONE if row in (1, 3) else Outcome.NOT_RUN for row in range(5)]
    assert outcomes(record) == settled
    assert np.isnan(record.scalars_RMS[[0, 2, 4]]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_vectors_and_the_step_gradient_reach_the_record(engine: Engine) -> None:
    trials = make_trials(Mlp(), 3, {"seed": [0, 1, 2]})
    rule = every_step(Mlp(), 20)
    record = run(Mlp(), trials, engine=engine, lanes=lanes_of(engine), rule=rule)
    norms = np.sqrt(np.square(record.vectors["norms"]).sum(-1))
    # A sum of 200 squares in float32.
    np.testing.assert_allclose(norms, scalar(record, rule, "weight_norm"), rtol=200 * 6e-8)
    given = scalar(record, rule, "gradient_check")
    np.testing.assert_allclose(given, scalar(record, rule, "gradient_norm"), rtol=200 * 6e-8)


def test_labels_of_another_static_group_stay_empty() -> None:
    rule = every_step(Mlp(), 20)
    labels = rule.vectors["norms"]
    wider = (labels[0], "only elsewhere", *labels[1:])
    rule = RecordRule(rule.steps, rule.scalars, rule.steps, {"norms": wider})
    record = run(Mlp(), make_trials(Mlp(), 2), rule=rule)
    assert np.isnan(record.vectors["norms"][:, :, 1]).all()
    assert np.isfinite(record.vectors["norms"][:, :, [0, *range(2, 7)]]).all()


def test_trials_of_one_seed_share_weights_and_data() -> None:
    trials = make_trials(Mlp(), 3, {"seed": [4, 4, 5], "lr": [0.1, 0.2, 0.1]})
    rule = every_step(Mlp(), 20)
    loss_RS = scalar(run(Mlp(), trials, rule=rule), rule, "train_loss")
    assert loss_RS[0, 0] == loss_RS[1, 0] != loss_RS[2, 0]


def test_torchs_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run(Mlp(), make_trials(Mlp(), 2, {"seed": [0, 1]}))
    assert torch.equal(torch.get_rng_state(), before)


class FailsParams(Params):
    at: float = Field(0.0, description="data() raises where it is positive")


class Fails(Quadratic):
    """A quadratic whose data cannot be drawn for some trials."""

    name = "fails"
    params_type = FailsParams
    drawn: ClassVar[list[float]] = []

    def data(self, params: FailsParams, stream: Any) -> dict[str, torch.Tensor]:
        if params.at == 1:
            raise RuntimeError("no such data")
        if params.at == 2:
            raise MemoryError
        return {}


def test_a_trial_that_raises_fails_alone() -> None:
    trials = make_trials(Fails(), 7, {"at": [0, 0, 1, 0, 0, 2, 0]})
    failures: dict[int, str] = {}
    record = run(Fails(), trials, lanes=4, on_failure=failures.__setitem__)
    expected = [Outcome.DONE] * 7
    expected[2], expected[5] = Outcome.FAILED, Outcome.OUT_OF_MEMORY
    assert outcomes(record) == expected
    assert failures.keys() == {2, 5}
    assert "no such data" in failures[2]
    assert np.isnan(record.scalars_RMS[[2, 5]]).all()
    undisturbed = run(Quadratic(), make_trials(Quadratic(), 1))
    assert np.array_equal(record.scalars_RMS[6], undisturbed.scalars_RMS[0])


class NeedsMemory(Mlp):
    """An MLP that fits in memory in packs of two only."""

    name = "needs_memory"
    lanes_seen: ClassVar[list[int]] = []

    def loss(self, trial: Any) -> torch.Tensor:
        lanes = torch._C._functorch.get_unwrapped(trial.data["x"]).shape[0]
        self.lanes_seen.append(lanes)
        if lanes > 2:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"
            )
        return super().loss(trial)


def test_lanes_are_halved_when_memory_is_short_and_stay_so() -> None:
    trials = make_trials(Mlp(), 8, {"seed": list(range(8))})
    NeedsMemory.lanes_seen.clear()
    halved = run(NeedsMemory(), trials, lanes=4)
    assert outcomes(halved) == [Outcome.DONE] * 8
    assert NeedsMemory.lanes_seen.count(4) == 1
    assert np.array_equal(halved.scalars_RMS, run(Mlp(), trials).scalars_RMS)


def test_trials_over_their_wall_time_are_timed_out_and_keep_their_records() -> None:
    trials = make_trials(Quadratic(), 2)
    record = run(Quadratic(), trials, trial_walltime_s=0.0)
    assert outcomes(record) == [Outcome.TIMED_OUT] * 2
    assert record.status_RF[:, Status.N_RECORDED].tolist() == [1, 1]


def test_progress_counts_settled_diverged_and_trial_steps() -> None:
    trials = make_trials(Quadratic(), 3, {"lr": [0.1, 0.2, 1.0]}, dtype="float64")
    heard = []
    stop = StopRule(loss_above=1e6)
    run(Quadratic(), trials, stop=stop, on_record=lambda _, progress: heard.append(progress))
    last = heard[-1]
    assert (last.settled, last.diverged, last.trial_steps) == (3, 1, 10 + 10 + 6)


def test_a_pack_that_is_told_to_stop_says_so_and_leaves_trials_unsettled(tmp_path) -> None:
    trials = make_trials(Quadratic(), 2)
    record = PackRecord.empty(2, every_step(Quadratic(), 10))
    choice = EngineChoice(Engine.VMAP_FORWARD, 2, False, "")
    folder = CheckpointFolder(tmp_path)
    told = iter([False, False, True])
    rule = every_step(Quadratic(), 10)
    assert not run_pack(
        Quadratic(), trials, record, rule, StopRule(), choice,
        checkpoints=folder, signal=lambda: next(told),
    )  # fmt: skip
    assert outcomes(record) == [Outcome.NOT_RUN] * 2
    assert run_pack(Quadratic(), trials, record, rule, StopRule(), choice, checkpoints=folder)
    assert outcomes(record) == [Outcome.DONE] * 2


def test_a_checkpoint_of_other_parameters_is_not_used(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    told = iter([False] * 4)
    old = make_trials(Quadratic(), 2, {"lr": [0.1, 0.2]})
    run(Quadratic(), old, checkpoints=folder, signal=lambda: next(told, True))
    new = make_trials(Quadratic(), 2, {"lr": [0.1, 0.3]})
    resumed = run(Quadratic(), new, checkpoints=folder)
    assert np.array_equal(resumed.scalars_RMS, run(Quadratic(), new).scalars_RMS)


def test_a_pack_goes_on_from_its_checkpoint_and_not_from_the_start(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    told = iter([False] * 8)
    trials = make_trials(Quadratic(), 2)
    run(Quadratic(), trials, checkpoints=folder, signal=lambda: next(told, True))
    heard = []
    run(Quadratic(), trials, checkpoints=folder, on_record=lambda _, p: heard.append(p))
    assert heard[-1].trial_steps == 2 * (10 - 8)
