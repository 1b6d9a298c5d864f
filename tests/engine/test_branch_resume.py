"""Branches beside kills, bad company and states of another step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import Mlp, NoisyMlp, Quadratic, make_trials, run
from test_pack_independence import RULES, company, same_rows

from phasecube.engine.checkpoint import CheckpointFolder
from phasecube.engine.errors import StudyError
from phasecube.engine.experiment import Params
from phasecube.engine.record import Outcome, Status
from phasecube.engine.trials import Trials

STEPS, BRANCH, N = 20, 7, 5
State = Mapping[str, torch.Tensor]


def branched(trials: Trials) -> Trials:
    """Return trials that go on from these, each from its own row."""
    lineage = {"parent_trial": [f"{row:032x}" for row in trials.lanes], "branch_step": [BRANCH] * N}
    return Trials(trials.lanes, trials.static, {**trials.varying, **lineage})


def states_at(experiment: Any, trials: Trials, step: int) -> dict[int, State]:
    """Return the states, by row, in which the trials stand before `step`."""
    found: dict[int, State] = {}

    def on_kept(_: int, states: Mapping[int, State]) -> None:
        for row, state in states.items():
            found[row] = {name: t.clone() for name, t in state.items()}

    keep = {int(row): frozenset([step]) for row in trials.lanes}
    run(experiment, trials, keep=keep, on_kept=on_kept)
    return found


@pytest.mark.parametrize("stopped_after", [1, 4, 12])
def test_a_branch_that_was_killed_goes_on_and_one_that_had_not_begun_begins(
    stopped_after: int, tmp_path: Path
) -> None:
    experiment = NoisyMlp()
    trials = company(experiment, N, "float32", RULES["cosine"])
    starts, children = states_at(experiment, trials, BRANCH), branched(trials)
    left, folder = iter([False] * stopped_after), CheckpointFolder(tmp_path)
    run(
        experiment, children, starts=starts, lanes=2, checkpoints=folder,
        signal=lambda: next(left, True),
    )  # fmt: skip
    resumed = run(experiment, children, starts=starts, lanes=3, checkpoints=folder)
    undisturbed = run(experiment, children, starts=starts)
    assert same_rows(resumed, list(range(N)), undisturbed, list(range(N)))


class FailsParams(Params):
    at: float = 0.0


class Fails(Quadratic):
    """Its data cannot be drawn for some trials."""

    name = "fails"
    params_type = FailsParams

    def data(self, params: Any, stream: Any) -> dict[str, torch.Tensor]:
        if params.at:
            raise RuntimeError("no such data")
        return {}


def test_bad_company_starts_a_branch_over_from_its_own_begin() -> None:
    at = [0.0, 0.0, 1.0, 0.0, 0.0]
    trials, sound = (
        make_trials(Fails(), N, {"at": column}, dtype="float64", steps=STEPS)
        for column in (at, [0.0] * N)
    )
    children = run(
        Fails(), branched(trials), starts=states_at(Fails(), sound, BRANCH),
        on_failure=lambda row, text: None,
    )  # fmt: skip
    outcomes = children.status_RF[:, Status.OUTCOME].tolist()
    assert outcomes == [Outcome.FAILED if row == 2 else Outcome.DONE for row in range(N)]
    rows = [0, 1, 3, 4]
    whole = run(Fails(), sound).scalars_RMS[rows][..., BRANCH:]
    assert whole.tobytes() == children.scalars_RMS[rows][..., BRANCH:].tobytes()


def test_a_branch_is_refused_the_state_of_another_step() -> None:
    trials = company(Mlp(), N, "float32", RULES["sgd"])
    with pytest.raises(StudyError, match=f"before step {BRANCH}"):
        run(Mlp(), branched(trials), starts=states_at(Mlp(), trials, 3))
