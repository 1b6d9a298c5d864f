from __future__ import annotations

import numpy as np
import pytest

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.choice import EngineChoice
from phasecube.engine.function_trial import FunctionExperiment, experiment_function
from phasecube.engine.params import parameters
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
from phasecube.engine.trials import Trials

RULE = RecordRule(np.array([0, 2, 4, 6, 8, 10]), ("loss",), dtype="float64")
CHOICE = EngineChoice(Engine.FUNCTION, 1, False, "")


@experiment_function(params={"lr": 0.1, "rule": "plain"}, measures={"loss": "nats"})
def quadratic(trial) -> None:
    """w <- (1 - 4 lr) w, as a user writes it; goes on from its own checkpoint."""
    found = trial.load_checkpoint()
    w, first = (1.0, 0) if found is None else (float(found[0]["w"]), found[1]["step"])
    for step in range(first, trial.steps + 1):
        if step > first or found is None:
            trial.report(step, loss=2 * w * w)
        w *= 1 - 4 * trial.params.lr
        trial.save_checkpoint({"w": np.array(w)}, {"step": step})
        if found is not None and step == first:
            w = float(found[0]["w"])


def trials(lr: list[float], experiment: FunctionExperiment = quadratic) -> Trials:
    values = {name: p.default for name, p in parameters(experiment).items()} | {"steps": 10}
    columns = {name: [value] * len(lr) for name, value in values.items()}
    return Trials(np.arange(len(lr)), {}, columns | {"lr": lr})


def run(lr: list[float], experiment=quadratic, stop=None, record=None, **options):
    record = record or PackRecord.empty(len(lr), RULE)
    settled = run_pack(
        experiment, trials(lr, experiment), record, RULE, stop or StopRule(), CHOICE, **options
    )
    return record, settled


def test_what_is_reported_on_the_grid_is_recorded() -> None:
    record, settled = run([0.1, 0.2])
    loss_RS = 2 * (1 - 4 * np.array([[0.1], [0.2]])) ** (2 * RULE.steps)
    np.testing.assert_allclose(record.scalars_RMS[:, 0], loss_RS, rtol=1e-13)
    assert settled
    assert record.status_RF[:, : Status.RUN].tolist() == [[Outcome.DONE, 6, 10, 4]] * 2


def test_a_loss_that_is_too_large_or_not_finite_diverges() -> None:
    # The loss is 2 * 9^t: above 1e6 first at t = 6.
    record, _ = run([1.0], stop=StopRule(loss_above=1e6))
    assert record.status_RF[0, : Status.ENGINE].tolist() == [Outcome.DIVERGED, 3, 6]

    def nan(trial) -> None:
        trial.report(0, loss=1.0)
        trial.report(1, loss=float("nan"))

    record, _ = run([1.0], FunctionExperiment(nan, params={"lr": 0.1}, measures=["loss"]))
    assert record.status_RF[0, : Status.ENGINE].tolist() == [Outcome.DIVERGED, 1, 1]


def test_a_target_ends_a_function_early() -> None:
    record, _ = run([0.1], stop=StopRule(Target("loss", 0.1, above=False, records=2)))
    # 2 * 0.36^t < 0.1 from t = 3; records 4 and 6 are the first two in a row.
    assert record.status_RF[0, : Status.ENGINE].tolist() == [Outcome.DONE, 4, 6]


def test_a_function_that_raises_fails_and_the_next_runs() -> None:
    def fragile(trial) -> None:
        trial.report(0, loss=1.0)
        if trial.params.lr > 1:
            raise ValueError("lr is absurd")

    failures = {}
    experiment = FunctionExperiment(fragile, params={"lr": 0.1}, measures=["loss"])
    record, _ = run([2.0, 0.1], experiment, on_failure=failures.__setitem__)
    assert record.status_RF[:, Status.OUTCOME].tolist() == [Outcome.FAILED, Outcome.DONE]
    assert "lr is absurd" in failures[0]


def test_a_missing_measure_and_a_falling_step_are_told() -> None:
    def forgets(trial) -> None:
        trial.report(0, accuracy=1.0)

    def falls(trial) -> None:
        trial.report(1, loss=1.0)
        trial.report(1, loss=1.0)

    for function, message in ((forgets, "lacks loss"), (falls, "steps must rise")):
        failures = {}
        experiment = FunctionExperiment(function, params={"lr": 0.1}, measures=["loss"])
        run([0.1], experiment, on_failure=failures.__setitem__)
        assert message in failures[0]


@pytest.mark.parametrize("stopped_after", range(1, 24, 3))
def test_a_stopped_function_goes_on_from_its_own_checkpoint(stopped_after, tmp_path) -> None:
    undisturbed, _ = run([0.1, 0.15])
    left = iter([False] * stopped_after)
    folder = CheckpointFolder(tmp_path)
    _, settled = run([0.1, 0.15], checkpoints=folder, signal=lambda: next(left, True))
    assert not settled
    resumed, settled = run([0.1, 0.15], checkpoints=folder)
    assert settled
    np.testing.assert_array_equal(resumed.scalars_RMS, undisturbed.scalars_RMS)
    np.testing.assert_array_equal(resumed.status_RF, undisturbed.status_RF)
    assert not list(tmp_path.glob("trial_*"))


def test_a_function_over_its_wall_time_is_timed_out() -> None:
    record, _ = run([0.1], trial_walltime_s=0.0)
    assert record.status_RF[0, Status.OUTCOME] == Outcome.TIMED_OUT


def test_declared_parameters_are_typed_by_their_defaults() -> None:
    known = parameters(quadratic)
    assert list(known) == ["seed", "steps", "lr", "rule"]
    assert known["lr"].validate(1) == 1.0
    with pytest.raises(ValueError, match="string"):
        known["rule"].validate(3)
