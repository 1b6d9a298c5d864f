"""A measure with a cadence of its own, from the sweep file to the analyses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import phasecube
from phasecube.analysis.lr.stability import tail_mean
from phasecube.analysis.order_parameters import final_value, onset
from phasecube.analysis.report.curves import curves_of
from phasecube.engine.errors import SpecError, StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.plan import expand, read_plan
from phasecube.sweeps.sweep import parse_sweep

HERE = Path(__file__).parent
SWEEP = """
name = "cadenced"
experiment = "linear_teacher"
[axes.lr]
values = [0.5, 1.0]
[axes.steps]
values = [24, 40]
[fixed]
rows = 5
dimension = 8
l2 = 0.1
[record]
measures = ["train_loss", "test_error", "weight_norm", "weight_rms_per_weight"]
steps = { every = 2 }
dtype = "float64"
[resources]
processes = 1
engine = "vmap"  # two studies that are compared must not choose for themselves
lanes = 4
"""
CADENCE = """
[record.cadence]
test_error = { every = 10 }
weight_rms_per_weight = { log = 4 }
"""


def run(tmp_path: Path, name: str, text: str) -> xr.Dataset:
    return phasecube.run(parse_sweep(text, HERE), tmp_path / name).load()


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, xr.Dataset]:
    folder = tmp_path_factory.mktemp("cadence")
    return run(folder, "thin", SWEEP + CADENCE), run(folder, "full", SWEEP)


def test_a_measure_is_taken_at_its_cadence_at_0_and_at_every_last_step(studies: Any) -> None:
    thin, full = studies
    assert thin.test_error.attrs["cadence_steps"] == [0, 10, 20, 24, 30, 40]
    for steps, taken in ((24, [0, 10, 20, 24]), (40, [0, 10, 20, 24, 30, 40])):
        found = thin.test_error.sel(steps=steps).dropna("step", how="all")
        assert found.step.values.tolist() == taken
        expected = full.test_error.sel(steps=steps, step=taken)
        np.testing.assert_array_equal(found, expected)


def test_log_takes_the_nearest_of_the_recorded_steps(studies: Any) -> None:
    found = studies[0].weight_rms_per_weight.dropna("vector_step", how="all")
    # 1, 3.4, 11.7, 40 and the last steps 24 and 40; of two as near the earlier.
    assert found.vector_step.values.tolist() == [0, 2, 12, 24, 40]


def test_measures_without_a_cadence_keep_their_bits(studies: Any) -> None:
    thin, full = studies
    for name in ("train_loss", "weight_norm"):
        np.testing.assert_array_equal(thin[name], full[name])


def test_a_cadence_is_no_part_of_the_digest() -> None:
    with_it, without = (expand(parse_sweep(text, HERE)) for text in (SWEEP + CADENCE, SWEEP))
    np.testing.assert_array_equal(with_it.digests, without.digests)


def test_a_plan_written_down_keeps_its_cadences(tmp_path: Path) -> None:
    plan = expand(parse_sweep(SWEEP + CADENCE, HERE))
    plan.write(tmp_path / "plan.parquet")
    again = read_plan(tmp_path / "plan.parquet")
    for name, steps in plan.rule.cadences.items():
        np.testing.assert_array_equal(again.rule.cadences[name], steps)
    assert again.sweep.record == plan.sweep.record


def test_a_study_keeps_its_cadences(tmp_path: Path) -> None:
    run(tmp_path, "study", SWEEP + CADENCE)
    run(tmp_path, "study", (SWEEP + CADENCE).replace("values = [0.5, 1.0]", "values = [0.25, 1.0]"))
    with pytest.raises(StudyError, match="the cadences differ"):
        run(tmp_path, "study", SWEEP)


def test_the_faults_of_cadences_are_told_at_once_and_say_what_to_do() -> None:
    text = (
        SWEEP
        + """
[record.cadence]
test_error = { every = 5 }
train_loss = [0, 7]
weight_norm = [4, 2]
train_los = { every = 2 }
weight_rms_per_weight = { log = 3, evry = 2 }
[stop]
target = { measure = "train_loss", below = 0.1 }
"""
    )
    with pytest.raises(SpecError) as caught:
        parse_sweep(text, HERE)
    known = "known are: test_error, train_loss, weight_norm, weight_rms_per_weight"
    thin = "and a cadence only thins them"
    assert sorted(str(fault) for fault in caught.value.faults) == [
        f"record.cadence.test_error: step 5 is not among record.steps, {thin}; "
        "take a multiple of 2",
        "record.cadence.train_los: 'train_los' is not recorded; did you mean 'train_loss'? "
        f"{known}",
        f"record.cadence.train_loss: step 7 is not among record.steps, {thin}; "
        "record at it too, or use { log = 5 }",
        "record.cadence.train_loss: stop.target looks at it at every record; leave this out",
        "record.cadence.weight_norm: explicit steps increase and stand once each",
        "record.cadence.weight_rms_per_weight.evry: unknown key; did you mean 'every'? "
        "known are: every, log",
    ]


def test_a_trial_that_stops_early_is_measured_at_its_last_step(tmp_path: Path) -> None:
    stop = '[stop]\ntarget = { measure = "train_loss", below = 2e-3 }\n'
    thin, full = (
        run(tmp_path, name, text + stop)
        for name, text in (("thin", SWEEP + CADENCE), ("full", SWEEP))
    )
    assert (thin.stopped_at < 24).all() and not np.isin(thin.stopped_at, [10, 20]).all()
    ended = final_value(thin, "test_error")
    assert ended.notnull().all()
    np.testing.assert_array_equal(ended, final_value(full, "test_error"))


def test_an_onset_lies_between_two_steps_at_which_the_measure_was_taken(studies: Any) -> None:
    thin, full = studies
    level = float(full.test_error.sel(lr=0.5, steps=40, step=14))
    for sustained in (False, True):
        found = onset(thin, "test_error", level, above=False, sustained=sustained)
        one = found.dataset("t", "onset").sel(lr=0.5, steps=40)
        assert (float(one.t), float(one.t_after)) == (20, 10)


def test_the_tail_is_of_records_at_which_the_measure_was_taken(studies: Any) -> None:
    thin, _ = studies
    found = tail_mean(thin, "test_error", 3).sel(steps=40)
    expected = thin.test_error.sel(steps=40, step=[24, 30, 40]).mean("step")
    np.testing.assert_allclose(found, expected)


def test_curves_thinned_for_the_page_keep_steps_at_which_all_were_taken() -> None:
    dims, steps = ("row", "column", "member"), np.arange(100)
    values = (*dims, "step"), np.ones((1, 1, 1, 100))
    ds = xr.Dataset(
        {
            "loss": values,
            "costly": (*values, {"cadence_steps": [0, 7, 50, 99]}),
            "n_recorded": (dims, np.full((1, 1, 1), 100)),
            "outcome": (dims, np.full((1, 1, 1), int(Outcome.DONE))),
        },
        {"step": steps},
    )
    panel = SimpleNamespace(ds=ds, members=[0])
    for measures, n in ((("loss",), 8), (("loss", "costly"), 4)):
        section: Any = SimpleNamespace(
            panel=panel, measures=measures, thresholds=(), log_step=False
        )
        found = curves_of(section, numbers=1)["steps"]
        assert len(found) == n and (n == 8 or found == [0, 7, 50, 99])
