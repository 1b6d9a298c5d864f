"""One reader's page: pickers beside a map, the curves of the chosen cell below it.

Reading happens in threads; what they found is drawn by the page's own turn of the server's
loop, and only if nothing newer has been asked for.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import panel as pn
from bokeh.models import CustomJS, Div

from phasecube.analysis.caution import cautions_of
from phasecube.analysis.serve import page_parts as parts
from phasecube.analysis.serve.controls import Controls
from phasecube.analysis.serve.curves_figure import CurvesFigure
from phasecube.analysis.serve.map_figure import MapFigure
from phasecube.analysis.serve.picture import CellCurves, Picture, curves, picture
from phasecube.analysis.serve.refresh import LiveStudy, Snapshot
from phasecube.analysis.serve.report_link import ReportLink
from phasecube.analysis.serve.state import Offer, View, from_query, settled, to_query
from phasecube.engine.errors import PhasecubeError, StudyError

TICK_MS = 500
# The address says what is shown, without a step of the browser's history for each choice.
ADDRESS = "history.replaceState(null, '', '?' + cb_obj.text)"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What a view came to: the view as it could be shown, its map and curves, what was said."""

    view: View
    map: Picture | None
    curves: CellCurves | None
    said: tuple[str, ...]


def answer(view: View, snapshot: Snapshot) -> Answer:
    """Return the map and curves of a view; what cannot be drawn says why."""
    shown, said = settled(view, snapshot.offer)
    try:
        drawn = picture(snapshot.ds, shown, snapshot.offer)
        found = curves(snapshot.ds, shown, snapshot.offer) if shown.cell else None
    except StudyError as error:
        return Answer(shown, None, None, (*said, str(error)))
    return Answer(shown, drawn, found, said)


