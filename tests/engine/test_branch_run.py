"""A trial that goes on from another: its bits are the other's, until something differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from engine_cases import Mlp, NoisyMlp, Quadratic, every_step, make_trials
from torch import Tensor, nn

from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import StudyError
from phasecube.engine.params import AS_BEFORE, branch_faults
from phasecube.engine.record import Engine, Outcome, PackRecord, RecordRule, Status, StopRule
from phasecube.engine.run_pack import run_pack
from phasecube.engine.trials import Trials

PARENT = "ab" * 16
STEPS, BRANCH = 20, 7
States = dict[tuple[int, int], dict[str, Tensor]]


class Normed(Mlp):
    """With a buffer that every forward pass in training changes."""

    name = "normed"

    def model(self, params: Any) -> nn.Module:
        return nn.Sequential(
            nn.Linear(1, 8), nn.BatchNorm1d(8, track_running_stats=True), nn.Tanh(), nn.Linear(8, 1)
        )

    def labels(self, measure: str, params: Any) -> tuple[str, ...]:
        return tuple(f"{i}.{kind}" for i in (0, 1, 3) for kind in ("weight", "bias"))


def train(
    experiment: Any,
    trials: Trials,
    keep: Mapping[int, frozenset[int]] | None = None,
    starts: Mapping[int, Mapping[str, Tensor]] | None = None,
    *,
    lanes: int = 64,
    engine: Engine = Engine.VMAP_FORWARD,
    stop: StopRule | None = None,
) -> tuple[PackRecord, States, RecordRule]:
    rule = every_step(experiment, max(STEPS, trials.static["steps"]))
    record = PackRecord.empty(len(trials), rule)
    kept: States = {}

    def on_kept(step: int, states: Mapping[int, Mapping[str, Tensor]]) -> None:
        for lane, state in states.items():
            kept[lane, step] = {name: t.clone() for name, t in state.items()}

    choice = EngineChoice(engine, lanes, False, "asked for by a test")
    run_pack(
        experiment,
        trials,
        record,
        rule,
        stop or StopRule(),
        choice,
        keep=keep or {},
        on_kept=on_kept,
        starts=starts or {},
    )
    return record, kept, rule


def children(trials: Trials, step: int = BRANCH, **static: Any) -> Trials:
    n = len(trials)
    varying = {**trials.varying, "parent_trial": [PARENT] * n, "branch_step": [step] * n}
    return Trials(trials.lanes, {**trials.static, **static}, varying)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd with momentum": (NoisyMlp(), {"momentum": 0.9}),
    "adamw, warm-up": (NoisyMlp(), {"optimizer": "adamw", "lr": 0.01, "warmup_steps": 12}),
    "lion, cosine": (NoisyMlp(), {"optimizer": "lion", "lr": 0.01, "schedule": "cosine"}),
    "muon": (NoisyMlp(), {"optimizer": "muon", "lr": 0.01}),
    "8 bit": (NoisyMlp(), {"optimizer": "adamw_8bit", "state_min_size": 0, "lr": 0.01}),
    "sam, clipped": (NoisyMlp(), {"sam_rho": 0.05, "clip_norm": 0.1}),
    "buffers": (Normed(), {"momentum": 0.9}),
}


@pytest.mark.parametrize("case", CASES)
def test_with_its_parents_parameters_a_branch_has_its_parents_bits(case: str) -> None:
    experiment, params = CASES[case]
    varying = {n: [v] * 3 for n, v in params.items() if n in make_trials(experiment, 1).varying}
    static = {n: v for n, v in params.items() if n not in varying}
    parents = make_trials(experiment, 3, {"seed": [0, 1, 2], **varying}, **static)
    whole, kept, _ = train(experiment, parents, {lane: frozenset({BRANCH}) for lane in range(3)})
    starts = {lane: kept[lane, BRANCH] for lane in range(3)}
    branch, _, _ = train(experiment, children(parents), starts=starts, lanes=2)
    assert np.isnan(branch.scalars_RMS[:, :, :BRANCH]).all()
    after, known = branch.scalars_RMS[:, :, BRANCH:], whole.scalars_RMS[:, :, BRANCH:]
    assert np.isfinite(known).all() and after.tobytes() == known.tobytes()
    for name, values in whole.vectors.items():
        assert branch.vectors[name][:, BRANCH:].tobytes() == values[:, BRANCH:].tobytes()
    fields = [Status.OUTCOME, Status.N_RECORDED, Status.STOPPED_AT]
    assert np.array_equal(branch.status_RF[:, fields], whole.status_RF[:, fields])


@pytest.mark.parametrize("engine", [Engine.VMAP_GRADIENT, Engine.SEQUENTIAL])
def test_every_engine_goes_on_alike(engine: Engine) -> None:
    lanes = 1 if engine is Engine.SEQUENTIAL else 64
    parents = make_trials(NoisyMlp(), 2, {"seed": [0, 1]}, optimizer="adamw")
    at = {0: frozenset({BRANCH}), 1: frozenset({BRANCH})}
    whole, kept, _ = train(NoisyMlp(), parents, at, lanes=lanes, engine=engine)
    starts = {lane: kept[lane, BRANCH] for lane in (0, 1)}
    branch, _, _ = train(NoisyMlp(), children(parents), starts=starts, lanes=lanes, engine=engine)
    known = whole.scalars_RMS[:, :, BRANCH:].tobytes()
    assert branch.scalars_RMS[:, :, BRANCH:].tobytes() == known


@pytest.mark.parametrize("case", ["sgd with momentum", "buffers"])
def test_the_end_of_a_trial_is_a_state_to_go_on_from(case: str) -> None:
    experiment, _ = CASES[case]
    whole, _, _ = train(experiment, make_trials(experiment, 2, {"seed": [0, 1]}, steps=STEPS))
    first = make_trials(experiment, 2, {"seed": [0, 1]}, steps=8)
    _, kept, _ = train(experiment, first, {0: frozenset({8}), 1: frozenset({8})})
    second = children(first, 8, steps=STEPS)
    found, _, _ = train(experiment, second, starts={lane: kept[lane, 8] for lane in (0, 1)})
    assert found.scalars_RMS[:, :, 8:].tobytes() == whole.scalars_RMS[:, :, 8:].tobytes()


def test_decay_branches_of_one_trunk_are_whole_runs_with_a_decay() -> None:
    """Warm-up, stable, decay: until its decay begins a run does not know its length."""
    lengths, share = (10, 20, 40), 0.2
    begins = {n: round(n * (1 - share)) for n in lengths}
    trunk = make_trials(NoisyMlp(), 1, steps=40, optimizer="adamw", warmup_steps=3)
    _, kept, _ = train(NoisyMlp(), trunk, {0: frozenset(begins.values())})
    for n, begin in begins.items():
        wsd = make_trials(
            NoisyMlp(), 1, {"decay_fraction": [share]},
            steps=n, optimizer="adamw", schedule="wsd", warmup_steps=3,
        )  # fmt: skip
        whole, _, _ = train(NoisyMlp(), wsd)
        branch, _, _ = train(NoisyMlp(), children(wsd, begin), starts={0: kept[0, begin]})
        after = slice(begin, n + 1)
        assert np.isfinite(whole.scalars_RMS[:, :, after]).all()
        assert branch.scalars_RMS[:, :, after].tobytes() == whole.scalars_RMS[:, :, after].tobytes()


def test_a_branch_keeps_its_own_parameters_from_its_first_step_on() -> None:
    parents = make_trials(Quadratic(), 1, {"lr": [0.1]}, dtype="float64")
    _, kept, _ = train(Quadratic(), parents, {0: frozenset({4})})
    child = make_trials(Quadratic(), 1, {"lr": [0.05]}, dtype="float64")
    found, _, rule = train(Quadratic(), children(child, 4), starts={0: kept[0, 4]})
    weight_S = found.scalars_RMS[0, rule.scalars.index("weight"), 4:11]
    exact_S = 0.6**4 * 0.8 ** np.arange(7)
    np.testing.assert_allclose(weight_S, exact_S, rtol=1e-13)


def test_branches_that_begin_at_different_steps_share_a_pack() -> None:
    parents = make_trials(NoisyMlp(), 1, {"seed": [3]}, optimizer="adamw")
    whole, kept, _ = train(NoisyMlp(), parents, {0: frozenset({2, 5, 11})})
    n = 6
    pack = make_trials(NoisyMlp(), n, {"seed": [3] * n}, optimizer="adamw")
    begins = [0, 11, 2, 5, 2, 0]
    names = [PARENT if b else "" for b in begins]
    varying = {**pack.varying, "parent_trial": names, "branch_step": begins}
    starts = {lane: kept[0, b] for lane, b in enumerate(begins) if b}
    mixed = Trials(pack.lanes, pack.static, varying)
    for lanes in (64, 2):
        found, _, _ = train(NoisyMlp(), mixed, starts=starts, lanes=lanes)
        for lane, begin in enumerate(begins):
            known = whole.scalars_RMS[0, :, begin:]
            assert found.scalars_RMS[lane, :, begin:].tobytes() == known.tobytes()


def test_no_state_is_kept_of_a_trial_that_has_diverged() -> None:
    trials = make_trials(Quadratic(), 2, {"lr": [1.0, 0.1]}, dtype="float64")
    at = frozenset({5, 6, 7})  # the loss of the first is above 1e6 at step 6
    record, kept, _ = train(Quadratic(), trials, {0: at, 1: at}, stop=StopRule(loss_above=1e6))
    assert record.status_RF[0, Status.OUTCOME] == Outcome.DIVERGED
    assert {step for lane, step in kept if lane == 0} == {5, 6}
    assert {step for lane, step in kept if lane == 1} == {5, 6, 7}


def test_the_state_at_the_step_of_divergence_diverges_at_once() -> None:
    trials = make_trials(Quadratic(), 1, {"lr": [1.0]}, dtype="float64")
    stop = StopRule(loss_above=1e6)
    _, kept, _ = train(Quadratic(), trials, {0: frozenset({6})}, stop=stop)
    found, _, _ = train(Quadratic(), children(trials, 6), starts={0: kept[0, 6]}, stop=stop)
    fields = found.status_RF[0, [Status.OUTCOME, Status.STOPPED_AT]]
    assert fields.tolist() == [Outcome.DIVERGED, 6]


def test_without_its_parents_state_no_branch_begins() -> None:
    trials = children(make_trials(Mlp(), 1))
    with pytest.raises(StudyError, match=f"the state of trial {PARENT} before step 7 is missing"):
        train(Mlp(), trials)


def test_a_trial_of_no_parent_has_the_digest_it_always_had() -> None:
    assert (AS_BEFORE["parent_trial"], AS_BEFORE["branch_step"]) == ("", 0)


@pytest.mark.parametrize(
    ("parent", "step", "said"),
    [
        ("", 5, ["a trial that begins at step 5 has a parent_trial"]),
        (PARENT, 0, ["lies after 0 and before the trial's end, 20; got 0"]),
        (PARENT, 20, ["lies after 0 and before the trial's end, 20; got 20"]),
        (PARENT, 19, []),
        ("", 0, []),
    ],
)
def test_a_branch_lies_inside_its_trial(parent: str, step: int, said: list[str]) -> None:
    assert [m for _, m in branch_faults(20, parent, step)] == said
