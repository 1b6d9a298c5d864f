from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.grokking import GrokkingRule, Phase, onsets
from phasecube.analysis.labels import format_value, name_and_unit, tick_labels
from phasecube.analysis.maps import figures
from phasecube.analysis.maps.phase_diagram import (
    CellState,
    arrange,
    default_axes,
    map_axis,
    onset_map,
    phase_map,
    value_map,
)
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = list(range(0, 101, 10))
LR = [0.1, 0.2, 0.1 + 0.2]
DECAY = [0.0, 1.0]
SEED = [0, 1, 2]


@pytest.fixture
def ds() -> xr.Dataset:
    """lr x decay x seed: validation jumps at 20, 50, 80 by lr, one seed of the last never."""
    t_grok = np.broadcast_to(np.array([20.0, 50.0, 80.0])[:, None, None], (3, 2, 3)).copy()
    t_grok[2, :, 2] = np.inf
    return study_dataset(
        {"lr": LR, "decay": DECAY, "seed": SEED},
        STEPS,
        {
            "train_accuracy": jump(STEPS, np.full((3, 2, 3), 10.0)),
            "val_accuracy": jump(STEPS, t_grok),
        },
    )


BOTH = ("train_accuracy", "val_accuracy")
RULE = GrokkingRule()


def test_a_panel_has_y_as_rows_x_as_columns_and_seeds_as_members(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    assert dict(panel.ds.sizes) == {"row": 2, "column": 3, "member": 3, "step": len(STEPS)}
    assert panel.members == ("seed 0", "seed 1", "seed 2")


def test_ticks_are_written_as_a_reader_writes_them(ds: xr.Dataset) -> None:
    assert map_axis(ds, "lr").ticks == ("0.1", "0.2", "0.3")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.30000000000000004, "0.3"), (1e-5, "1e-5"), (32, "32"), (1 / 3, "0.3333"), (2e7, "2e7")],
)
def test_numbers_are_written_shortly(value: float, text: str) -> None:
    assert format_value(value) == text


def test_an_axis_that_nothing_fixes_makes_one_panel_per_value(ds: xr.Dataset) -> None:
    panels = arrange(ds, "lr", None, measures=BOTH)
    assert [p.title for p in panels] == ["decay = 0", "decay = 1"]


def test_a_fixed_axis_is_found_by_a_value_that_differs_by_rounding(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "decay", None, measures=BOTH, select={"lr": 0.3})
    assert panel.title == "lr = 0.3"


def test_a_value_that_an_axis_lacks_is_named_with_those_it_has(ds: xr.Dataset) -> None:
    with pytest.raises(StudyError, match=r"lr has no value 0.4; it has 0.1, 0.2, 0.3"):
        arrange(ds, "decay", None, measures=BOTH, select={"lr": 0.4})


def test_an_axis_that_the_study_lacks_is_named_with_those_it_has(ds: xr.Dataset) -> None:
    with pytest.raises(StudyError, match="no axis 'width'; it has lr, decay, seed"):
        arrange(ds, "width", None, measures=BOTH)


def test_one_axis_cannot_be_both_sides(ds: xr.Dataset) -> None:
    with pytest.raises(StudyError, match="twice"):
        arrange(ds, "lr", "lr", measures=BOTH)


def test_the_default_axes_leave_the_seeds_to_be_reduced(ds: xr.Dataset) -> None:
    assert default_axes(ds) == ("lr", "decay")
    assert default_axes(ds.isel(lr=0, decay=0)) == (None, None)


