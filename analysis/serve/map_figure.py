"""A map in the browser: cells to point at and click, with the looks of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from bokeh.events import Tap
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Range1d,
)
from bokeh.plotting import figure

from phasecube.analysis.drawn import Cell
from phasecube.analysis.maps.phase_diagram import MapAxis
from phasecube.analysis.serve.picture import Picture

MAX_TICKS = 20
LETTER = 6.5  # mean width in px of a letter at 12 px
TEXT_WIDTH, TEXT_HEIGHT = 36, 28  # of the smallest cell that holds text, px
HATCHES: Mapping[str, str] = {
    "//": "right_diagonal_line",
    "xxxx": "diagonal_cross",
    "++": "cross",
    "..": "dot",
}
Choose = Callable[[int, int], None]


class MapFigure:
    """The map of a page: one figure for its life, whatever `show` draws into it.

    A browser that follows a run keeps the models of a figure that was replaced until nothing
    has changed for half a minute, which on such a page never happens.
    """

    def __init__(self, choose: Choose) -> None:
        self._choose = choose
        self._shape = (1, 1)
        self._cells = ColumnDataSource(data=_columns(()), name="cells")
        # Only what is drawn: a browser measures each text, and makes a pattern for each hatch.
        self._labels = ColumnDataSource(data=_labels(()), name="labels")
        self._hatches = {hatch: ColumnDataSource(data={"x": [], "y": []}) for hatch in HATCHES}
        self._corners = ColumnDataSource(data={"xs": [], "ys": []}, name="corners")
        self._chosen = ColumnDataSource(data={"x": [], "y": []}, name="chosen")
        self._mappers = {False: LinearColorMapper(palette=["#000000"]), True: LogColorMapper()}
        self._bar = ColorBar(
            color_mapper=self._mappers[False], width=14, title_text_font_style="normal",
            title_text_font_size="12px", major_label_text_font_size="11px", visible=False,
        )  # fmt: skip
        self.model = figure(
            x_range=Range1d(-0.5, 0.5),
            y_range=Range1d(-0.5, 0.5),
            tools="box_zoom,reset,save",
            toolbar_location="above",
            active_drag=None,
            name="map",
            visible=False,
        )
        self._draw_parts()
        self.model.on_event(Tap, self._tapped)

    def show(self, picture: Picture) -> None:
        """Draw a picture in place of the last."""
        (n_rows, n_columns), shades = picture.shape, picture.shades
        x, y, drawn = picture.panel.x, picture.panel.y, self.model
        cell_width = min(72.0, max(6.0, 620.0 / n_columns))
        cell_height = min(48.0, max(5.0, 460.0 / n_rows))
        every = -(-n_columns // MAX_TICKS)
        is_slanted = max(map(len, x.ticks)) * LETTER > cell_width * every
        below = (max(map(len, x.ticks)) * LETTER * 0.75 if is_slanted else 14) + 40
        left = max(map(len, y.ticks)) * LETTER + 44
        right = 120 if shades is not None else 20
        drawn.width = round(max(340, left + n_columns * cell_width + right))
        drawn.height = round(max(170, n_rows * cell_height + below + 40))
        if self._shape != picture.shape:  # else whoever has zoomed in stays there
            self._shape = picture.shape
            for side, n in ((drawn.x_range, n_columns), (drawn.y_range, n_rows)):
                side.update(start=-0.5, end=n - 0.5, reset_start=-0.5, reset_end=n - 0.5)
        _ticks(drawn.xaxis[0], x)
        _ticks(drawn.yaxis[0], y)
        drawn.xaxis[0].major_label_orientation = 0.9 if is_slanted else "horizontal"
        fits = cell_width >= TEXT_WIDTH and cell_height >= TEXT_HEIGHT
        self._labels.data = _labels(picture.cells if fits else ())
        self._rects.glyph.line_width = 0.8 if min(cell_width, cell_height) > 10 else 0.0
        for hatch, source in self._hatches.items():
            alike = [c for c in picture.cells if c.look.hatch == hatch]
            source.data = {"x": [c.column for c in alike], "y": [c.row for c in alike]}
        self._cells.data = _columns(picture.cells)
        partly = [c for c in picture.cells if c.partly]
        self._corners.data = {
            "xs": [[c.column + 0.22, c.column + 0.5, c.column + 0.5] for c in partly],
            "ys": [[c.row + 0.5, c.row + 0.5, c.row + 0.14] for c in partly],
        }
        if shades is not None:
            mapper = self._mappers[shades.log]
            mapper.update(palette=list(shades.fills), low=shades.low, high=shades.high)
            self._bar.update(color_mapper=mapper, title=picture.value_label)
        self._bar.visible = shades is not None
        drawn.visible = True

    def mark(self, place: tuple[int, int] | None) -> None:
        """Mark the cell at (row, column), or none."""
        x, y = ([place[1]], [place[0]]) if place else ([], [])
        self._chosen.data = {"x": x, "y": y}

    def _draw_parts(self) -> None:
        """Add what is drawn to the figure."""
        drawn = self.model
        drawn.toolbar.logo = None
        drawn.grid.visible = False
        drawn.outline_line_color = "#444444"
        for axis in drawn.axis:
            axis.ticker = FixedTicker(ticks=[])
            axis.axis_label_text_font_style = "normal"
            axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
            axis.minor_tick_line_color = None
        self._rects = drawn.rect(
            *("x", "y"), width=1, height=1, source=self._cells,
            fill_color="fill", line_color="line", line_width=0.8,
        )  # fmt: skip
        for hatch, source in self._hatches.items():
            drawn.rect(
                *("x", "y"), width=1, height=1, source=source, fill_color=None, line_color=None,
                hatch_pattern=HATCHES[hatch], hatch_color="#777777", hatch_weight=0.7,
                hatch_scale=9,
            )  # fmt: skip
        drawn.add_tools(
            HoverTool(renderers=[self._rects], tooltips="@facts{safe}", attachment="right")
        )
        drawn.text(
            *("x", "y"), text="text", source=self._labels, text_color="ink",
            text_align="center", text_baseline="middle", text_font_size="11px",
            text_line_height=1.15, background_fill_color="halo", padding=2,
        )  # fmt: skip
        drawn.patches(
            "xs", "ys", source=self._corners, fill_color="#FFFFFF", line_color="#000000",
            line_width=0.8,
        )  # fmt: skip
        for colour, line_width in (("#FFFFFF", 6), ("#000000", 3)):  # seen on any colour
            drawn.rect(
                *("x", "y"), width=1, height=1, source=self._chosen, fill_color=None,
                line_color=colour, line_width=line_width,
            )  # fmt: skip
        drawn.add_layout(self._bar, "right")

    def _tapped(self, event: Any) -> None:
        if event.x is None or event.y is None:
            return
        row, column = round(event.y), round(event.x)
        if 0 <= row < self._shape[0] and 0 <= column < self._shape[1]:
            self._choose(row, column)


def _columns(cells: tuple[Cell, ...]) -> dict[str, list[Any]]:
    """Return the cells as columns."""
    return {
        "x": [c.column for c in cells],
        "y": [c.row for c in cells],
        "fill": [c.look.fill for c in cells],
        "line": ["#9A9A9A" if c.look.hatch or not c.text else "#FFFFFF" for c in cells],
        "text": [c.text for c in cells],
        "facts": [facts_table(c.facts) for c in cells],
    }


def _labels(cells: tuple[Cell, ...]) -> dict[str, list[Any]]:
    """Return the texts of the cells that have one; a letter on a hatch stands on white."""
    cells = tuple(c for c in cells if c.text)
    return {
        "x": [c.column for c in cells],
        "y": [c.row for c in cells],
        "ink": [c.look.ink for c in cells],
        "halo": ["#FFFFFF" if c.look.hatch else None for c in cells],
        "text": [c.text for c in cells],
    }


def facts_table(facts: tuple[tuple[str, str], ...]) -> str:
    """Return facts as rows of HTML, escaped."""
    name = "style='color:#5c5c5c;padding-right:8px'"
    rows = "".join(f"<tr><td {name}>{escape(n)}</td><td>{escape(v)}</td></tr>" for n, v in facts)
    return f"<table>{rows}</table>"


def _ticks(axis: Any, side: MapAxis) -> None:
    shown = range(0, len(side.ticks), -(-len(side.ticks) // MAX_TICKS))
    axis.axis_label = side.label or None
    axis.ticker.ticks = list(shown)
    axis.major_label_overrides = {i: side.ticks[i] for i in shown}
