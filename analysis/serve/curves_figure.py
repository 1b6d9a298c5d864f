"""The curves of one cell in the browser: a median with its range, and each trial by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Span
from bokeh.plotting import figure

from phasecube.analysis.figures import CURVE_COLOURS
from phasecube.analysis.labels import format_value
from phasecube.analysis.serve.picture import CellCurves, TrialCurve

DASHES = ("solid", "dashed", "dotdash", "dotted")
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


def curves_figure(curves: CellCurves, *, log_steps: bool, log_values: bool) -> Any:
    """Return the figure of a cell's curves; values at or below 0 have no place on a log axis."""
    every = [t.steps for trials in curves.trials for t in trials]
    steps = np.unique(np.concatenate(every)) if every else np.array([0], np.int64)
    place = Steps(steps, log=log_steps)
    drawn = figure(
        width=860,
        height=300,
        x_axis_label="step, log scale" if place.log else "step",
        y_axis_label=curves.labels[0] if len(curves.labels) == 1 else "value",
        y_axis_type="log" if log_values else "linear",
        tools="box_zoom,reset,save",
        toolbar_location="above",
        active_drag=None,
        name="curves",
    )
    drawn.toolbar.logo = None
    drawn.outline_line_color = None
    drawn.grid.grid_line_color = "#E6E6E6"
    for axis in drawn.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
    if place.log:
        ticks = place.ticks(with_zero=bool((steps == 0).any()))
        drawn.xaxis[0].ticker = FixedTicker(ticks=list(ticks))
        drawn.xaxis[0].major_label_overrides = dict(ticks)
    for number, label in enumerate(curves.labels):
        look = {"color": CURVE_COLOURS[number % 4], "dash": DASHES[number % 4]}
        _draw(drawn, curves, number, label, place, look)
    for threshold in curves.thresholds:
        drawn.add_layout(
            Span(location=threshold, dimension="width", line_color="#888888", line_dash=[4, 4])
        )
    has_ends = any(t.outcome == "diverged" for trials in curves.trials for t in trials)
    if len(curves.labels) > 1 or has_ends:
        drawn.add_layout(drawn.legend[0], "above")  # beside the curves, not over them
        drawn.legend.orientation = "horizontal"
        drawn.legend.border_line_color = None
    else:
        drawn.legend.visible = False
    return drawn


def _draw(
    drawn: Any, curves: CellCurves, number: int, label: str, place: Steps, look: dict[str, str]
) -> None:
    band, trials = curves.bands[number], curves.trials[number]
    at = place(band.steps)
    if len(trials) > 1:
        drawn.varea(at, band.low, band.high, fill_color=look["color"], fill_alpha=0.14)
    singles = [_trial(drawn, t, place, look["color"]) for t in trials if len(trials) > 1]
    columns = {"x": at, "y": band.middle, "low": band.low, "high": band.high, "step": band.steps}
    line = drawn.line(
        *("x", "y"), source=ColumnDataSource(columns), line_color=look["color"],
        line_dash=look["dash"], line_width=2.2, legend_label=label, name=f"middle {number}",
    )  # fmt: skip
    said = [("step", "@step"), (label, "@y"), ("range", "@low to @high")]
    if len(trials) == 1:
        said[2] = ("trial", f"{trials[0].member}, {trials[0].outcome} {trials[0].digest[:8]}")
    drawn.add_tools(HoverTool(renderers=[line], tooltips=said))
    ended = [t for t in trials if t.outcome == "diverged"]
    if ended:
        ends = {
            "x": place(np.array([t.steps[-1] for t in ended])),
            "y": [t.values[-1] for t in ended],
        }
        drawn.scatter(
            *("x", "y"), source=ColumnDataSource(ends), marker="x", size=9, line_width=1.6,
            line_color=look["color"], legend_label="diverged",
        )  # fmt: skip
    if singles:
        said = [("step", "@step"), (label, "@y"), ("trial", "@trial")]
        drawn.add_tools(HoverTool(renderers=singles, tooltips=said, line_policy="nearest"))


def _trial(drawn: Any, trial: TrialCurve, place: Steps, colour: str) -> Any:
    name = f"{trial.member}, {trial.outcome} {trial.digest[:8]}"
    columns = {
        "x": place(trial.steps),
        "y": trial.values,
        "step": trial.steps,
        "trial": [name] * len(trial.steps),
    }
    return drawn.line(
        *("x", "y"), source=ColumnDataSource(columns), line_color=colour, line_width=0.8,
        line_alpha=0.55, name=f"trial {trial.member}",
    )  # fmt: skip
