"""A law through the trials of a cube: rows, expressions, what is left out, and the plot."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.from_cube import points_from_cube
from phasecube.analysis.scaling.law import POWER_WITH_FLOOR
from phasecube.analysis.scaling.law_plot import Options, draw
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

WIDTHS = [8, 16, 32, 64, 128]


def cube(outcome: np.ndarray | Outcome = Outcome.DONE) -> xr.Dataset:
    """Loss .5 + 2 width^-.5 at the last record, and twice that above the floor at the first."""
    width_W = np.array(WIDTHS, float)[:, None]
    loss_WS = 0.5 + 2 * width_W**-0.5 * (1 + 0.0 * np.arange(3))
    loss_WSR = np.stack([2 * loss_WS, loss_WS], -1)
    axes = {"width": WIDTHS, "seed": range(3)}
    return study_dataset(axes, [0, 10], {"loss": loss_WSR}, outcome)


def test_every_trial_is_a_row_and_a_run() -> None:
    found = points_from_cube(cube(), "loss", {"x": "width"})
    assert len(found) == 15 and len(np.unique(found.run_N)) == 15
    np.testing.assert_allclose(found.y_N, 0.5 + 2 * found.features["x"] ** -0.5, rtol=1e-6)


def test_a_feature_that_reads_the_step_makes_every_record_a_row_of_its_trial() -> None:
    found = points_from_cube(cube(), "loss", {"x": "width * (step + 1)"})
    assert len(found) == 30 and len(np.unique(found.run_N)) == 15
    assert set(found.features["x"]) == {w * s for w in WIDTHS for s in (1, 11)}


def test_of_hardly_more_rows_than_parameters_the_intervals_are_not_vouched_for() -> None:
    points = points_from_cube(cube(), "loss", {"x": "width"}, average=("seed",))
    few = {c.name: c.message for c in fit_law(POWER_WITH_FLOOR, points).cautions}["few_points"]
    assert few == "5 rows for 3 parameters: resampled intervals are too narrow"


def test_a_feature_called_as_a_unit_is_told_in_none() -> None:
    found = points_from_cube(cube(), "loss", {"C": "width ** 2", "M": "width"})
    assert sorted(set(found.features["M"])) == WIDTHS


def test_the_law_of_a_study_is_found_and_drawn_with_its_numbers() -> None:
    options = Options("loss", {"x": "width"}, resamples=20)
    (plot,) = draw(cube(), options)
    found = plot.table.set_index("parameter")["value"]
    assert found[["E", "A", "alpha"]].tolist() == pytest.approx([0.5, 2, 0.5], rel=1e-4)
    assert plot.figure() is not None


def test_trials_that_diverged_or_have_not_ended_are_counted_as_a_warning() -> None:
    outcome = np.full((5, 3), Outcome.DONE)
    outcome[0, 0], outcome[1, 1:] = Outcome.DIVERGED, Outcome.NOT_RUN
    found = points_from_cube(cube(outcome), "loss", {"x": "width"})
    told = {c.name: c.message for c in found.cautions}
    assert len(found) == 12
    assert told["trials_left_out"] == "1 diverged or failed"
    assert told["half_a_study"].startswith("2 of 15 trials have not ended")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"x": "widht"}, "'widht' reads widht; here there are"),
        ({"x": "width +"}, "width"),
        ({"x": "width - 8"}, "holds 0 in row 0: a power law needs values above 0"),
    ],
)
def test_what_is_no_feature_is_named(features: dict[str, str], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        points_from_cube(cube(), "loss", features)


def test_a_law_that_does_not_exist_is_named() -> None:
    with pytest.raises(StudyError, match="there is no law 'chinchila'; there are: chinchilla"):
        draw(cube(), Options("loss", {"x": "width"}, law="chinchila"))


def test_a_feature_that_the_law_needs_is_asked_for() -> None:
    with pytest.raises(StudyError, match="chinchilla needs N, D; say which column is D"):
        draw(cube(), Options("loss", {"N": "width"}, law="chinchilla"))