def test_an_onset_map_keeps_a_censored_seed_in_the_median(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    cells = onset_map(panel, onsets(panel.ds, RULE)[1], "t_grok")
    assert cells.value.values.tolist() == [[20, 50, 80]] * 2
    assert cells.n_censored.values.tolist() == [[0, 0, 1]] * 2
    assert cells.beyond.values[0, 2] == 100 and np.isnan(cells.beyond.values[0, 0])


def test_a_cell_whose_seeds_mostly_never_cross_lies_beyond_its_trials(ds: xr.Dataset) -> None:
    ds["val_accuracy"][2, :, 1] = 0.0
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    cells = onset_map(panel, onsets(panel.ds, RULE)[1], "t_grok")
    assert np.isinf(cells.value.values[:, 2]).all() and (cells.beyond.values[:, 2] == 100).all()


def test_cells_say_how_much_of_them_has_run(ds: xr.Dataset) -> None:
    for index, outcome in (
        ((0, 0, slice(None)), Outcome.NOT_PLANNED),
        ((1, 0, slice(None)), Outcome.NOT_RUN),
        ((2, 0, 0), Outcome.NOT_RUN),
    ):
        ds["outcome"][index] = outcome
        ds["n_recorded"][index] = 0
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    state = phase_map(panel).state.values
    C = CellState
    assert state.tolist() == [[C.NOT_PLANNED, C.NOT_RUN, C.PARTLY_RUN], [C.COMPLETE] * 3]


def test_diverged_seeds_are_counted_and_stand_in_no_median(ds: xr.Dataset) -> None:
    ds["outcome"][0, 0, 0] = Outcome.DIVERGED
    ds["n_recorded"][0, 0, 0] = 1
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    cells = value_map(panel, "val_accuracy")
    assert cells.n_diverged.values[0, 0] == 1 and cells.n_used.values[0, 0] == 2
    assert cells.value.values[0, 0] == 1.0
    assert cells.state.values[0, 0] == CellState.COMPLETE


def test_a_share_counts_the_trials_that_ended_above_the_threshold(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    cells = value_map(panel, "val_accuracy", statistic="share", threshold=0.5)
    assert cells.value.values[0] == pytest.approx([1, 1, 2 / 3])
    assert cells.low.values[0, 2] < 2 / 3 < cells.high.values[0, 2]


def test_a_map_of_final_values_names_the_unit_once(ds: xr.Dataset) -> None:
    ds.val_accuracy.attrs |= {"long_name": "entropy", "units": "nat"}
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    assert name_and_unit(value_map(panel, "val_accuracy").value) == "final entropy / nat"


def test_a_share_without_threshold_is_refused(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    with pytest.raises(StudyError, match="needs a threshold"):
        value_map(panel, "val_accuracy", statistic="share")


def test_the_phase_map_names_the_phase_of_most_seeds(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds, "lr", "decay", measures=BOTH)
    cells = phase_map(panel)
    expected = [Phase.COMPREHENSION, Phase.GROKKING, Phase.GROKKING]
    assert cells.phase.values.tolist() == [expected] * 2
    assert cells.share.values[0] == pytest.approx([1, 1, 2 / 3])


def test_a_zip_shows_each_of_its_coordinates(ds: xr.Dataset) -> None:
    zipped = ds.rename(decay="size").drop_vars("size")
    zipped = zipped.assign_coords(width=("size", [32, 64]), depth=("size", [1, 2]))
    axis = map_axis(zipped, "size")
    assert (axis.label, axis.ticks) == ("width, depth", ("32, 1", "64, 2"))
    (panel,) = arrange(zipped, "lr", None, measures=BOTH, select={"width": 64})
    assert panel.title == "width = 64, depth = 2"


def test_a_study_of_seeds_alone_is_one_cell(ds: xr.Dataset) -> None:
    (panel,) = arrange(ds.isel(lr=0, decay=0), None, None, measures=BOTH)
    assert phase_map(panel).phase.shape == (1, 1)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        (np.geomspace(1e-4, 1, 4), ("0.0001", "0.00215", "0.0464", "1")),
        ([0.125, 0.0625], ("0.125", "0.0625")),
        ([1 / 3, 0.33331], ("0.333", "0.33331")),
        ([1 / 3, 1 / 3 + 1e-5], ("0.333333", "0.333343")),
        (["sgd", "adam"], ("sgd", "adam")),
        ([True, False], ("True", "False")),
    ],
)
def test_ticks_are_short_and_tell_values_apart(
    values: list[object], ticks: tuple[str, ...]
) -> None:
    assert tick_labels(values) == ticks


def test_a_map_of_shares_has_the_colours_of_0_to_1_also_where_all_are_alike() -> None:
    cells = xr.Dataset(attrs={"statistic": "share"})
    ends = figures.ends_of(cells)
    ones = figures.shades(np.ones(3), log=False, ends=ends)
    mixed = figures.shades(np.array([0.0, 0.5, 1.0]), log=False, ends=ends)
    assert set(ones) == {mixed[2]}
    bar = figures.shade_bar(np.ones(3), log=False, ends=ends)
    assert bar is not None and (bar.low, bar.high) == (0.0, 1.0)
