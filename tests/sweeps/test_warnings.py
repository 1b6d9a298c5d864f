"""What `Params.warnings` tells is said by `plan` and by `run`, with its place in the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phasecube.engine.errors import SpecError
from phasecube.engine.experiments.sum_chain import SumChainParams
from phasecube.sweeps.sweep import Sweep, parse_sweep

HEAD = """
name = "chain"
experiment = "sum_chain"
[record]
measures = ["reward"]
steps = { every = 1 }
"""
FIXED = "[fixed]\nsteps = 1\nprompts = 2\nminibatches = 1\nalgorithm = 'grpo'\n"
SEED = "[axes]\nseed = { values = [0] }\n"
INERT = (
    "1 update a collection: the policy is the one that answered, so the clip of the ratio of "
    "'grpo' does nothing; cut it into more minibatches or epochs"
)


def read(text: str) -> Sweep:
    return parse_sweep(HEAD + text, Path())


def told(text: str) -> list[str]:
    return [str(warning) for warning in read(text).warnings]


def test_a_term_that_does_nothing_is_told_at_the_fixed_value_that_makes_it_so() -> None:
    assert told(FIXED + SEED) == [f"fixed.minibatches: {INERT}"]


def test_it_is_told_at_the_axis_that_has_such_a_value_and_once() -> None:
    axes = "[axes]\nminibatches = { values = [1, 8] }\nseed = { values = [0, 1, 2] }\n"
    assert told("[fixed]\nalgorithm = 'grpo'\n" + axes) == [f"axes.minibatches: {INERT}"]


def test_a_sweep_with_faults_tells_those_alone() -> None:
    with pytest.raises(SpecError) as refused:
        read("[fixed]\nalgorithm = 'grpo'\nanswers = 1\nminibatches = 1\n" + SEED)
    assert "fixed.answers" in str(refused.value) and INERT not in str(refused.value)


@pytest.mark.parametrize(
    "fixed",
    [
        "minibatches = 2\nalgorithm = 'grpo'",
        "minibatches = 1\nalgorithm = 'reinforce'",
        "epochs = 2",
    ],
)
def test_nothing_is_told_where_every_term_acts(fixed: str) -> None:
    assert told(f"[fixed]\n{fixed}\n" + SEED) == []


def test_a_warning_is_no_fault() -> None:
    params = SumChainParams(minibatches=1)
    assert params.faults() == [] and params.warnings() == [("minibatches", INERT)]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_command_says_it_and_goes_on(command: str, tmp_path: Path) -> None:
    (tmp_path / "chain.toml").write_text(HEAD + FIXED + SEED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "phasecube", command, "chain.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count(f"warning: fixed.minibatches: {INERT}") == 1
    assert command == "plan" or "1 of 1 trials settled" in output
