"""What is chosen on the page becomes a map and curves: a pure function of the Dataset."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.analyses import Request, request
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.serve.picture import Picture, curves, picture
from phasecube.analysis.serve.quantities import RESAMPLED, RESAMPLES
from phasecube.analysis.serve.state import (
    STATISTICS,
    View,
    from_query,
    offer,
    settled,
    to_query,
    view_of,
)
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

STEPS = range(0, 100, 10)


def made(seed: int = 0) -> xr.Dataset:
    """3 lr × 2 width × 4 seeds; of lr 0.3 seed 0 diverged at 40, seed 3 goes on, width 16 not."""
    random = np.random.default_rng(seed)
    outcome = np.full((3, 2, 4), Outcome.DONE, np.uint8)
    recorded = np.full((3, 2, 4), len(STEPS))
    outcome[2, :, 0], recorded[2, :, 0] = Outcome.DIVERGED, 5
    outcome[2, :, 3], recorded[2, :, 3] = Outcome.NOT_RUN, 7
    outcome[2, 1], recorded[2, 1] = Outcome.NOT_RUN, 0
    at = random.choice(STEPS, (3, 2, 4)).astype(float)
    ds = study_dataset(
        {"lr": [0.1, 0.2, 0.3], "width": [8, 16], "seed": range(4)},
        STEPS,
        {
            "loss": random.random((3, 2, 4, len(STEPS))),
            "train_accuracy": jump(STEPS, at / 2),
            "val_accuracy": jump(STEPS, at),
        },
        outcome,
        recorded,
    )
    names = [f"{i:032x}" for i in range(24)]
    ds["digest"] = (("lr", "width", "seed"), np.array(names).reshape(3, 2, 4))
    return ds


def drawn(ds: xr.Dataset, **chosen: Any) -> Picture:
    of = offer(ds)
    return picture(ds, settled(View(**chosen), of)[0], of)


def texts(cells: Any) -> dict[tuple[int, int], tuple[str, str, str]]:
    return {(c.row, c.column): (c.look.fill, c.look.hatch, c.text) for c in cells}


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "phase_diagram", "measure": "loss"},
        {"kind": "phase_diagram", "measure": "loss", "statistic": "mean", "scale": "log"},
        {"kind": "phase_diagram", "measure": "loss", "statistic": "share", "threshold": 0.5},
        {
            "kind": "phase_diagram",
            "measure": "val_accuracy",
            "quantity": "onset",
            "threshold": 0.5,
            "x": "width",
            "y": "lr",
        },
        {"kind": "grokking"},
    ],
    ids=["median", "mean", "share", "onset", "phase"],
)
def test_the_page_draws_the_cells_of_the_report(options: dict[str, Any]) -> None:
    ds, wanted = made(), request(options["kind"], {k: v for k, v in options.items() if k != "kind"})
    of = offer(ds, wanted.rule)
    view = view_of(wanted)
    shown = picture(ds, settled(view, of)[0], of)
    reported = draw(ds, wanted).sections[0].maps[0]
    assert texts(shown.cells) == texts(reported.cells)
    assert [c.partly for c in shown.cells] == [c.partly for c in reported.cells]


def test_intervals_of_the_chosen_cell_are_those_of_the_report() -> None:
    ds = made()
    of = offer(ds)
    view = settled(View(measure="loss", cell=("0.2", "16")), of)[0]
    cells = draw(ds, Request("phase_diagram", measure="loss")).sections[0].maps[0].cells
    reported = next(c for c in cells if (c.row, c.column) == (1, 1))
    name, value = curves(ds, view, of).facts[0]
    assert (name, value) == reported.facts[2]
    assert " to " in value


def test_a_map_too_large_for_intervals_has_the_same_values_and_says_where_they_are() -> None:
    n = 80
    assert n * n * RESAMPLES > RESAMPLED
    random = np.random.default_rng(1).random((n, n, 1, 2))
    ds = study_dataset({"a": range(n), "b": range(n), "seed": [0]}, [0, 1], {"m": random})
    shown = drawn(ds, measure="m")
    assert "choose a cell for its interval" in shown.caption
    small = drawn(ds.isel(a=slice(3), b=slice(3)), measure="m")
    assert {(c.row, c.column): c.text for c in shown.cells if c.row < 3 and c.column < 3} == {
        (c.row, c.column): c.text for c in small.cells
    }


def test_a_value_at_a_step_counts_trials_that_go_on_and_that_diverged_later() -> None:
    ds = made()
    shown = drawn(ds, measure="loss", quantity="step", step=40, statistic="mean")
    cell = next(c for c in shown.cells if (c.row, c.column) == (0, 2))
    assert dict(cell.facts)["n / N"] == "4 of 4 trials"
    expected = float(ds.loss.isel(lr=2, width=0).sel(step=40).mean())
    assert cell.text == f"{expected:.3g}"
    later = drawn(ds, measure="loss", quantity="step", step=50, statistic="mean")
    assert dict(next(c for c in later.cells if (c.row, c.column) == (0, 2)).facts)["n / N"] == (
        "3 of 4 trials"
    )


@pytest.mark.parametrize("statistic", [s for s in STATISTICS if s.startswith("q")])
def test_quantiles_are_numpys_over_the_trials_that_ended_well(statistic: str) -> None:
    ds = made()
    shown = drawn(ds, measure="loss", statistic=statistic)
    last = ds.loss.isel(step=-1).astype(float).where(ds.outcome == Outcome.DONE)
    for cell in shown.cells:
        values = last.isel(lr=cell.column, width=cell.row).dropna("seed").values
        expected = f"{np.quantile(values, int(statistic[1:]) / 100):.3g}" if len(values) else ""
        assert cell.text == expected
    assert "no interval" in shown.caption


def test_the_outcome_map_names_the_commonest_and_counts_all() -> None:
    shown = drawn(made(), quantity="outcome")
    found = {(c.row, c.column): (c.text, c.partly, dict(c.facts)["trials"]) for c in shown.cells}
    assert found[0, 0] == ("ok\n4/4", False, "4 done")
    assert found[0, 2] == ("ok\n2/4", True, "2 done, 1 diverged, 1 not run")
    assert found[1, 2] == ("", False, "4 not run")


def test_a_cell_names_its_trials() -> None:
    ds = made()
    cells = {(c.row, c.column): dict(c.facts) for c in drawn(ds).cells}
    expected = [str(d)[:8] for d in ds.digest.isel(lr=1, width=1).values]
    assert cells[1, 1]["digests"].split() == expected
    swapped = {(c.row, c.column): dict(c.facts) for c in drawn(ds, x="width", y="lr").cells}
    assert swapped[1, 1]["digests"] == cells[1, 1]["digests"]


def test_the_curves_are_those_of_the_chosen_cell_with_their_median_and_range() -> None:
    ds = made()
    of = offer(ds)
    found = curves(ds, settled(View(measure="loss", cell=("0.3", "8")), of)[0], of)
    inside = ds.isel(lr=2, width=0)
    loss = inside.loss.astype(float)
    (band,), (trials,) = found.bands, found.trials
    np.testing.assert_array_equal(band.middle, loss.median("seed").values)
    np.testing.assert_array_equal(band.low, loss.min("seed").values)
    assert [(t.member, t.outcome, len(t.steps)) for t in trials] == [
        ("seed 0", "diverged", 5),
        ("seed 1", "done", 10),
        ("seed 2", "done", 10),
        ("seed 3", "not run", 7),
    ]
    assert [t.digest for t in trials] == list(inside.digest.values)
    np.testing.assert_array_equal(trials[1].values, loss.isel(seed=1).values)


def test_axes_that_are_neither_drawn_nor_reduced_stand_at_a_value() -> None:
    ds = made()
    one = drawn(ds, x="lr", y="seed", at={"width": "8"}, measure="loss")
    assert one.title.endswith("width = 8") and one.shape == (4, 3)
    assert one.cells[0].text == f"{float(ds.loss[0, 0, 0, -1]):.3g}"


def test_all_axes_but_one_may_be_reduced_to_a_single_row() -> None:
    shown = drawn(made(), x="lr", y="", over=("seed", "width"), measure="loss")
    assert shown.shape == (1, 3)
    assert "8 width × seeds a cell" in shown.caption


def test_a_study_without_axes_is_one_cell() -> None:
    ds = study_dataset({}, [0, 1], {"m": np.array([1.0, 2.0])})
    shown = drawn(ds)
    assert [c.text for c in shown.cells] == ["2"]


def test_a_view_is_the_same_after_a_journey_through_the_address() -> None:
    of = offer(made())
    chosen = View(
        x="width",
        y="lr",
        over=(),
        at={"seed": "2"},
        measure="val_accuracy",
        quantity="step",
        step=40,
        threshold=0.25,
        above=False,
        statistic="q90",
        colours="log",
        values="log",
        steps="log",
        cell=("16", "0.1"),
    )
    view, said = settled(chosen, of)
    assert said == () and view == chosen
    assert from_query("?" + to_query(view)) == (view, ())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("x=depth", "the axis depth is not there; shown is lr"),
        ("x=lr&y=seed&at.width=32", "width 32 is not there; shown is 8"),
        ("measure=los", "the measure los is not there; shown is loss"),
        ("quantity=step&step=44", "step 44 was not recorded; shown is 40"),
        ("step=soon", "step=soon in the address means nothing here"),
        ("threshold=nan", "threshold=nan in the address means nothing here"),
        ("colour=red", "colour=red in the address means nothing here"),
    ],
)
def test_an_address_that_does_not_fit_says_what_is_shown_instead(query: str, said: str) -> None:
    view, of_address = from_query(query)
    shown, of_study = settled(view, offer(made()))
    assert [s for s in (*of_address, *of_study) if s] == [said]
    picture(made(), shown, offer(made()))


def test_a_place_is_kept_when_an_axis_grows_before_it() -> None:
    ds = made()
    view = settled(View(x="width", y="seed", at={"lr": "0.2"}, cell=("16", "1")), offer(ds))[0]
    grown = xr.concat([ds.isel(lr=[0]).assign_coords(lr=[0.05]), ds], "lr")
    after, said = settled(view, offer(grown))
    assert after == view and said == ()
    assert texts(picture(grown, after, offer(grown)).cells) == texts(
        picture(ds, view, offer(ds)).cells
    )


def test_a_cell_that_is_gone_is_no_longer_chosen() -> None:
    ds = made()
    view = settled(View(cell=("0.3", "16")), offer(ds))[0]
    assert view.cell is not None
    assert settled(view, offer(ds.isel(lr=slice(2))))[0].cell is None


@pytest.mark.parametrize("chosen", [{"quantity": "onset"}, {"statistic": "share"}], ids=str)
def test_without_a_threshold_the_page_asks_for_one(chosen: dict[str, str]) -> None:
    with pytest.raises(StudyError, match="needs a threshold of loss: enter one beside the measure"):
        drawn(made(), measure="loss", **{"quantity": "final"} | chosen)


def test_a_map_of_too_many_cells_is_refused_with_their_number() -> None:
    ds = study_dataset({"a": range(200), "b": range(200)}, [0], {"m": np.zeros(1)})
    with pytest.raises(StudyError, match="40,000 cells, more than the 20,000"):
        drawn(ds)


def test_phases_are_offered_only_where_both_accuracies_were_recorded() -> None:
    assert "phase" in offer(made()).quantities
    assert "phase" not in offer(made().drop_vars("val_accuracy")).quantities


def test_a_study_that_recorded_no_scalar_has_no_page() -> None:
    ds = made().drop_vars(["loss", "train_accuracy", "val_accuracy"])
    with pytest.raises(StudyError, match="no scalar measure, so there is no map"):
        offer(ds)


def test_only_the_measure_of_the_view_is_read() -> None:
    ds = made().chunk()
    read = []

    def noted(name: str, block: np.ndarray) -> np.ndarray:
        read.append(name)
        return block

    for name in ("loss", "val_accuracy"):
        data = ds[name].data.map_blocks(partial(noted, name), dtype="f4", meta=np.empty((), "f4"))
        ds[name] = ds[name].copy(data=data)
    drawn(ds, measure="loss", quantity="final")
    assert set(read) <= {"loss"} and read


def test_zipped_axes_are_one_axis_with_the_names_of_its_places() -> None:
    ds = made().rename_dims(width="size").drop_vars("width")
    ds = ds.assign_coords(width=("size", [8, 16]), depth=("size", [1, 2]))
    of = offer(ds)
    assert of.labels["size"] == ("8,1", "16,2")
    view = settled(View(x="lr", y="seed", at={"size": "16,2"}), of)[0]
    assert view.at == {"size": "16,2"}
    assert picture(ds, view, of).title.endswith("= 16, 2")
