"""What the boundary sampler takes, and how it says what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasecube.engine.errors import SpecError
from phasecube.sweeps.sweep import Sweep, parse_sweep

SWEEP = """
name = "edge"
experiment = "scalar_quartic"
[axes]
lr = {{ between = [0.1, 3.0] }}
{axes}
[sampler]
kind = "boundary"
points = 20
question = {{ outcome = "diverged" }}
{sampler}
"""


def read(sampler: str = "", axes: str = "") -> Sweep:
    return parse_sweep(SWEEP.format(sampler=sampler, axes=axes), Path())


def faults_of(sampler: str = "", axes: str = "") -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        read(sampler, axes)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_tolerance_and_explore_are_shares() -> None:
    assert read("options = { tolerance = 0.02, explore = 0 }").sampler is not None
    faults = faults_of('options = { tolerance = 0, explore = "much" }')
    assert (
        "takes a share above 0 and below 1, as 0.01; got 0" in (faults["sampler.options.tolerance"])
    )
    assert (
        "takes a share from 0 and below 1, as 0.2; got 'much'"
        in (faults["sampler.options.explore"])
    )


def test_an_unknown_option_is_told_with_those_there_are() -> None:
    faults = faults_of("options = { epsilon = 0.1 }")
    assert faults["sampler.options.epsilon"] == (
        "is no option of boundary; it takes tolerance, explore"
    )


def test_a_question_takes_the_place_of_objectives() -> None:
    faults = faults_of('objectives = [{ measure = "train_loss" }]')
    assert "takes no objectives" in faults["sampler.objectives"]


def test_more_than_three_searched_axes_are_told() -> None:
    axes = "\n".join(f"{n} = {{ between = [0.1, 0.9] }}" for n in ("kick", "momentum", "eps"))
    assert "boundary searches up to 3 axes, got 4" in faults_of(axes=axes)["sampler.kind"]
