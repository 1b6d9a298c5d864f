"""The pickers of the page: a view in, the reader's choice out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import panel as pn

from phasecube.analysis.serve.state import QUANTITIES, STATISTICS, Offer, View

WIDTH = 250
ONE_ROW = "none: one row"
SLIDER_FROM = 4  # an axis with fewer places is a list


class Controls:
    """Widgets of one page. `changed` is called when the reader chose something."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._quiet = self._has_cell = False
        self._offer: Offer | None = None
        self._at: dict[str, Any] = {}
        select, radio = pn.widgets.Select, pn.widgets.RadioBoxGroup
        self._measure = self._watched(select(label="measure", width=WIDTH))
        self._quantity = self._watched(select(label="quantity", width=WIDTH))
        self._step = self._watched(pn.widgets.DiscreteSlider(label="step", width=WIDTH))
        self._statistic = self._watched(select(label="statistic", width=WIDTH))
        self._threshold = self._watched(pn.widgets.TextInput(label="threshold", width=WIDTH))
        self._above = self._watched(
            radio(options={"reached from below (≥)": True, "from above (≤)": False}, width=WIDTH)
        )
        self._colours = self._watched(radio(options=["linear", "log"], inline=True, width=WIDTH))
        self._x = self._watched(select(label="x axis", width=WIDTH))
        self._y = self._watched(select(label="y axis", width=WIDTH))
        self._over = self._watched(pn.widgets.CheckBoxGroup(width=WIDTH))
        self._cell_x = self._watched(select(width=150))
        self._cell_y = self._watched(select(width=150))
        self._values = self._watched(radio(options=["linear", "log"], inline=True))
        self._steps = self._watched(radio(options=["linear", "log"], inline=True))
        self._places = pn.Column(width=WIDTH + 20, margin=0)
        self._over_title = _title("Reduced over")
        self._colours_title = _title("Colours")
        self.side = pn.Column(
            *(_title("What is shown"), self._measure, self._quantity, self._step),
            *(self._statistic, self._threshold, self._above),
            *(self._colours_title, self._colours),
            *(_title("Axes"), self._x, self._y, self._places),
            *(self._over_title, self._over),
            width=WIDTH + 30,
            css_classes=["pickers"],
        )
        self.of_curves = pn.Row(
            *(self._cell_x, self._cell_y),
            pn.Column(_title("steps", margin=(5, 10, 0, 10)), self._steps),
            pn.Column(_title("values", margin=(5, 10, 0, 10)), self._values),
        )

    def view(self) -> View:
        """Return what is chosen."""
        free = [a for a in self._at if a not in (self._x.value, self._y.value, *self._over.value)]
        cell = self._cell()
        return View(
            x=self._x.value,
            y=self._y.value,
            over=tuple(self._over.value),
            at={axis: self._at[axis].value for axis in free},
            measure=self._measure.value,
            quantity=self._quantity.value,
            step=self._step.value,
            threshold=_number(self._threshold.value),
            above=self._above.value,
            statistic=self._statistic.value,
            colours=self._colours.value,
            values=self._values.value,
            steps=self._steps.value,
            cell=cell,
        )

    def _cell(self) -> tuple[str, str] | None:
        """Return the labels of the cell; of a side that is not chosen yet the first."""
        picked = [w for w in (self._cell_x, self._cell_y) if w.visible]
        n_chosen = sum(bool(w.value) for w in picked)
        if not n_chosen or (self._has_cell and n_chosen < len(picked)):  # one was taken back
            return None
        x, y = (
            (w.value or next(v for v in w.options.values() if v)) if w.visible else ""
            for w in (self._cell_x, self._cell_y)
        )
        return x, y

    def choose_cell(self, x: str, y: str) -> None:
        """Choose a cell by its labels, as if the reader had picked it."""
        with self._quietly():
            self._cell_x.value, self._cell_y.value = x, y
            self._has_cell = False
        self._changed()

    def show(self, view: View, of: Offer) -> None:
        """Show a settled view and what there is to choose from."""
        with self._quietly():
            if of != self._offer:
                self._offer = of
                self._at = {axis: self._place(axis, of) for axis in of.axes}
            axes = {of.titles[a]: a for a in of.axes}
            others = {of.titles[a]: a for a in of.axes if a != view.x}
            _set(self._measure, {_named(m, t): m for m, t in of.measures.items()}, view.measure)
            _set(self._quantity, {QUANTITIES[q]: q for q in of.quantities}, view.quantity)
            _set(self._statistic, {t: s for s, t in STATISTICS.items()}, view.statistic)
            _set(self._step, list(of.steps), view.step)
            _set(self._x, axes, view.x)
            _set(self._y, {**others, ONE_ROW: ""}, view.y)
            left = {of.titles[a]: a for a in of.axes if a not in (view.x, view.y)}
            _set(self._over, left, list(view.over or ()))
            self._threshold.value = "" if view.threshold is None else f"{view.threshold:.12g}"
            self._above.value, self._colours.value = view.above, view.colours
            self._values.value, self._steps.value = view.values, view.steps
            for axis, label in view.at.items():
                self._at[axis].value = label
            self._places[:] = [self._at[axis] for axis in view.at]
            self._show_cell(view, of)
            self._hide(view, of, bool(left))

    def _hide(self, view: View, of: Offer, is_any_left: bool) -> None:
        has_values = view.quantity in ("final", "step")
        needs_threshold = view.quantity == "onset" or (has_values and view.statistic == "share")
        self._step.visible = view.quantity == "step" and len(of.steps) > 1
        self._statistic.visible = has_values
        self._threshold.visible = self._above.visible = needs_threshold
        self._measure.visible = view.quantity not in ("phase",)
        shaded = has_values or view.quantity == "onset"
        self._colours.visible = self._colours_title.visible = shaded
        self._over.visible = self._over_title.visible = is_any_left

    def _show_cell(self, view: View, of: Offer) -> None:
        labels, self._has_cell = view.cell or ("", ""), view.cell is not None
        for widget, axis, label in zip((self._cell_x, self._cell_y), (view.x, view.y), labels):
            widget.visible = bool(axis)
            if axis:
                options = {"choose …": "", **_options(axis, of)}
                widget.label = of.titles[axis]
                _set(widget, options, label)

    def _place(self, axis: str, of: Offer) -> Any:
        options = _options(axis, of)
        made = pn.widgets.DiscreteSlider if len(options) >= SLIDER_FROM else pn.widgets.Select
        title = of.titles[axis]
        return self._watched(made(label=title, options=options, width=WIDTH))

    def _watched(self, widget: Any) -> Any:
        widget.param.watch(self._one_changed, "value")
        return widget

    def _one_changed(self, *_: Any) -> None:
        if not self._quiet:
            self._changed()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def _options(axis: str, of: Offer) -> dict[str, str]:
    ticks, labels = of.ticks[axis], of.labels[axis]
    return dict(zip(ticks if len(set(ticks)) == len(labels) else labels, labels, strict=True))


def _set(widget: Any, options: Any, value: Any) -> None:
    if widget.options != options:
        widget.param.update(options=options, value=value)
    elif widget.value != value:
        widget.value = value


def _number(text: str) -> float | None:
    """Return the number that was typed, None for anything else: the map then asks for one."""
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _named(measure: str, title: str) -> str:
    """Return a measure by its name, and in words where that says more."""
    words = title.split(" / ")[0]
    return measure if words.replace(" ", "_") == measure else f"{measure}: {title}"


def _title(text: str, margin: tuple[int, ...] = (10, 10, 0, 10)) -> Any:
    return pn.pane.HTML(f"<b>{text}</b>", margin=margin)
