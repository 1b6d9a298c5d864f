"""Each size at its own best learning rate: which trials stay, and when that is no optimum."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.scaling.from_cube import points_from_cube
from phasecube.analysis.scaling.law_plot import Options, draw
from phasecube.analysis.scaling.tuned import tuned
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

WIDTHS, LRS, SEEDS = [8, 16, 32, 64, 128], [0.01, 0.1, 1.0], [0, 1]
TRUE = {"E": 0.5, "A": 2.0, "alpha": 0.5}


def cube(
    best_W: list[int] = [1, 1, 1, 1, 1],  # noqa: B006
    outcome: np.ndarray | Outcome = Outcome.DONE,
    luck: float = 0.0,
) -> xr.Dataset:
    """Loss .5 + 2 width^-.5 at the best lr; elsewhere .1 more, and `luck` less for seed 0."""
    width_W = np.array(WIDTHS, float)
    off_WL = np.abs(np.arange(3) - np.array(best_W)[:, None])
    loss_WLS = (0.5 + 2 * width_W**-0.5)[:, None, None] + 0.1 * off_WL[..., None]
    loss_WLS = loss_WLS - luck * (off_WL[..., None] > 0) * (np.arange(2) == 0)
    axes = {"width": WIDTHS, "lr": LRS, "seed": SEEDS}
    return study_dataset(axes, [10], {"loss": loss_WLS[..., None]}, outcome)


def names(cautions: tuple) -> list[str]:
    return [c.name for c in cautions]


def test_the_law_of_the_tuned_trials_is_found() -> None:
    (plot,) = draw(cube([1, 1, 1, 1, 1]), Options("loss", {"x": "width"}, best_over=["lr"]))
    found = plot.table.set_index("parameter")["value"]
    assert {n: found[n] for n in TRUE} == pytest.approx(TRUE, rel=1e-4)
    assert "optimum_at_the_edge" not in names(plot.cautions)
    assert plot.table["n_rows"].unique().tolist() == [10]


def test_an_optimum_at_the_end_of_the_axis_is_told_with_its_places() -> None:
    (plot,) = draw(cube([0, 1, 1, 2, 1]), Options("loss", {"x": "width"}, best_over=["lr"]))
    told = {c.name: c.message for c in plot.cautions}["optimum_at_the_edge"]
    assert "largest or least lr tried in 2 of 5 places (width = 8; width = 64)" in told


def test_seeds_choose_together_so_that_the_luck_of_one_does_not_count() -> None:
    """Seed 0 is .15 better off the optimum, the mean of both .025 worse."""
    chosen, _ = tuned(cube(luck=0.15), "loss", ["lr"])
    points = points_from_cube(chosen, "loss", {"x": "lr"})
    assert points.features["x"].tolist() == [0.1] * 10


def test_a_rate_at_which_one_seed_diverged_is_not_chosen() -> None:
    outcome = np.full((5, 3, 2), Outcome.DONE)
    outcome[2, 1, 0] = Outcome.DIVERGED
    chosen, cautions = tuned(cube(outcome=outcome), "loss", ["lr"])
    at = chosen.loss.isel(width=2, step=-1)
    assert at.notnull().any("seed").sum() == 1 and at.sel(lr=0.1).isnull().all()
    assert names(cautions) == ["optimum_at_the_edge"]


def test_a_place_where_no_rate_has_all_its_seeds_is_left_out_and_named() -> None:
    outcome = np.full((5, 3, 2), Outcome.DONE)
    outcome[4, :, 1] = Outcome.DIVERGED
    chosen, cautions = tuned(cube(outcome=outcome), "loss", ["lr"])
    assert chosen.loss.isel(width=4).isnull().all()
    (told,) = cautions
    assert told.name == "nothing_to_choose" and "1 of 5" in told.message
    assert told.message.endswith("width = 128")


def test_trials_that_have_not_ended_are_still_counted() -> None:
    outcome = np.full((5, 3, 2), Outcome.DONE)
    outcome[0, 2, 0] = Outcome.NOT_RUN
    chosen, _ = tuned(cube(outcome=outcome), "loss", ["lr"])
    told = points_from_cube(chosen, "loss", {"x": "width"}).cautions
    assert names(told) == ["half_a_study"]


def test_an_axis_without_numbers_has_no_edge() -> None:
    ds = cube([0, 0, 0, 0, 0]).assign_coords(lr=["adam", "lion", "sgd"])
    assert tuned(ds, "loss", ["lr"])[1] == ()


@pytest.mark.parametrize(
    ("axis", "message"), [("rate", "rate"), ("seed", "would keep good luck; average over seeds")]
)
def test_what_cannot_be_tuned_is_refused(axis: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        tuned(cube(), "loss", [axis])
