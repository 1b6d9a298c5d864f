"""The curves of one cell in the browser: a median with its range, and each trial by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
)
from bokeh.plotting import figure

from phasecube.analysis.labels import format_value
from phasecube.analysis.maps.figures import CURVE_COLOURS
from phasecube.analysis.serve.picture import CellCurves, TrialCurve

DASHES = ("solid", "dashed")
MEASURES = 2  # of a cell at most: training and validation
STRIP = 0.06  # of a logarithmic step axis: left of it lies step 0


class Steps:
    """Where steps lie: by number, or by logarithm with step 0 in a strip of its own."""

    def __init__(self, steps: npt.NDArray[np.int64], *, log: bool) -> None:
        positive = steps[steps > 0]
        self.log = log and len(positive) > 1
        if self.log:
            self._low, self._high = np.log10(positive.min()), np.log10(positive.max())

    def __call__(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the places of steps."""
        if not self.log:
            return np.asarray(steps, np.float64)
        zero = self._low - STRIP * max(self._high - self._low, 1.0)
        return np.where(steps > 0, np.log10(np.maximum(steps, 1)), zero)

    def ticks(self, *, with_zero: bool) -> dict[float, str]:
        """Return place and label of ticks, for a logarithmic axis."""
        decades = range(int(np.floor(self._low)), int(np.ceil(self._high)) + 1)
        few = self._high - self._low < 2
        at = [m * 10**d for d in decades if d >= 0 for m in ((1, 2, 5) if few else (1,))]
        shown = [s for s in at if self._low - 1e-9 <= np.log10(s) <= self._high + 1e-9]
        if with_zero:
            shown = [0, *shown]
        places = self(np.asarray(shown, np.int64))
        return {float(p): format_value(s) for p, s in zip(places, shown, strict=True)}


class CurvesFigure:
    """The curves of a page: one figure for each scale of the values, filled by `show`."""

    def __init__(self) -> None:
        self._figures = {log: _OneFigure(log_values=log) for log in (False, True)}
        self.models = tuple(one.model for one in self._figures.values())

    def show(self, curves: CellCurves | None, *, log_steps: bool, log_values: bool) -> None:
        """Draw a cell's curves, or none; what is not above 0 has no place on a log scale."""
        for log, one in self._figures.items():
            one.model.visible = curves is not None and log == log_values
            if curves is not None and one.model.visible:
                one.show(curves, log_steps=log_steps)


class _OneFigure:
    """A figure with room for two measures: bands, single trials, medians, ends, thresholds."""

    def __init__(self, *, log_values: bool) -> None:
        self.model = drawn = figure(
            width=860,
            height=310,
            y_axis_type="log" if log_values else "linear",
            tools="box_zoom,reset,save",
            toolbar_location="above",
            active_drag=None,
            visible=False,
            name="curves log" if log_values else "curves",
        )
        drawn.toolbar.logo = None
        drawn.outline_line_color = None
        drawn.grid.grid_line_color = "#E6E6E6"
        for axis in drawn.axis:
            axis.axis_label_text_font_style = "normal"
            axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        self._plain, self._fixed = BasicTicker(), FixedTicker(ticks=[])
        scale = "log" if log_values else "linear"
        self._bands = [ColumnDataSource(name=f"middle {i} {scale}") for i in range(MEASURES)]
        self._singles = [ColumnDataSource(name=f"trials {i} {scale}") for i in range(MEASURES)]
        self._ends = ColumnDataSource(data={"x": [], "y": []})
        self._levels = ColumnDataSource(data={"y": []})
        drawn.hspan(y="y", source=self._levels, line_color="#888888", line_dash=[4, 4])
        items = [self._measure(number) for number in range(MEASURES)]
        ends = drawn.scatter(
            *("x", "y"), source=self._ends, marker="x", size=9, line_width=1.6, line_color="#000000"
        )
        self._items = [*items, LegendItem(label="diverged", renderers=[ends])]
        # Beside the curves, not over them.
        look = {"orientation": "horizontal", "border_line_color": None, "padding": 0}
        drawn.add_layout(Legend(items=self._items, **look), "above")

    def _measure(self, number: int) -> Any:
        colour, dash = CURVE_COLOURS[number], DASHES[number]
        drawn, band, singles = self.model, self._bands[number], self._singles[number]
        band.data = {name: [] for name in ("x", "y", "low", "high", "step", "said")}
        singles.data = {name: [] for name in ("xs", "ys", "trial")}
        drawn.varea("x", "low", "high", source=band, fill_color=colour, fill_alpha=0.14)
        thin = drawn.multi_line(
            "xs", "ys", source=singles, line_color=colour, line_width=0.8, line_alpha=0.55
        )
        line = drawn.line("x", "y", source=band, line_color=colour, line_dash=dash, line_width=2.2)
        said = [("step", "@step"), ("value", "@y"), ("", "@said"), ("range", "@low to @high")]
        drawn.add_tools(
            HoverTool(renderers=[line], tooltips=said),
            HoverTool(renderers=[thin], tooltips=[("trial", "@trial"), ("value", "$snap_y")]),
        )
        return LegendItem(label="", renderers=[line])

    def show(self, curves: CellCurves, *, log_steps: bool) -> None:
        every = [t.steps for trials in curves.trials for t in trials]
        steps = np.unique(np.concatenate(every)) if every else np.array([0], np.int64)
        place = Steps(steps, log=log_steps)
        axis, drawn = self.model.xaxis[0], self.model
        ticks = place.ticks(with_zero=bool((steps == 0).any())) if place.log else {}
        self._fixed.ticks = list(ticks)
        axis.major_label_overrides = dict(ticks)
        axis.ticker = self._fixed if place.log else self._plain
        axis.axis_label = "step, log scale" if place.log else "step"
        drawn.yaxis[0].axis_label = curves.labels[0] if len(curves.labels) == 1 else "value"
        ended = [t for trials in curves.trials for t in trials if t.outcome == "diverged"]
        self._ends.data = {
            "x": place(np.array([t.steps[-1] for t in ended], np.int64)),
            "y": [t.values[-1] for t in ended],
        }
        self._levels.data = {"y": list(curves.thresholds)}
        for number in range(MEASURES):
            is_there = number < len(curves.labels)
            self._items[number].visible = is_there
            if is_there:
                self._items[number].label = {"value": curves.labels[number]}
            self._fill(number, curves if is_there else None, place)
        self._items[-1].visible = bool(ended)

    def _fill(self, number: int, curves: CellCurves | None, place: Steps) -> None:
        band, singles = self._bands[number], self._singles[number]
        if curves is None:
            band.data = {name: [] for name in band.data}
            singles.data = {name: [] for name in singles.data}
            return
        middle, trials = curves.bands[number], curves.trials[number]
        of = f"median of {len(trials)} trials" if len(trials) > 1 else "".join(map(_name, trials))
        band.data = {
            "x": place(middle.steps),
            "y": middle.middle,
            "low": middle.low,
            "high": middle.high,
            "step": middle.steps,
            "said": [of] * len(middle.steps),
        }
        shown = trials if len(trials) > 1 else ()
        singles.data = {
            "xs": [place(t.steps) for t in shown],
            "ys": [t.values for t in shown],
            "trial": [_name(t) for t in shown],
        }


def _name(trial: TrialCurve) -> str:
    return f"{trial.member}, {trial.outcome} {trial.digest[:8]}".strip()
