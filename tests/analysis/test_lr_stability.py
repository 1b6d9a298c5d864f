"""Boundaries, sensitivity and the optimum of studies whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.boundary.along_axis import Edge, power_law, upper_boundary
from phasecube.analysis.lr.stability import StabilityRule, lr_sensitivity, stable, tail_mean
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.maps.exact_lines import exact_line
from phasecube.analysis.maps.map_lines import row_of
from phasecube.analysis.report.page import Facts, write_pages
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

LRS = np.geomspace(1e-3, 1.0, 7)


def holds(edges: np.ndarray, lrs: np.ndarray = LRS, dims: tuple[str, ...] = ("seed",)):
    """Return a study in which a run is stable up to its own `edges`, over lr and `dims`."""
    edges = np.asarray(edges, float)
    coords = {"lr": lrs} | {d: np.arange(n) for d, n in zip(dims, edges.shape)}
    values = (lrs[(slice(None), *[None] * edges.ndim)] <= edges).astype(float)
    return xr.DataArray(values, coords, ("lr", *dims))


def test_a_boundary_lies_in_the_cell_where_most_members_stop_to_hold() -> None:
    found = upper_boundary(holds([0.05, 0.05, 0.05]), "lr")
    assert found.state == Edge.FOUND
    assert found.last_good == LRS[3] and found.first_bad == LRS[4]
    # All or none: the middle of the cell, and no interval narrower than it.
    assert float(found.boundary) == pytest.approx((LRS[3] * LRS[4]) ** 0.5)
    assert (float(found.low), float(found.high)) == (LRS[3], LRS[4])


def test_a_share_between_is_interpolated_on_the_scale_of_the_axis() -> None:
    # Shares of 4: 1 up to .0316, 3/4 at .1, 1/4 at .316.
    found = upper_boundary(holds([0.05, 0.2, 0.2, 0.5]), "lr")
    assert float(found.boundary) == pytest.approx((LRS[4] * LRS[5]) ** 0.5)
    linear = holds([1.5, 2.5, 2.5, 3.5], np.arange(0.0, 6.0))
    assert float(upper_boundary(linear, "lr").boundary) == pytest.approx(2.5)


def test_the_interval_holds_the_boundaries_of_resampled_seeds() -> None:
    edges = np.geomspace(2e-3, 0.5, 20)
    found = upper_boundary(holds(edges), "lr")
    assert found.low < found.last_good < found.first_bad < found.high
    # The median of 20 has a 95 % interval from the 6th to the 15th by order statistics.
    inner = sorted(edges)
    assert found.low <= inner[6] and found.high >= inner[13]
    assert found.low > inner[1] and found.high < inner[18]


def test_an_axis_that_ends_first_gives_a_bound_and_no_value() -> None:
    found = upper_boundary(holds([[5.0] * 3, [1e-5] * 3], dims=("width", "seed")), "lr")
    assert list(found.state.values) == [Edge.ABOVE, Edge.BELOW]
    assert np.isnan(found.boundary).all()
    assert (float(found.low[0]), float(found.high[0])) == (1.0, np.inf)
    assert (float(found.low[1]), float(found.high[1])) == (0.0, LRS[0])


def test_a_boundary_near_the_edge_may_reach_past_it_with_its_interval() -> None:
    found = upper_boundary(holds([0.5, 0.5, 0.5, 2.0, 2.0]), "lr")
    assert found.state == Edge.FOUND and np.isinf(found.high)


def test_what_has_not_ended_is_left_out_and_what_is_not_known_at_all_is_said() -> None:
    known = holds([[0.05] * 4, [0.05] * 4], dims=("width", "seed"))
    known[:, 0, 1:] = np.nan
    known[:, 1] = np.nan
    found = upper_boundary(known, "lr")
    assert list(found.state.values) == [Edge.FOUND, Edge.UNKNOWN]
    assert list(found.n_members.values) == [1, 0]
    assert found.last_good[0] == LRS[3] and np.isnan(found.low[1])


def test_holes_below_the_boundary_are_counted() -> None:
    known = holds([0.05] * 3)
    known[1] = 0.0
    found = upper_boundary(known, "lr")
    assert found.last_good == LRS[3] and found.n_holes == 1


def test_the_order_of_an_axis_does_not_matter() -> None:
    known = holds([0.05, 0.05, 0.2])
    shuffled = known.isel(lr=[3, 0, 6, 2, 5, 1, 4])
    xr.testing.assert_identical(upper_boundary(known, "lr"), upper_boundary(shuffled, "lr"))


def test_an_axis_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(StudyError, match="needs 'eta' as an axis; the study has lr, seed"):
        upper_boundary(holds([0.1]), "eta")


def law_of(edges: np.ndarray, widths: list[int], lrs: np.ndarray):
    values = holds(np.repeat(edges[:, None], 3, 1), lrs, ("width", "seed"))
    found = upper_boundary(values.assign_coords(width=widths), "lr")
    return found, power_law(found, "width")


def test_the_law_of_a_boundary_is_found_within_its_interval() -> None:
    widths = [16, 32, 64, 128, 256]
    _, law = law_of(3.0 * np.asarray(widths) ** -0.7, widths, np.geomspace(1e-2, 2, 60))
    assert law.low <= -0.7 <= law.high and law.n == 5 and law.n_censored == 0
    assert float(law.high - law.low) < 0.2
    assert float(law.factor) == pytest.approx(3.0, rel=0.2) and law.misfit < 2


def test_a_boundary_that_is_no_power_is_known_by_its_misfit() -> None:
    batches = [1, 4, 16, 64, 256]
    edges = 2 * np.asarray(batches) / (11 + np.asarray(batches))
    _, law = law_of(edges, batches, np.geomspace(0.1, 4, 60))
    assert law.misfit > 3


def test_boundaries_past_the_axis_are_no_points_of_the_law() -> None:
    widths = [2, 16, 32, 64, 128]
    found, law = law_of(3.0 * np.asarray(widths) ** -0.7, widths, np.geomspace(1e-2, 1, 60))
    assert found.state[0] == Edge.ABOVE
    assert law.n == 4 and law.n_censored == 1
    assert law.low <= -0.7 <= law.high


def test_boundaries_on_one_grid_line_do_not_make_a_law_exact() -> None:
    _, law = law_of(np.full(4, 0.05), [1, 2, 4, 8], LRS)
    # Cells of half a decade: the slope of uniform errors, times Student's t of 2 degrees.
    spread = ((np.log([1, 2, 4, 8]) - np.log([1, 2, 4, 8]).mean()) ** 2).sum()
    half = 4.302653 * (np.log(LRS[1] / LRS[0]) ** 2 / 12 / spread) ** 0.5
    assert law.exponent == 0 and float(law.high) == pytest.approx(half, rel=1e-6)


def test_two_boundaries_make_no_law() -> None:
    _, law = law_of(np.array([0.05, 0.02]), [1, 2], LRS)
    assert np.isnan(law.exponent) and law.n == 2


def runs(final: np.ndarray, first: float = 1.0, outcome=Outcome.DONE, n_recorded=None):
    """Return a study over lr and seed with loss `first`, then `final` at the two last records."""
    loss = np.stack([np.full_like(final, first), final, final], -1)
    coords = {"lr": LRS[: final.shape[0]], "seed": np.arange(final.shape[1])}
    return study_dataset(coords, [0, 5, 10], {"loss": loss}, outcome, n_recorded)


def test_three_labels_are_three_questions() -> None:
    final = np.array([[0.5], [0.001], [0.9], [1.5], [np.nan]])
    outcome = np.array([[Outcome.DONE]] * 4 + [[Outcome.DIVERGED]])
    ds = runs(final, outcome=outcome)

    def labelled(**options: object) -> list[float]:
        return stable(ds, "loss", StabilityRule(**options)).squeeze("seed").values.tolist()

    assert labelled() == [1, 1, 1, 1, 0]
    assert labelled(loss_above=1.2) == [1, 1, 1, 0, 0]
    assert labelled(label="converged", converged_below=0.01) == [0, 1, 0, 0, 0]
    assert labelled(label="locally_stable") == [1, 1, 1, 0, 0]


def test_a_trial_that_failed_or_has_not_ended_is_neither_stable_nor_not() -> None:
    outcome = np.array(
        [[Outcome.NOT_RUN], [Outcome.FAILED], [Outcome.OUT_OF_MEMORY], [Outcome.TIMED_OUT]]
    )
    found = stable(runs(np.full((4, 1), 0.5), outcome=outcome), "loss")
    np.testing.assert_array_equal(found.squeeze("seed"), [np.nan, np.nan, np.nan, 1])


def test_convergence_without_a_bound_is_refused() -> None:
    with pytest.raises(StudyError, match="needs converged_below"):
        stable(runs(np.ones((2, 1))), "loss", StabilityRule("converged"))


def test_the_tail_is_that_of_the_trial_and_not_of_the_study() -> None:
    loss = np.array([[[8.0, 4.0, 2.0, 1.0]], [[8.0, 4.0, 2.0, 1.0]]])
    ds = study_dataset(
        {"lr": [0.1, 0.2], "seed": [0]},
        [0, 1, 2, 3],
        {"loss": loss},
        n_recorded=np.array([[4], [3]]),
    )
    assert tail_mean(ds, "loss", 2).values.tolist() == [[1.5], [3.0]]
    assert tail_mean(ds, "loss", 1).values.tolist() == [[1.0], [2.0]]


# Losses of a small transformer, read from a published-style protocol run beforehand (B1).
PLAIN = [3.061, 2.630, 2.536, 2.525, 2.550, 3.475, 3.888]
QK_NORM = [3.076, 2.628, 2.536, 2.526, 2.537, 2.563, 2.648]


@pytest.mark.parametrize(
    ("losses", "sensitivity", "upper"), [(PLAIN, 0.427, 0.584), (QK_NORM, 0.119, 0.043)]
)
def test_sensitivity_has_the_reference_values(
    losses: list[float], sensitivity: float, upper: float
) -> None:
    found = lr_sensitivity(runs(np.array(losses)[:, None], first=4.584), "loss")
    # The reference has three digits of losses of three digits.
    assert float(found.sensitivity) == pytest.approx(sensitivity, abs=1e-3)
    assert float(found.sensitivity_up) == pytest.approx(upper, abs=1e-3)
    assert float(found.optimum) == LRS[3] and found.at_edge == 0
    assert (float(found.optimum_low), float(found.optimum_high)) == (LRS[2], LRS[4])
    assert (found.attrs["lr_first"], found.attrs["lr_last"]) == (LRS[0], LRS[-1])


def test_a_run_that_diverged_or_ended_above_its_start_counts_as_its_start() -> None:
    final = np.array([[0.5], [0.2], [7.0], [np.nan]])
    outcome = np.array([[Outcome.DONE]] * 3 + [[Outcome.DIVERGED]])
    recorded = np.array([[3], [3], [3], [1]])
    found = lr_sensitivity(runs(final, 1.0, outcome, recorded), "loss")
    assert float(found.sensitivity) == pytest.approx((0.3 + 0 + 0.8 + 0.8) / 4, rel=1e-6)
    assert float(found.sensitivity_up) == pytest.approx((0 + 0.8 + 0.8) / 3, rel=1e-6)


def test_an_uneven_axis_is_weighted_by_the_width_of_its_cells() -> None:
    """Refining one end must not change what a step in the loss costs in log lr."""
    lrs = np.array([1e-3, 1e-2, 1e-1, 10**-0.5, 1.0])
    loss = np.stack([np.ones(5), (lrs > 0.2) * 0.6], -1)[:, None]
    ds = study_dataset({"lr": lrs, "seed": [0]}, [0, 1], {"loss": loss})
    # Widths in decades: 1, 1, .75, .5, .5.
    found = lr_sensitivity(ds, "loss")
    assert float(found.sensitivity) == pytest.approx(0.6 * 1.0 / 3.75, rel=1e-6)


@pytest.mark.parametrize(("best", "edge"), [(0, -1), (6, 1), (3, 0)])
def test_an_optimum_at_an_end_of_the_axis_is_warned_of(best: int, edge: int) -> None:
    final = np.full((7, 3), 0.8)
    final[best] = 0.1
    found = lr_sensitivity(runs(final), "loss")
    assert float(found.optimum) == LRS[best] and found.at_edge == edge


def test_a_seed_without_all_its_learning_rates_does_not_count() -> None:
    final = np.array([PLAIN, QK_NORM]).T
    outcome = np.full(final.shape, Outcome.DONE)
    outcome[2, 1] = Outcome.NOT_RUN
    both = lr_sensitivity(runs(final, 4.584, outcome), "loss")
    alone = lr_sensitivity(runs(final[:, :1], 4.584), "loss")
    assert both.n_members == 1
    assert float(both.sensitivity) == float(alone.sensitivity)


def test_dask_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    final = rng.uniform(0, 2, (7, 5))
    outcome = np.where(rng.uniform(size=(7, 5)) < 0.2, Outcome.DIVERGED, Outcome.DONE)
    ds = runs(final, 1.0, outcome)
    lazy = ds.chunk(lr=2, step=1)
    for rule in (
        StabilityRule(loss_above=1.0, tail=2),
        StabilityRule("converged", converged_below=0.5),
        StabilityRule("locally_stable", tail=2),
    ):
        xr.testing.assert_identical(stable(ds, "loss", rule), stable(lazy, "loss", rule))
    for tail in (1, 2):
        one, two = (lr_sensitivity(d, "loss", tail=tail) for d in (ds, lazy))
        xr.testing.assert_identical(one, two)


def test_a_report_of_a_dask_study_is_that_of_the_same_study_in_memory() -> None:
    ds = sgd_like([1, 2, 4])
    wanted = request("lr_stability", OPTIONS | {"sensitivity": "log_norm2"})
    tables = [draw(d, wanted).sections[0].maps[0].table for d in (ds, ds.chunk(lr=2, step=1))]
    pd.testing.assert_frame_equal(*tables)


def test_exact_lines_read_axes_before_what_is_fixed() -> None:
    found = exact_line("sgd_gaussian_mean_square", {"batch": [1, 4]}, {"dimension": 10, "batch": 9})
    np.testing.assert_allclose(found, [2 / 12, 8 / 15])
    assert exact_line("quartic_divergence", {}, {}).tolist() == [2.0]
    with pytest.raises(StudyError, match="needs 'dimension'"):
        exact_line("sgd_gaussian_mean_square", {"batch": [1]}, {})
    with pytest.raises(StudyError, match="there is no line 'magic'"):
        exact_line("magic", {}, {})


def sgd_like(batches: list[int], n_seeds: int = 4, edge_of: float = 1.0) -> xr.Dataset:
    """Return a study whose runs shrink up to `edge_of` times the exact mean-square line."""
    lrs = np.geomspace(0.05, 0.8, 9)
    edge_B = edge_of * 2 * np.asarray(batches) / (11 + np.asarray(batches))
    last = np.where(lrs[:, None, None] <= edge_B[:, None], -1.0, 1.0)
    curves = np.stack([np.zeros_like(last), last], -1)
    ds = study_dataset(
        {"lr": lrs, "batch": batches, "seed": np.arange(n_seeds)},
        [0, 10],
        {"log_norm2": np.broadcast_to(curves, (9, len(batches), n_seeds, 2))},
    )
    return ds.assign_attrs(fixed='{"dimension": 10}')


OPTIONS = {
    "x": "batch",
    "measure": "log_norm2",
    "loss_above": 0.0,
    "exact": "sgd_gaussian_mean_square",
}


def test_the_map_holds_shares_and_beside_them_the_boundary_and_the_exact_line() -> None:
    (section,) = draw(sgd_like([1, 2, 4]), request("lr_stability", OPTIONS)).sections
    (stability,) = section.maps
    assert set(stability.table.value) == {0.0, 1.0}
    exact = stability.table.exact_sgd_gaussian_mean_square
    assert exact[:3].tolist() == pytest.approx([2 / 12, 4 / 13, 8 / 15])
    assert (stability.table.boundary_low <= exact).all()
    assert (exact <= stability.table.boundary_high).all()
    measured, line = stability.lines
    # Rows are learning rates, a factor sqrt(2) apart from .05 on; no point is off its cell.
    np.testing.assert_allclose(line.row_C, 2 * np.log2(exact[:3] / 0.05))
    assert (np.abs(measured.row_C - line.row_C) <= 0.5).all()
    assert (measured.low_C < measured.row_C).all() and (measured.row_C < measured.high_C).all()


def test_a_boundary_past_the_axis_is_drawn_as_a_bound_only() -> None:
    (section,) = draw(sgd_like([1, 2, 40]), request("lr_stability", OPTIONS)).sections
    (stability,) = section.maps
    measured, line = stability.lines
    assert measured.past == ((2, True),)
    assert np.isnan(measured.row_C[2]) and np.isnan(line.row_C[2])
    facts = dict(stability.cells[2].facts)
    assert facts["boundary here"] == "above 0.8, the last value"


def test_the_caption_says_the_law_and_what_it_leaves_out() -> None:
    (section,) = draw(sgd_like([1, 2, 4, 5, 400]), request("lr_stability", OPTIONS)).sections
    caption = section.maps[0].caption
    assert "boundary ∝ batch^0.8" in caption and "4 boundaries, 1 beyond the axis" in caption


def test_the_sensitivity_is_told_with_its_range_and_the_warning_of_an_edge() -> None:
    loss = np.broadcast_to(np.array(PLAIN)[:, None, None], (7, 2, 3))
    curves = np.stack([np.full_like(loss, 4.584), loss], -1)
    curves[5:, 1, :, 1] = 1.0  # the second width is best at the largest
    ds = study_dataset(
        {"lr": LRS, "width": [32, 64], "seed": [0, 1, 2]}, [0, 300], {"loss": curves}
    )
    wanted = request("lr_stability", {"x": "width", "measure": "loss", "sensitivity": "loss"})
    (section,) = draw(ds, wanted).sections
    caption = section.maps[0].caption
    assert "Sensitivity of loss over lr from 0.001 to 1: width = 32: 0.427, 0.584" in caption
    assert "the best may lie beyond" not in caption
    assert section.maps[0].table.optimum.tolist()[:2] == pytest.approx([LRS[3], LRS[5]])


def test_a_study_that_lacks_the_axis_says_so_on_its_page(tmp_path: Path) -> None:
    ds = sgd_like([1, 2]).rename(lr="eta")
    ds.attrs |= {"title": "t", "question": "", "sweep": "s", "experiment": "e"}
    wanted = [request("lr_stability", OPTIONS), request("lr_stability", OPTIONS | {"lr": "eta"})]
    write_pages(ds, wanted, Facts(), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "the study has no axis &#39;lr&#39;" in page
    assert page.count('class="over"') == 4  # two lines over the map, two in its legend
    assert (tmp_path / "figures" / "2-1-stability.pdf").stat().st_size > 2000


def test_a_lone_column_has_its_exact_line_across_the_cell() -> None:
    wanted = request("lr_stability", {n: v for n, v in OPTIONS.items() if n != "x"})
    (section,) = draw(sgd_like([2]), wanted).sections
    line = section.maps[0].lines[1]
    ((left, right),) = line.pieces()
    assert (left[0], right[0]) == (-0.5, 0.5)


def test_rows_are_interpolated_and_end_at_the_outer_edges() -> None:
    at = np.array([1.0, 2.0, 4.0])
    found = row_of(np.array([2**0.5, 0.75, 0.1, np.inf, np.nan]), at, clip=True)
    np.testing.assert_allclose(found, [0.5, np.log2(0.75), -0.5, 2.5, np.nan])
    hidden = row_of(np.array([0.1, np.inf, 4.0]), at, clip=False)
    np.testing.assert_allclose(hidden, [np.nan, np.nan, 2.0])
