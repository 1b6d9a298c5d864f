"""Lanes that end make room for trials that wait; no number depends on who entered when."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import Mlp, NoisyMlp, Quadratic, every_step, make_trials, run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pack_independence import RULES, company, same_rows

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.choice import EngineChoice
from phasecube.engine.descent import Descent
from phasecube.engine.errors import JudgeError
from phasecube.engine.function_trial import experiment_function
from phasecube.engine.record import (
    Engine,
    Outcome,
    PackRecord,
    RecordRule,
    Status,
    StopRule,
    Target,
)
from phasecube.engine.refill import entry_period
from phasecube.engine.trials import Trials

STEPS = 20
N_TRIALS = 13


class EndsAt:
    """Prunes each row at a rung of its own; notes what it was asked."""

    def __init__(self, ends: dict[int, int], rungs: Any = range(1, STEPS)) -> None:
        self.rungs = frozenset(rungs)
        self._ends = ends
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def judge(self, step: int, rows: Any, record: PackRecord) -> Any:
        self.asked.append((step, tuple(rows.tolist())))
        return np.array([self._ends.get(row) == step for row in rows.tolist()])


def ends_of(seed: int, n: int = N_TRIALS) -> dict[int, int]:
    """Return random rungs at which some of the rows end."""
    rng = np.random.default_rng(seed)
    return {row: int(rng.integers(1, STEPS)) for row in range(n) if rng.random() < 0.7}


def assert_as_undisturbed(found: PackRecord, undisturbed: PackRecord, rule: RecordRule) -> None:
    """Hold every row to the undisturbed one up to where it ended, and to NaN from there on."""
    for row, status in enumerate(found.status_RF):
        n = int(status[Status.N_RECORDED])
        one, two = found.scalars_RMS[row], undisturbed.scalars_RMS[row]
        assert one[:, :n].tobytes() == two[:, :n].tobytes(), row
        assert np.isnan(one[:, n:]).all()
        for name, values in found.vectors.items():
            stands = rule.vector_steps <= rule.steps[n - 1]
            assert values[row, stands].tobytes() == undisturbed.vectors[name][row, stands].tobytes()
            assert np.isnan(values[row, ~stands]).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lanes", [3, 8])
def test_a_trial_that_enters_a_running_group_has_its_own_bits(rule: str, lanes: int) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, N_TRIALS, "float32", RULES[rule])
    record_rule = every_step(experiment, STEPS)
    undisturbed = run(experiment, trials, rule=record_rule)
    ends = ends_of(lanes)
    refilled = run(experiment, trials, lanes=lanes, rule=record_rule, judge=EndsAt(ends))
    assert_as_undisturbed(refilled, undisturbed, record_rule)
    stopped = [ends.get(row, STEPS) for row in range(N_TRIALS)]
    assert refilled.status_RF[:, Status.STOPPED_AT].tolist() == stopped


@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lanes=st.integers(1, 9),
    order=st.permutations(range(N_TRIALS)),
    every=st.sampled_from([1, 3, 7]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_bits_depend_on_no_order_of_entry_and_no_company(
    seed: int, lanes: int, order: list[int], every: int, dtype: str
) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, N_TRIALS, dtype, RULES["cosine"])
    rule = every_step(experiment, STEPS, every)
    undisturbed = run(experiment, trials, rule=rule)
    rungs = rule.steps[1:-1]
    rng = np.random.default_rng(seed)
    ends = {row: int(rng.choice(rungs)) for row in range(N_TRIALS) if rng.random() < 0.6}
    refilled = run(
        experiment, trials.take(order), lanes=lanes, rule=rule, judge=EndsAt(ends, rungs.tolist())
    )
    assert_as_undisturbed(refilled, undisturbed, rule)


@pytest.mark.parametrize("spare", [0, 1])
@pytest.mark.parametrize(
    ("engine", "lanes"),
    [(Engine.VMAP_GRADIENT, 4), (Engine.SEQUENTIAL, 1), (Engine.VMAP_FORWARD, 4)],
)
def test_every_engine_refills_to_its_own_bits(engine: Engine, lanes: int, spare: int) -> None:
    experiment = Mlp()
    trials = company(experiment, N_TRIALS, "float32", RULES["adamw"])
    rule = every_step(experiment, STEPS, 3)
    undisturbed = run(experiment, trials, engine=engine, lanes=lanes, spare=spare, rule=rule)
    judge = EndsAt(ends_of(1), rule.steps[1:-1].tolist())
    refilled = run(
        experiment, trials, engine=engine, lanes=lanes, spare=spare, rule=rule, judge=judge
    )
    assert_as_undisturbed(refilled, undisturbed, rule)


@pytest.mark.slow
def test_a_compiled_group_refills_to_its_own_bits() -> None:
    experiment = Mlp()
    trials = company(experiment, N_TRIALS, "float32", RULES["adamw"])
    rule = every_step(experiment, STEPS, 3)
    choice = EngineChoice(Engine.VMAP_FORWARD, 4, True, "asked for by a test")
    undisturbed = run(experiment, trials, choice=choice, rule=rule)
    judge = EndsAt(ends_of(1), rule.steps[1:-1].tolist())
    refilled = run(experiment, trials, choice=choice, rule=rule, judge=judge)
    assert_as_undisturbed(refilled, undisturbed, rule)


@pytest.mark.parametrize("stopped_after", [1, 4, 11, 19, 30])
@pytest.mark.parametrize("rule", ["sgd momentum", "adamw 8 bit", "cosine", "muon", "wsd_s"])
def test_a_refilled_pack_that_was_killed_goes_on_bit_for_bit(
    rule: str, stopped_after: int, tmp_path: Any
) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, N_TRIALS, "float32", RULES[rule])
    ends = ends_of(5)
    undisturbed = run(experiment, trials, lanes=5, judge=EndsAt(ends))
    left = iter([False] * stopped_after)
    folder = CheckpointFolder(tmp_path)
    run(
        experiment, trials, lanes=5, checkpoints=folder, judge=EndsAt(ends),
        signal=lambda: next(left, True),
    )  # fmt: skip
    resumed = run(experiment, trials, lanes=3, checkpoints=folder, judge=EndsAt(ends))
    assert same_rows(undisturbed, list(range(N_TRIALS)), resumed, list(range(N_TRIALS)))
    assert np.array_equal(undisturbed.status_RF, resumed.status_RF)


@pytest.mark.parametrize("stopped_after", [5, 6, 7, 8])
def test_a_divergence_just_before_a_checkpoint_is_dated_to_its_step(
    stopped_after: int, tmp_path: Any
) -> None:
    # The weight is (-3)^t and the loss 2 * 9^t: above 1e4 first at t = 4, no look until 8.
    trials = make_trials(Quadratic(), 2, {"lr": [1.0, 0.1]}, dtype="float64")
    rule = RecordRule(np.array([0, 10]), ("train_loss",))
    left, folder = iter([False] * stopped_after), CheckpointFolder(tmp_path)
    options: dict[str, Any] = {"rule": rule, "stop": StopRule(loss_above=1e4)}
    run(Quadratic(), trials, checkpoints=folder, signal=lambda: next(left, True), **options)
    record = run(Quadratic(), trials, checkpoints=folder, **options)
    assert record.status_RF[0, [Status.OUTCOME, Status.STOPPED_AT]].tolist() == [3, 4]


class Counting(NoisyMlp):
    """Notes how many lanes each step and each measure of the pack had."""

    name = "counting"
    stepped: ClassVar[list[int]] = []
    measured: ClassVar[list[int]] = []

    def loss(self, trial: Any) -> torch.Tensor:
        # Also as seen by the vmap: `model` runs in train mode in a step only.
        self.stepped.append(n_lanes(trial))
        return super().loss(trial)

    def measure(self, trial: Any, wanted: frozenset[str]) -> dict[str, torch.Tensor]:
        self.measured.append(n_lanes(trial))
        return super().measure(trial, wanted)


def n_lanes(trial: Any) -> int:
    return int(torch._C._functorch.get_unwrapped(trial.weights["0.weight"]).shape[0])


def counted(trials: Trials, **options: Any) -> PackRecord:
    Counting.stepped.clear()
    Counting.measured.clear()
    return run(Counting(), trials, **options)


@pytest.fixture
def moved(monkeypatch: Any) -> list[int]:
    """How many lanes each update moved."""
    found: list[int] = []
    plain = Descent.step

    def step(self: Descent, *args: Any) -> None:
        found.append(len(self._state))
        plain(self, *args)

    monkeypatch.setattr(Descent, "step", step)
    return found


def test_a_group_stays_full_until_the_queue_is_empty(moved: list[int]) -> None:
    n, lanes = 60, 8
    trials = company(Counting(), n, "float32", RULES["sgd"])
    record = counted(trials, lanes=lanes, judge=EndsAt(ends_of(2, n)))
    assert sum(moved) == record.status_RF[:, Status.STOPPED_AT].sum()
    # All are seen at the step at which they end, where others enter: the last lanes shrink.
    assert sorted(moved, reverse=True) == moved
    assert sum(n_now for n_now in moved if n_now < lanes) <= lanes * STEPS


def test_without_early_ends_nothing_is_built_or_trained_twice() -> None:
    trials = company(Counting(), 12, "float32", RULES["sgd"])
    counted(trials, lanes=4)
    assert Counting.stepped == [4] * (3 * (STEPS + 1))
    assert Counting.measured == [4] * (3 * (STEPS + 1))


def test_a_measure_is_taken_of_those_lanes_only_that_stand_at_a_recorded_step() -> None:
    trials = company(Counting(), 16, "float32", RULES["sgd"])
    labels = every_step(Counting(), STEPS)
    grid = np.array([0, 7, STEPS])  # no period that newcomers could wait for
    rule = RecordRule(grid, labels.scalars, grid, labels.vectors, "float64")
    judge = EndsAt(dict.fromkeys([0, 1, 2], 7), [7])
    record = counted(trials, lanes=8, rule=rule, judge=judge)
    assert_as_undisturbed(record, run(NoisyMlp(), trials, rule=rule), rule)
    # Eight at 0 and at 7, three that enter there, at 0 and at 7, and the five that reach 20.
    assert Counting.measured[:5] == [8, 8, 3, 3, 5]


def test_where_steps_are_recorded_often_all_lanes_are_measured_together(
    moved: list[int],
) -> None:
    trials = company(Counting(), 24, "float32", {**RULES["sgd"], "steps": 64})
    rule = every_step(Counting(), 64, 4)
    assert entry_period(rule.steps, 64) == 4
    ends = {row: 4 * (1 + row % 15) for row in range(24)}
    counted(trials, lanes=8, rule=rule, judge=EndsAt(ends, range(4, 64, 4)))
    entries_and_ends = len(Counting.stepped) - len(moved)
    assert len(Counting.measured) <= len(moved) // 4 + entries_and_ends


class Odd(Mlp):
    """`data` raises where dropout is 0.9; noise above 0.5 gives it another shape."""

    name = "odd"

    def data(self, params: Any, stream: Any) -> dict[str, torch.Tensor]:
        if params.dropout == 0.9:
            raise RuntimeError("no such data")
        found = super().data(params, stream)
        return {name: t[:-1] for name, t in found.items()} if params.noise > 0.5 else found


def test_newcomers_that_cannot_enter_touch_no_lane_and_are_tried_alone() -> None:
    dropout, noise = [0.25] * N_TRIALS, [0.0] * N_TRIALS
    dropout[6], noise[9] = 0.9, 0.75
    columns = {"dropout": dropout, "noise": noise, "seed": range(N_TRIALS)}
    trials = make_trials(Odd(), N_TRIALS, columns)
    failures: dict[int, str] = {}
    judge = EndsAt(ends_of(4))
    record = run(Odd(), trials, lanes=4, judge=judge, on_failure=failures.__setitem__)
    assert list(failures) == [6]
    assert "no such data" in failures[6]
    outcomes = record.status_RF[:, Status.OUTCOME]
    assert outcomes[6] == Outcome.FAILED
    assert np.isin(np.delete(outcomes, 6), [Outcome.DONE, Outcome.PRUNED]).all()
    alone = run(Odd(), trials.take([9]), judge=EndsAt(ends_of(4)))
    assert same_rows(alone, [9], record, [9])


def test_data_that_all_trials_share_stay_one_row_and_are_drawn_once_a_group() -> None:
    drawn = []

    class Shared(Counting):
        def data(self, params: Any, stream: Any) -> dict[str, torch.Tensor]:
            drawn.append(params.noise)
            return super().data(params, stream)

        def loss(self, trial: Any) -> torch.Tensor:
            if n_lanes(trial) == 5:  # a single newcomer stands beside a copy of itself
                strides.add(torch._C._functorch.get_unwrapped(trial.data["x"]).stride(0))
            return super().loss(trial)

    strides: set[int] = set()
    trials = make_trials(Shared(), 20, {"lr": np.linspace(0.01, 0.05, 20)})
    run(Shared(), trials, lanes=5, judge=EndsAt(ends_of(3, 20)))
    assert drawn == [0.0]
    assert strides == {0}


def test_a_judge_is_asked_once_for_each_row_at_each_rung_below_its_end() -> None:
    trials = company(Mlp(), N_TRIALS, "float32", RULES["sgd"])
    ends = ends_of(7)
    judge = EndsAt(ends, [4, 8, STEPS])
    ends = {row: end for row, end in ends.items() if end in (4, 8)}
    run(Mlp(), trials, lanes=4, judge=judge)
    asked = sorted((row, step) for step, rows in judge.asked for row in rows)
    expected = [(row, s) for row in range(N_TRIALS) for s in (4, 8) if s <= ends.get(row, STEPS)]
    assert asked == expected


def test_a_judge_sees_what_is_recorded_and_the_caller_sees_it_first() -> None:
    heard: list[tuple[str, int]] = []
    rule = every_step(Mlp(), STEPS)

    class Looks(EndsAt):
        def judge(self, step: int, rows: Any, record: PackRecord) -> Any:
            heard.append(("judge", step))
            assert np.isfinite(record.scalars_RMS[rows, 0, step]).all()
            return super().judge(step, rows, record)

    def on_rung(record: PackRecord) -> None:
        heard.append(("rung", int(record.status_RF[:, Status.N_RECORDED].max()) - 1))

    run(Mlp(), make_trials(Mlp(), 2), rule=rule, judge=Looks({}, [5, 9]), on_rung=on_rung)
    assert heard == [("rung", 5), ("judge", 5), ("rung", 9), ("judge", 9)]


def test_a_trial_that_reaches_its_target_at_a_rung_is_done_and_not_pruned() -> None:
    trials = make_trials(Quadratic(), 2, {"lr": [0.1, 0.001]})
    stop = StopRule(Target("weight", 0.1, above=False))  # 0.6^t < 0.1 at t = 5
    record = run(Quadratic(), trials, stop=stop, judge=EndsAt({0: 5, 1: 5}, [5]))
    assert record.status_RF[:, Status.OUTCOME].tolist() == [Outcome.DONE, Outcome.PRUNED]
    assert record.status_RF[:, Status.STOPPED_AT].tolist() == [5, 5]


@pytest.mark.parametrize("answer", [[True], [0, 1], None])
def test_a_judge_that_fails_is_no_trials_fault(answer: Any) -> None:
    class Fails(EndsAt):
        def judge(self, step: int, rows: Any, record: PackRecord) -> Any:
            return answer if answer is not None else 1 / 0

    with pytest.raises(JudgeError, match="pruner"):
        run(Mlp(), make_trials(Mlp(), 2), judge=Fails({}))


def test_a_function_is_judged_where_it_reports_a_rung_and_not_at_its_last_step() -> None:
    reported = []

    @experiment_function(params={"steps": 6}, measures=["loss"])
    def train(trial: Any) -> None:
        for step in range(trial.steps + 1):
            reported.append(step)
            trial.report(step, loss=1.0)

    rule = RecordRule(np.arange(7), ("loss",))
    trials = Trials(np.arange(2), {}, {"seed": [0, 1], "steps": [6, 6]})
    record = PackRecord.empty(2, rule)
    choice = EngineChoice(Engine.FUNCTION, 1, False, "")
    judge = EndsAt({0: 3, 1: 6}, [3, 6])
    run(train, trials, record=record, rule=rule, choice=choice, judge=judge)
    assert record.status_RF[:, Status.OUTCOME].tolist() == [Outcome.PRUNED, Outcome.DONE]
    assert record.status_RF[:, Status.STOPPED_AT].tolist() == [3, 6]
    assert judge.asked == [(3, (0,)), (3, (1,))]
    assert reported == [*range(4), *range(7)]


def test_a_lane_is_timed_from_its_own_entry(monkeypatch: Any) -> None:
    clock = iter(range(10**6))  # each look at the clock takes a second
    monkeypatch.setattr("phasecube.engine.pack_loop.time.monotonic", lambda: next(clock))
    trials = make_trials(Quadratic(), 6, {"lr": [0.1] * 6}, steps=30)
    rule = every_step(Quadratic(), 30)
    record = run(
        Quadratic(), trials, lanes=2, rule=rule, trial_walltime_s=100,
        judge=EndsAt(dict.fromkeys([0, 2], 5), [5]),
    )  # fmt: skip
    outcomes = record.status_RF[:, Status.OUTCOME]
    assert outcomes.tolist() == [Outcome.PRUNED, 1, Outcome.PRUNED, 1, 1, 1]
