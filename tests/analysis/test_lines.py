"""Slices and trajectories: which trials stand behind a point, what is drawn and said of it."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.lines import slices, trajectories
from phasecube.analysis.plots import PLOT_KINDS, options_type
from phasecube.analysis.print_style import as_svg
from phasecube.analysis.report.page import Facts, write_pages
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.analyses import ANALYSES, REQUIRED

STEPS = [0, 10, 20]
WIDTHS, ARMS, SEEDS = [8, 16, 32, 64], ["a", "b"], [0, 1, 2, 3]


def study(outcome: np.ndarray | Outcome = Outcome.DONE) -> xr.Dataset:
    """Return loss = factor * width^-1/2 at the last step, ten times that at the first."""
    width = np.array(WIDTHS, float)[:, None, None, None]
    factor = np.array([1.0, 4.0])[:, None, None]
    seed = 1 + 0.01 * np.array(SEEDS, float)[:, None]
    late = np.array([10.0, 2.0, 1.0])
    ds = study_dataset(
        {"width": WIDTHS, "arm": ARMS, "seed": SEEDS},
        STEPS,
        {"loss": width**-0.5 * factor * seed * late},
        outcome=outcome,
    )
    return ds.assign_attrs(fixed=json.dumps({"lr": 0.5}))


def table(ds: xr.Dataset, **options: object):
    wanted = request("slices", {"measure": "loss", "x": "width", **options})
    (plot,) = slices.draw(ds, wanted.options)
    return plot


def test_a_slice_is_the_median_over_seeds_at_the_last_step_of_each_line() -> None:
    found = table(study(), by="arm").table
    first = found[found.arm == "a"]
    np.testing.assert_allclose(first["value"], np.array(WIDTHS) ** -0.5 * 1.015, rtol=1e-6)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert (found.n_used == 4).all() and list(first.width) == WIDTHS


def test_a_slice_can_be_taken_at_an_earlier_step() -> None:
    found = table(study(), by="arm", step=10).table
    first = found[found.arm == "a"]
    np.testing.assert_allclose(first.value, 2 * np.array(WIDTHS) ** -0.5 * 1.015, rtol=1e-6)


def test_a_step_without_records_is_named() -> None:
    with pytest.raises(StudyError, match="loss was not recorded at step 11"):
        table(study(), by="arm", step=11)


def test_an_axis_that_nothing_names_makes_a_plot_for_each_value() -> None:
    options = request("slices", {"measure": "loss", "x": "width"}).options
    plots = slices.draw(study(), options)
    assert [p.title for p in plots] == [f"loss along width, arm = {arm}" for arm in ARMS]


def test_the_fit_finds_the_exponent_of_a_power_law_and_its_interval() -> None:
    plot = table(study(), by="arm", fit=True)
    assert "arm = a: ∝ width^−0.50 (95 % −0.50 to −0.50; 4 points)." in plot.caption


def test_the_interval_of_a_power_law_covers_its_exponent_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    x = np.geomspace(1, 100, 6)
    for _ in range(400):
        law = slices.power_law(x, 2 * x**-0.7 * np.exp(0.1 * rng.standard_normal(6)))
        assert law is not None
        hits += law.low <= -0.7 <= law.high
    # Exact coverage .95 for normal noise in logarithms: 400 draws stay within 4 standard errors.
    assert abs(hits / 400 - 0.95) < 4 * (0.95 * 0.05 / 400) ** 0.5


def test_two_points_make_no_law() -> None:
    assert slices.power_law(np.array([1.0, 2.0, 2.0]), np.ones(3)) is None


def test_diverged_trials_are_left_out_and_counted() -> None:
    outcome = np.full((4, 2, 4), Outcome.DONE, np.uint8)
    outcome[3, 0, :3] = Outcome.DIVERGED
    found = table(study(outcome), by="arm").table.iloc[3]
    assert found.n_used == 1 and found.n_diverged == 3
    assert found.value == pytest.approx(64**-0.5 * 1.03) and np.isnan(found.low)


def test_the_caption_counts_planned_trials_only() -> None:
    outcome = np.full((4, 2, 4), Outcome.DONE, np.uint8)
    outcome[:, :, 2:] = Outcome.NOT_PLANNED
    assert table(study(outcome), by="arm").caption.startswith("Median of 2 trials")


def test_values_are_multiplied_and_references_drawn_by_expressions_over_axes_and_fixed() -> None:
    plot = table(study(), by="arm", times="lr * sqrt(width)", reference=["1 / width", "lr"])
    found = plot.table[plot.table.arm == "a"]
    np.testing.assert_allclose(found.value, 0.5 * 1.015, rtol=1e-6)
    np.testing.assert_allclose(found["reference 1 / width"], 1 / np.array(WIDTHS))
    assert (found["reference lr"] == 0.5).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"times": "widht"}, "'widht' reads widht; here there are arm, lr, width"),
        ({"reference": ["1 / (width - 8)"]}, "gives no number here"),
        ({"measure": "accuracy"}, "the study recorded no 'accuracy'; it has loss"),
        ({"x": "depth"}, "the study has no axis 'depth'; it has width, arm, seed"),
        ({"by": "width"}, "x = 'width' and by = 'width' are the same axis"),
        ({"select": {"width": 8}}, "x and select both name the axis 'width'"),
        ({"fit": True, "x": "arm", "by": "width"}, "fit = true needs numbers on the axis 'arm'"),
    ],
)
def test_what_cannot_be_drawn_says_why(options: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        table(study(), **({"by": "arm"} | options))
    assert said in str(caught.value)


def test_an_axis_of_words_is_drawn_by_its_names() -> None:
    plot = table(study(), x="arm", by="width")
    assert list(plot.table.arm[:2]) == ARMS
    assert [t.get_text() for t in plot.figure().axes[0].get_xticklabels()] == ARMS


def test_a_line_is_told_by_its_axis_and_not_by_what_is_derived_from_it() -> None:
    ds = study().assign_coords(decay=("arm", [0.1, 0.2]))
    plot = table(ds, by="arm")
    assert list(plot.table.arm.unique()) == ["a", "b"] and "decay" not in plot.table


def test_a_zip_is_drawn_by_the_names_of_its_places() -> None:
    ds = study().isel(width=slice(0, 2)).rename(width="size").drop_vars("size")
    ds = ds.assign_coords(depth=("size", [2, 4]), rate=("size", [0.5, 0.1]))
    options = request("slices", {"measure": "loss", "x": "size", "by": "arm"}).options
    (plot,) = slices.draw(ds, options)
    ticks = plot.figure().axes[0].get_xticklabels()
    assert [t.get_text() for t in ticks] == ["2, 0.5", "4, 0.1"]


def test_the_start_is_in_sight_where_steps_are_logarithmic() -> None:
    axes = trajectory(study(), step_scale="log")[0].figure().axes[0]
    assert axes.get_xlim()[0] <= 0 and axes.get_xscale() == "symlog"


def vector_study() -> xr.Dataset:
    ds = study()
    values = ds.loss.rename(step="vector_step") * xr.DataArray([1.0, 3.0], dims="layer")
    coords = {"layer": ["in", "out"], "vector_step": STEPS}
    return ds.assign(rms=values).assign_coords(coords)


def test_the_labels_of_a_vector_measure_are_an_axis() -> None:
    options = {"measure": "rms", "x": "layer", "by": "arm", "select": {"width": 16}}
    (plot,) = slices.draw(vector_study(), request("slices", options).options)
    np.testing.assert_allclose(plot.table.value[:2], 0.25 * 1.015 * np.array([1, 3]), rtol=1e-6)
    assert (plot.table.n_used == 4).all()


def test_a_label_can_be_selected_and_an_unknown_one_is_named() -> None:
    options = {"measure": "rms", "x": "width", "by": "arm", "select": {"layer": "out"}}
    (plot,) = slices.draw(vector_study(), request("slices", options).options)
    assert plot.table.value[0] == pytest.approx(3 * 8**-0.5 * 1.015)
    options["select"] = {"layer": "middle"}
    with pytest.raises(StudyError, match="layer has no label 'middle'; it has in, out"):
        slices.draw(vector_study(), request("slices", options).options)


def test_a_measure_of_a_rarer_cadence_is_taken_at_its_last_value() -> None:
    ds = study()
    ds["loss"] = ds.loss.where(ds.step != 20)  # not measured at the last record
    np.testing.assert_allclose(
        table(ds, by="arm").table.value[:4], 2 * np.array(WIDTHS) ** -0.5 * 1.015, rtol=1e-6
    )


def trajectory(ds: xr.Dataset, **options: object):
    found = request("trajectories", {"measure": "loss", "by": "width", **options}).options
    return trajectories.draw(ds, found)


def test_a_trajectory_is_the_median_and_range_over_seeds_at_each_step() -> None:
    plot = trajectory(study())[0]
    first = plot.table[plot.table.width == 8]
    np.testing.assert_allclose(first["median"], 8**-0.5 * 1.015 * np.array([10, 2, 1]), rtol=1e-6)
    np.testing.assert_allclose(first.high / first.low, 1.03, rtol=1e-5)


def test_a_reference_of_a_trajectory_may_read_the_step() -> None:
    plot = trajectory(study(), reference=["width + step"], select={"arm": "a"})[0]
    first = plot.table[plot.table.width == 16]
    assert list(first["reference width + step"]) == [16, 26, 36]


def test_records_at_which_a_measure_was_not_taken_are_no_points_of_its_line() -> None:
    ds = study()
    ds["loss"] = ds.loss.where(ds.step != 10)
    assert list(trajectory(ds)[0].table.step[:2]) == [0, 20]


def test_a_trajectory_in_bins_shows_the_mean_of_each_trials_records_in_them() -> None:
    plot = trajectory(study(), bins=1, select={"arm": "a"})[0]
    first = plot.table[plot.table.width == 8]
    assert list(first.step) == [0, pytest.approx(200**0.5)]
    means = np.array([10, 1.5])  # records 0; 10 and 20
    np.testing.assert_allclose(first["median"], 8**-0.5 * 1.015 * means, rtol=1e-6)
    assert "Means of each trial's records in each decade, at the geometric mean" in plot.caption


def test_bins_that_are_none_are_refused() -> None:
    with pytest.raises(StudyError, match="bins a decade are 1 to 1,000, got 0"):
        trajectory(study(), bins=0)


def test_a_run_on_its_way_to_infinity_does_not_flatten_the_others() -> None:
    outcome = np.full((4, 2, 4), Outcome.DONE, np.uint8)
    outcome[3] = Outcome.DIVERGED
    ds = study(outcome)
    ds["loss"] = ds.loss * np.where(ds.width == 64, 1e20, 1.0)[:, None, None, None]
    top = trajectory(ds, select={"arm": "a"})[0].figure().axes[0].get_ylim()[1]
    assert top < 8


def test_the_page_shows_the_plot_and_its_table_and_keeps_files_for_print(tmp_path: Path) -> None:
    wanted = [
        request("slices", {"measure": "loss", "x": "width", "by": "arm", "title": "Widths <&>"}),
        request("trajectories", {"measure": "loss", "by": "width", "select": {"arm": "a"}}),
        request("slices", {"measure": "loss", "x": "depth"}),
    ]
    ds = study().assign_attrs(title="t", sweep="s", experiment="e", question="")
    write_pages(ds, wanted, Facts(), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<svg xmlns:xlink") == 2 and "Widths &lt;&amp;&gt;" in page
    assert "the study has no axis &#39;depth&#39;" in page
    stems = {p.stem for p in (tmp_path / "figures").glob("*.png")}
    assert stems == {"1-slices_loss_0", "2-trajectories_loss_0"}
    assert stems == {p.stem for p in (tmp_path / "tables").glob("*.csv")}


def test_two_pictures_of_one_page_share_no_id() -> None:
    plot = trajectory(study())[0]
    ids = [set(re.findall(r' id="([^"]+)"', as_svg(plot.figure(), salt))) for salt in "ab"]
    assert ids[0] and ids[1] and not ids[0] & ids[1]


@pytest.mark.parametrize("kind", sorted(PLOT_KINDS))
def test_a_sweep_file_takes_the_options_that_a_kind_draws_by(kind: str) -> None:
    options = fields(options_type(kind))
    assert {f.name for f in options} == ANALYSES[kind]
    needed = {f.name for f in options if f.default is MISSING and f.default_factory is MISSING}
    assert needed == set(REQUIRED.get(kind, ()))