class Page:
    """The page of one reader; `body` is what the browser shows."""

    def __init__(
        self,
        live: LiveStudy,
        pool: ThreadPoolExecutor,
        report: ReportLink,
        query: str,
        first: View,
    ) -> None:
        self._live, self._pool = live, pool
        self._doc: Any = pn.state.curdoc
        self._asked = 0
        self._drawn = -1  # the number of the snapshot on the screen
        self._is_looking = False
        self._picture: Picture | None = None
        self._of: Offer | None = None  # what the study offered when that was drawn
        self._view, self._said = from_query(query) if query else (first, ())
        self._controls = Controls(self._changed)
        self._head = _html()
        self._progress = _html(name="progress")
        self._title, self._note = _html(), _html()
        self._map, self._curves = MapFigure(self._choose), CurvesFigure()
        self._legend, self._caption, self._table = _html(), _html(), _html()
        self._curves_title, self._facts = _html("<h2>Curves</h2>"), _html()
        self._address = Div(text="", visible=False, name="address")
        self._address.js_on_change("text", CustomJS(code=ADDRESS))
        shown = (self._legend, self._caption, self._table)
        below = (self._curves_title, self._controls.of_curves, self._facts)
        drawn = [pn.pane.Bokeh(model) for model in (self._map.model, *self._curves.models)]
        self.body = pn.Column(
            *(self._head, self._progress),
            pn.Row(
                self._controls.side,
                pn.Column(
                    *(self._title, self._note, drawn[0], *shown, *below, *drawn[1:]),
                    report.body(),
                    sizing_mode="stretch_width",
                ),
                sizing_mode="stretch_width",
            ),
            pn.pane.Bokeh(self._address),
            sizing_mode="stretch_width",
            styles={"padding": "1rem 1.25rem 3rem"},
        )
        attrs = live.snapshot.ds.attrs
        self._head.object = _heading(attrs.get("title", live.path.name), attrs.get("question", ""))
        self._show_progress()
        # Once the browser listens: what is set before is no change to it, least of all the address.
        pn.state.onload(self._ask)
        pn.state.add_periodic_callback(self._tick, period=TICK_MS)

    def _changed(self) -> None:
        self._view, self._said = self._controls.view(), ()
        self._ask()

    def _choose(self, row: int, column: int) -> None:
        """Choose the cell that was clicked."""
        if self._picture is not None and self._of is not None:
            sides = ((self._picture.view.x, column), (self._picture.view.y, row))
            labels = [self._of.labels[a][i] if a else "" for a, i in sides]
            self._controls.choose_cell(*labels)

    # reading, in threads -----------------------------------------------------

    def _ask(self) -> None:
        self._asked += 1
        self._note.object = "<p class='soft' role='status'>reading …</p>"
        self._pool.submit(self._read, self._asked, self._view)

    def _read(self, number: int, view: View) -> None:
        if number != self._asked:
            return
        try:
            snapshot, found = self._live.read(partial(answer, view))
        except Exception as error:
            if not isinstance(error, PhasecubeError | OSError):
                log.exception("the view %s could not be drawn", view)
            self._then(self._failed, number, f"{type(error).__name__}: {error}")
        else:
            self._then(self._show, number, snapshot, found)

    def _look(self) -> None:
        try:
            self._live.look()
        except Exception:
            log.exception("%s could not be looked at", self._live.path)
        self._then(self._looked)

    def _then(self, call: Any, *arguments: Any) -> None:
        if self._doc.session_context and not self._doc.session_context.destroyed:
            self._doc.add_next_tick_callback(partial(call, *arguments))

    # showing, in the server's loop -------------------------------------------

    def _tick(self) -> None:
        if self._live.is_due() and not self._is_looking:
            self._is_looking = True
            self._pool.submit(self._look)
        if self._drawn not in (-1, self._live.snapshot.number):
            self._drawn = -1
            self._ask()

    def _looked(self) -> None:
        self._is_looking = False
        self._show_progress()

    def _show_progress(self) -> None:
        self._progress.object = parts.progress_html(self._live.progress, self._live.problem)

    def _failed(self, number: int, why: str) -> None:
        if number == self._asked:
            self._drawn = self._live.snapshot.number
            self._note.object = _problem(f"{why}. Shown is what was read last.")

    def _show(self, number: int, snapshot: Snapshot, found: Answer) -> None:
        if number != self._asked:
            return
        self._drawn, self._view = snapshot.number, found.view
        self._controls.show(found.view, snapshot.offer)
        self._address.text = to_query(found.view)
        said = (*self._said, *found.said)
        self._note.object = _problem("; ".join(said)) if said else ""
        if found.map is None:
            return
        self._draw(found.map, snapshot.offer)
        cautions = parts.cautions_html(cautions_of(snapshot.ds.attrs))
        self._caption.object = f"<p class='soft'>{_escaped(found.map.caption)}</p>{cautions}"
        self._show_curves(found, snapshot.offer)

    def _draw(self, drawn: Picture, of: Offer) -> None:
        self._picture, self._of = drawn, of
        self._title.object = f"<h2>{_escaped(drawn.title)}</h2>"
        self._map.show(drawn)
        self._legend.object = parts.legend_html(drawn)
        table = parts.table_html(drawn)
        if self._table.object != table:  # an opened table stays open
            self._table.object = table

    def _show_curves(self, found: Answer, of: Offer) -> None:
        view, shown = found.view, found.curves
        cell = view.cell and tuple(
            of.labels[a].index(label) if a else 0
            for a, label in zip((view.y, view.x), reversed(view.cell), strict=True)
        )
        self._map.mark((cell[0], cell[1]) if cell else None)
        logs = {"log_steps": view.steps == "log", "log_values": view.values == "log"}
        self._curves.show(shown, **logs)
        if shown is None:
            self._curves_title.object = "<h2>Curves</h2>"
            self._facts.object = "<p class='soft'>Click a cell, or choose its place here.</p>"
            return
        self._curves_title.object = f"<h2>Curves at {_escaped(shown.title)}</h2>"
        note = f"<p class='soft'>{_escaped(shown.note)}</p>" if shown.note else ""
        self._facts.object = parts.facts_html(shown.facts) + note


def _html(text: str = "", **options: Any) -> Any:
    return pn.pane.HTML(
        text, stylesheets=[parts.CSS], margin=(3, 10), sizing_mode="stretch_width", **options
    )


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def _heading(title: str, question: str) -> str:
    asked = f"<p>{_escaped(question)}</p>" if question else ""
    return f"<h1>{_escaped(title)}</h1>{asked}"


def _problem(text: str) -> str:
    return f"<p class='problem' role='alert'>{_escaped(text)}</p>"
