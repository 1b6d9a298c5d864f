"""The pickers give back the view they show, whatever the study has become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic_study import study_dataset

pytest.importorskip("panel")
from phasecube.analysis.serve.controls import ONE_ROW, Controls
from phasecube.analysis.serve.curves_figure import Steps
from phasecube.analysis.serve.state import Offer, View, offer, settled


def offered(*lr: float, widths: int = 5) -> Offer:
    coords = {"lr": lr, "width": [2**i for i in range(widths)], "seed": range(3)}
    curves = {"loss": np.zeros(2), "val_loss": np.ones(2)}
    return offer(study_dataset(coords, [0, 10], curves))


class Followed:
    """Controls of which each change is settled and shown, as the page does it."""

    def __init__(self, of: Offer, **chosen: Any) -> None:
        self.of = of
        self.seen: list[View] = []
        self.controls = Controls(self.changed)
        self.show(View(**chosen))

    def show(self, view: View) -> None:
        self.view = settled(view, self.of)[0]
        self.controls.show(self.view, self.of)

    def changed(self) -> None:
        self.seen.append(self.controls.view())
        self.show(self.seen[-1])

    def widget(self, title: str) -> Any:
        (found,) = [
            w
            for w in (*self.controls.side.select(), *self.controls.of_curves.select())
            if getattr(w, "label", "") == title and hasattr(w, "value") and w.visible
        ]
        return found


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"x": "width", "y": "seed", "over": (), "at": {"lr": "0.2"}},
        {"y": "", "over": ("seed", "width"), "measure": "val_loss", "quantity": "step", "step": 0},
        {"quantity": "onset", "threshold": 0.25, "above": False, "colours": "log"},
        {"statistic": "q90", "cell": ("0.2", "4"), "values": "log", "steps": "log"},
    ],
    ids=str,
)
def test_what_is_shown_is_what_is_chosen(chosen: dict[str, Any]) -> None:
    page = Followed(offered(0.1, 0.2), **chosen)
    assert page.controls.view() == page.view
    assert page.seen == []  # showing is no choice of the reader's


def test_choosing_an_axis_that_is_the_other_side_moves_that_one() -> None:
    page = Followed(offered(0.1, 0.2))
    assert (page.view.x, page.view.y) == ("lr", "width")
    page.widget("x axis").value = "width"
    assert (page.view.x, page.view.y) == ("width", "lr")


def test_an_axis_that_leaves_the_map_gets_a_picker_of_its_own() -> None:
    page = Followed(offered(0.1, 0.2))
    page.widget("y axis").value = ""
    assert ONE_ROW in page.widget("y axis").options
    assert page.view.at == {"width": "1"}
    page.widget("width").value = "8"
    assert page.view.at == {"width": "8"}


def test_a_place_stays_chosen_when_its_axis_grows() -> None:
    page = Followed(offered(0.1, 0.2), x="width", y="seed", at={"lr": "0.2"})
    page.of = offered(0.05, 0.1, 0.15, 0.2, 0.4)
    page.show(page.view)
    assert page.controls.view().at == {"lr": "0.2"}
    assert list(page.widget("lr").options.values()) == ["0.05", "0.1", "0.15", "0.2", "0.4"]


def test_a_cell_is_chosen_by_its_lists_and_given_up_by_either() -> None:
    page = Followed(offered(0.1, 0.2))
    cell_x, cell_y = (w for w in page.controls.of_curves.select() if getattr(w, "width", 0) == 150)
    cell_x.value = "0.2"
    assert page.view.cell == ("0.2", "1")  # the first of the other side until it is chosen
    cell_y.value = "4"
    assert page.view.cell == ("0.2", "4")
    cell_x.value = ""
    assert page.view.cell is None


def test_a_click_chooses_a_cell_once() -> None:
    page = Followed(offered(0.1, 0.2))
    page.controls.choose_cell("0.1", "8")
    assert [v.cell for v in page.seen] == [("0.1", "8")]


@pytest.mark.parametrize(
    ("typed", "read"), [("0.5", 0.5), ("0,5", 0.5), ("soon", None), ("", None)]
)
def test_a_threshold_is_a_number_or_not_there(typed: str, read: float | None) -> None:
    page = Followed(offered(0.1), quantity="onset")
    page.widget("threshold").value = typed
    assert page.view.threshold == read


def test_a_logarithmic_step_axis_has_a_place_for_step_0_before_all_others() -> None:
    steps = np.array([0, 1, 10, 100])
    places = Steps(steps, log=True)(steps)
    np.testing.assert_allclose(np.diff(places[1:]), 1)
    assert places[0] < places[1]
    assert Steps(steps, log=True).ticks(with_zero=True)[float(places[0])] == "0"
    np.testing.assert_array_equal(Steps(steps, log=False)(steps), steps)
