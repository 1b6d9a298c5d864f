"""What speaks against a study, a map or a line is named, and only where it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.analyses import Request, request
from phasecube.analysis.cube.opened import SCHEMA_VERSION
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.maps.map_cautions import better
from phasecube.analysis.report.outcome_places import ended
from phasecube.analysis.report.study_cautions import study_cautions, trained_by
from phasecube.engine.record import Engine, Outcome

STEPS = [0, 10, 20]
SHAPE = (4, 3, 2)  # lr, width, seed
LR = [0.01, 0.1, 1.0, 10.0]


def study(**changes: Any) -> xr.Dataset:
    """A finished study whose loss is least inside both axes; nothing speaks against it."""
    loss = np.array([3.0, 1.0, 2.0, 4.0])[:, None, None] + np.array([0.5, 0.0, 0.3])[:, None]
    loss = np.broadcast_to(loss, SHAPE)[..., None] * np.ones(3)
    ds = study_dataset(
        {"lr": LR, "width": [8, 16, 32], "seed": [0, 1]},
        STEPS,
        {"val_loss": loss, "train_accuracy": jump(STEPS, np.full(SHAPE, 5.0))},
    )
    ds["run"] = ds.run + 1
    return ds.assign(changes).assign_attrs(schema_version=SCHEMA_VERSION, fixed="{}")


def with_outcome(places: tuple[Any, ...], outcome: Outcome) -> xr.Dataset:
    ds = study()
    ds.outcome.values[places] = outcome
    for name in ("val_loss", "train_accuracy"):
        ds[name].values[places] = np.nan
    if outcome is Outcome.NOT_RUN:
        ds.n_recorded.values[places] = 0
    return ds


def run(commit: str = "abc", **more: Any) -> dict[str, Any]:
    code = {"commit": commit, "dirty": False}
    return {"phasecube_code": code, "sweep_code": None, "versions": {"torch": "2"}, **more}


def names(found: Any) -> list[str]:
    return [caution.name for caution in found]


def one(ds: xr.Dataset, runs: Any = ()) -> str:
    (caution,) = study_cautions(ds, runs)
    return str(caution)


def test_against_a_whole_study_nothing_speaks() -> None:
    assert study_cautions(study(), [run()]) == ()


def test_trials_that_have_not_ended_are_counted() -> None:
    ds = with_outcome((0, slice(None), slice(None)), Outcome.NOT_RUN)
    assert one(ds).startswith("half_a_study: 6 of 24 trials have not ended")


def test_cells_in_which_one_seed_ended_are_counted() -> None:
    ds = with_outcome((0, slice(0, 2), 0), Outcome.DIVERGED)
    assert one(ds).startswith("one_seed: 2 of 12 cells have one seed")


def test_a_study_of_one_seed_says_so() -> None:
    assert one(study().isel(seed=[0])).startswith("one_seed: every cell has one seed")
    assert names(study_cautions(study().isel(seed=0))) == ["one_seed"]


@pytest.mark.parametrize(("n", "told"), [(6, []), (7, ["many_diverged"])])
def test_more_than_a_quarter_diverged_is_many(n: int, told: list[str]) -> None:
    ds = study()
    ds.outcome.values.reshape(12, 2)[: n // 2] = Outcome.DIVERGED
    if n % 2:
        ds.outcome.values.reshape(24)[-1] = Outcome.DIVERGED
    assert [n for n in names(study_cautions(ds)) if n != "one_seed"] == told


def test_failed_trials_are_told_apart_from_those_without_memory() -> None:
    ds = with_outcome((0, 0), Outcome.FAILED)
    ds.outcome.values[1, 1] = Outcome.OUT_OF_MEMORY
    assert one(ds).startswith("failed_trials: 2 failed, 2 out of memory")
    assert "`phasecube retry STUDY --failed --out-of-memory` runs them again" in one(ds)


def test_engines_that_trained_rows_are_told_apart() -> None:
    ds = study()
    ds.engine.values[0] = Engine.SEQUENTIAL
    assert one(ds).startswith("several_engines: 18 vmap forward, 6 sequential")


def test_only_code_that_trained_rows_is_told_apart() -> None:
    runs = [run("aaa"), run("bbb")]
    assert study_cautions(study(), runs) == ()
    ds = study()
    ds.run.values[0] = 2
    assert trained_by(ds, ds.outcome) == {1: 18, 2: 6}
    assert one(ds, runs).endswith("different code: 18 by phasecube aaa; 6 by phasecube bbb")


def test_uncommitted_changes_are_other_code() -> None:
    ds = study()
    ds.run.values[0] = 2
    changed = run() | {"phasecube_code": {"commit": "abc", "dirty": True}}
    changed["snapshot"] = {"phasecube": "provenance/77.diff"}
    assert "6 by phasecube abc + provenance/77.diff" in one(ds, [run(), changed])


def test_versions_and_hardware_are_told_apart() -> None:
    ds = study()
    ds.run.values[0] = 2
    runs = [run(hardware={"cpu": "a"}), run(versions={"torch": "3"}, hardware={"cpu": "a"})]
    assert one(ds, runs).endswith("hardware: 18 by torch 2; 6 by torch 3")


def test_a_run_whose_line_is_torn_is_passed_by() -> None:
    ds = study()
    ds.run.values[0] = 2
    assert study_cautions(ds, [run(), {}]) == () == study_cautions(ds, [run()])


def test_a_cube_of_another_schema_says_how_to_rebuild_it() -> None:
    ds = study().assign_attrs(schema_version=SCHEMA_VERSION - 1)
    assert one(ds).startswith("older_cube: ") and "delete cube.zarr" in one(ds)


def maps(ds: xr.Dataset, **options: Any) -> Any:
    wanted = {"measure": "val_loss", "x": "width", "y": "lr"} | options
    (section,) = draw(ds, request("phase_diagram", wanted)).sections
    return section.maps[0]


def test_a_best_cell_inside_the_grid_is_no_caution() -> None:
    assert maps(study()).cautions == ()


def test_a_best_cell_at_the_edge_of_the_grid_is_named_with_its_axis() -> None:
    (caution,) = maps(study().isel(lr=[1, 2, 3])).cautions
    assert caution.name == "optimum_at_the_edge"
    assert "least final val loss, 1, lies at lr = 0.1, the first value" in caution.message
    assert "inside it is 2" in caution.message


def test_a_cell_inside_that_is_as_good_clears_the_axis() -> None:
    ds = study().isel(lr=[1, 2, 3])
    ds.val_loss.values[1] = ds.val_loss.values[0]
    assert maps(ds).cautions == ()


def test_two_values_are_no_axis_with_an_inside() -> None:
    assert maps(study().isel(lr=[1, 2])).cautions == ()


def test_zero_at_the_low_end_is_no_edge() -> None:
    ds = study().isel(lr=[1, 2, 3]).assign_coords(lr=[0.0, 0.1, 1.0])
    assert maps(ds).cautions == ()


def test_where_neither_end_is_the_better_one_there_is_no_edge() -> None:
    ds = study().isel(lr=[1, 2, 3]).rename(val_loss="sharpness")
    ds.sharpness.attrs["long_name"] = "largest eigenvalue"
    assert maps(ds, measure="sharpness").cautions == ()


def test_the_better_end_is_known_by_the_name_of_a_measure() -> None:
    assert (better("val_loss"), better("train_accuracy")) == ("least", "greatest")
    assert better("sharpness") is None and better("m", "test error") == "least"
    assert better("lossless") is None


def test_a_map_names_unfinished_single_and_surviving_cells() -> None:
    ds = study()
    ds.outcome.values[0, 0, 0], ds.outcome.values[1, 1, 0] = Outcome.NOT_RUN, Outcome.DIVERGED
    found = {c.name: c.message for c in maps(ds).cautions}
    assert found["half_a_study"].startswith("1 of 12 cells")
    assert found["one_seed"].startswith("2 of 12 cells")
    assert found["many_diverged"].startswith("1 of 12 cells")


def test_a_map_with_its_seeds_along_a_side_has_one_trial_a_cell_by_intent() -> None:
    assert "one_seed" not in names(maps(study(), x="seed", select={"width": 16}, over=[]).cautions)
    assert "one_seed" in names(maps(study(), select={"seed": 0}).cautions)


def test_how_many_trials_enter_a_map_is_said() -> None:
    assert maps(study()).entered == "All enter the map."
    ds = with_outcome((0, 0, 0), Outcome.DIVERGED)
    assert maps(ds).entered == "23 of the 24 enter the map."
    onset = maps(ds, measure="train_accuracy", quantity="onset", threshold=2.0)
    assert onset.entered == (
        "23 of the 24 enter the map, 23 of them censored: only a bound of theirs is known."
    )


def test_what_a_map_shows_is_its_least_and_greatest_value() -> None:
    assert maps(study()).found == "from 1 at width = 16, lr = 0.1 to 4.5 at width = 8, lr = 10"


def test_what_phases_show_is_how_many_cells_have_each() -> None:
    ds = study().assign(val_accuracy=study().train_accuracy)
    (section,) = draw(ds, Request("grokking", x="width", y="lr")).sections
    assert section.maps[0].found == "all 12 cells comprehension"


def slices(ds: xr.Dataset, **options: Any) -> Any:
    wanted = {"measure": "val_loss", "x": "lr", "by": "width"} | options
    return draw(ds, request("slices", wanted)).plots[0]


def test_slices_name_the_line_whose_best_value_is_at_the_edge() -> None:
    assert slices(study()).cautions == ()
    found = slices(study().isel(lr=[1, 2, 3])).cautions
    assert names(found) == ["optimum_at_the_edge"] * 3
    assert "value of width = 8, 1.5, lies at lr = 0.1" in found[0].message


def test_slices_say_how_many_trials_enter() -> None:
    plot = slices(with_outcome((0, 0, 0), Outcome.DIVERGED))
    assert "23 of 24 trials enter, diverged ones (1 of them)" in plot.caption
    assert names(plot.cautions) == ["one_seed"]
    assert plot.found == "from 1 at width = 16, lr = 0.1 to 4.5 at width = 8, lr = 10"


def test_where_the_trials_of_an_outcome_lie_is_said_by_the_axes() -> None:
    ds = with_outcome((slice(2, 4),), Outcome.DIVERGED)
    ds.outcome.values[0, 1, 1] = Outcome.FAILED
    where = {e.name: e.where for e in ended(ds)}
    assert where["diverged"] == "lr from 1 on"
    assert where["failed"] == "lr = 0.01; width = 16; seed = 1"
    assert where["done"] == "lr up to 0.1"
    assert [e.where for e in ended(study())] == ["at all values of every axis"]
