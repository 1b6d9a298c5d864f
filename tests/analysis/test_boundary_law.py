"""The analysis `boundary_law`: boundaries and onsets of made-up studies whose exponent is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.boundary.law_plot import Options, draw
from phasecube.analysis.boundary.law_rows import boundary_rows, shift_onset
from phasecube.analysis.order_parameters import Seen
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

LRS = np.geomspace(1e-3, 1.0, 13)
WIDTHS = np.array([16, 32, 64, 128, 256])
STEPS = [0, *np.unique(np.geomspace(1, 1000, 60).astype(int))]


def edges(scatter: float = 0.3, together: float = 0.0, n: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = scatter * rng.standard_normal((5, n)) + together * rng.standard_normal(n)
    return 2.0 * WIDTHS[:, None] ** -0.5 * np.exp(noise)


def stable_up_to(edge_WN: np.ndarray, lrs: np.ndarray = LRS) -> xr.Dataset:
    last = np.where(lrs[:, None, None] <= edge_WN, -1.0, 1.0)
    return study_dataset(
        {"lr": lrs, "width": WIDTHS[: len(edge_WN)], "seed": np.arange(edge_WN.shape[1])},
        [0, 1],
        {"loss": np.stack([0 * last, last], -1)},
    )


def law(ds: xr.Dataset, **more) -> Plot:
    options = {"x": "lr", "loss_above": 0.0} | more
    (plot,) = draw(ds, Options("loss", "width", **options))
    return plot


def names(plot: Plot) -> list[str]:
    return [caution.name for caution in plot.cautions]


def test_the_exponent_of_a_boundary_lies_within_its_interval() -> None:
    plot = law(stable_up_to(edges()), exponent=-0.5)
    row = plot.table.iloc[0]
    assert row.exponent_low < -0.5 < row.exponent_high and row.exponent_expected == -0.5
    assert row.exponent_high - row.exponent_low < 0.5
    assert (plot.table.n_trials == 13 * 6).all()
    assert "∝ width^p" in plot.caption and "Dotted: p = −0.5" in plot.caption
    assert plot.figure().axes[0].get_xscale() == "log" and names(plot) == []


def test_boundaries_beyond_the_axis_are_counted_and_do_not_tilt_the_line() -> None:
    short = LRS[LRS < 0.35]  # at width 16 and 32 most are stable at all learning rates
    plot = law(stable_up_to(edges(), short))
    assert plot.table.n_one_sided[0] >= 3
    assert plot.table.exponent_low[0] < -0.5 < plot.table.exponent_high[0]


def test_a_line_is_fitted_for_each_value_of_by() -> None:
    both = xr.concat([stable_up_to(edges()), stable_up_to(edges() / 4)], "arm", join="exact")
    both = both.assign_coords(arm=[0, 1])
    both["outcome"] = both.outcome.transpose("arm", ...)
    plot = law(both, by="arm")
    apart = plot.table[plot.table.arm == 0].law.values / plot.table[plot.table.arm == 1].law.values
    assert apart == pytest.approx(4.0, rel=0.3)


def test_a_member_that_changes_twice_lies_anywhere_between() -> None:
    holds = xr.DataArray(
        [[[1, 1, 0, 1, 0.0]], [[1, 0, 0, 0, 0]]],
        {"width": [1, 2], "seed": [0], "lr": [1.0, 2, 3, 4, 5]},
        ("width", "seed", "lr"),
    )
    rows = boundary_rows(holds, "lr", "width", ["seed"], "members", "below")
    assert (rows.low_WN[:, 0].tolist(), rows.high_WN[:, 0].tolist()) == ([2.0, 1.0], [5.0, 2.0])
    assert [c.name for c in rows.cautions] == ["not_monotone"]
    above = boundary_rows(1 - holds, "lr", "width", ["seed"], "members", "above")
    assert (above.low_WN == rows.low_WN).all() and (above.high_WN == rows.high_WN).all()


def test_slices_count_each_place_once() -> None:
    plot = law(stable_up_to(edges()), rows="slices")
    assert plot.table.n_bracketed.tolist() == [1] * 5
    assert plot.table.exponent_low[0] < -0.5 < plot.table.exponent_high[0]


def test_seeds_that_lie_high_everywhere_are_named() -> None:
    fine = np.geomspace(1e-3, 1.0, 61)
    assert "members_lie_together" in names(law(stable_up_to(edges(0.1, 0.5), fine)))
    assert "members_lie_together" not in names(law(stable_up_to(edges(0.3), fine)))


def test_a_boundary_that_bends_is_no_power_law() -> None:
    bent = edges(0.1) * (WIDTHS[:, None] / 64) ** (0.5 * np.log(WIDTHS[:, None] / 64))
    plot = law(stable_up_to(bent / 8, np.geomspace(1e-4, 1.0, 61)))
    (caution,) = [c for c in plot.cautions if c.name == "bent"]
    assert "from an exponent of -1" in caution.message


def onsets(n: int = 8, stop: int | None = None) -> xr.Dataset:
    rng = np.random.default_rng(1)
    at_WN = 4000.0 / WIDTHS[:, None] * np.exp(0.2 * rng.standard_normal((5, n)))
    curves = jump(STEPS, at_WN) + 0.03 * rng.standard_normal((5, n, len(STEPS)))
    recorded = len(STEPS) if stop is None else int((np.asarray(STEPS) <= stop).sum())
    coords = {"width": WIDTHS, "seed": np.arange(n)}
    return study_dataset(coords, STEPS, {"loss": curves}, n_recorded=recorded)


@pytest.mark.parametrize(
    "asked", [{"quantity": "onset", "threshold": 0.5}, {"quantity": "level_shift"}]
)
@pytest.mark.parametrize("stop", [None, 230])
def test_the_exponent_of_an_onset_holds_where_some_are_censored(asked, stop) -> None:
    (plot,) = draw(onsets(stop=stop), Options("loss", "width", **asked))
    row = plot.table.iloc[0]
    assert (row.n_one_sided > 4) == (stop is not None)
    assert row.exponent_low < -1.0 < row.exponent_high
    assert row.exponent_high - row.exponent_low < 0.6


def test_trials_that_diverged_have_no_onset_and_are_counted() -> None:
    ds = onsets()
    ds.outcome.values[0, 0] = Outcome.DIVERGED
    ds.loss.values[0, 0] = 0.0
    (plot,) = draw(ds, Options("loss", "width", quantity="onset", threshold=0.5))
    assert "diverged_left_out" in names(plot) and plot.table.n_trials[0] == 7


def test_a_curve_without_a_jump_is_censored_at_its_end() -> None:
    flat = np.random.default_rng(0).standard_normal((2, 3, len(STEPS)))
    ds = study_dataset({"width": [1, 2], "seed": [0, 1, 2]}, STEPS, {"loss": flat})
    found = shift_onset(ds, "loss", "up")
    assert (found.seen == Seen.CENSORED).sum() >= 4
    assert (found.after.where(found.censored).max()) == STEPS[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "needs x"),
        ({"x": "lr", "quantity": "onset", "threshold": 0.5}, "take none"),
        ({"quantity": "onset"}, "needs a threshold"),
        ({"x": "width"}, "must be different axes"),
        ({"x": "lr", "select": {"width": 16}}, "select fixes width"),
    ],
)
def test_options_that_cannot_be_drawn_are_refused(options, said) -> None:
    with pytest.raises(StudyError, match=said):
        draw(stable_up_to(edges()), Options("loss", "width", **options))


def test_a_law_in_words_is_refused() -> None:
    ds = stable_up_to(edges()).assign_coords(width=list("abcde"))
    with pytest.raises(StudyError, match="needs numbers above 0"):
        law(ds)
