"""One page per study that needs no network: maps to point at, curves behind each cell, the
tables, where the numbers come from. Figures for print and CSV files lie beside it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import pandas as pd
import xarray as xr
from markupsafe import Markup, escape

from phasecube.analysis import print_style
from phasecube.analysis.analyses import Request, requests
from phasecube.analysis.cube.opened import PLAN, Chunks, open_study
from phasecube.analysis.drawn import Drawn, Map, Section
from phasecube.analysis.labels import format_value
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.maps.map_making import first_upper
from phasecube.analysis.plots import Plot
from phasecube.analysis.report import facts as page_facts
from phasecube.analysis.report.cells import OUTCOME_NAMES, Words, trials_of
from phasecube.analysis.report.curves import curves_of
from phasecube.analysis.report.delay_words import delay_in_words
from phasecube.analysis.report.facts import Facts
from phasecube.analysis.report.figure_trials import Behind, FigureTrials
from phasecube.analysis.report.findings import law_found
from phasecube.analysis.report.map import place_map
from phasecube.analysis.report.outcome_places import ended, outcome_sentence
from phasecube.analysis.report.study_cautions import engines, study_cautions
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

__all__ = ["Facts", "write_pages", "write_report"]

PAGE_NUMBERS = 300_000  # of all curves in a page, about 2 MB
PAGE_TRIALS = 30_000  # of all cells whose digests travel in a page, about 1 MB
# Patterns of the page by the hatches of matplotlib, whose names are no ids.
HATCHES = {"xxxx": "x", "++": "plus", "//": "rise", "\\\\\\\\": "fall", "..": "dots"}
TABLE_ROWS = 400  # shown in the page; the CSV file holds all


def write_report(study: Path | str, *, chunks: Chunks = None) -> Path:
    """Write report/index.html with figures and tables of the study; return the page's path.

    Works on a study that still runs, and says so. The whole folder is made beside the old
    report and renamed. With `chunks` dask reduces the curves, on its cluster if there is one.
    """
    from phasecube.sweeps.plan import read_plan

    study = Path(study)
    ds = open_study(study, chunks=chunks)
    plan = read_plan(study / PLAN)
    wanted = requests([(a.kind, a.options) for a in plan.sweep.analyses], ds)
    facts = page_facts.facts_of(study, plan.n_packs)
    target, partial = study / "report", study / f"report.{uuid4().hex}.partial"
    try:
        write_pages(ds, wanted, facts, partial)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target / "index.html"


def write_pages(ds: xr.Dataset, wanted: Sequence[Request], facts: Facts, folder: Path) -> None:
    """Write the page, the figures and the tables of a Dataset into `folder`."""
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True)
    ds = ds.assign(outcome=ds.outcome.compute())  # one byte a trial, asked again and again
    page = _Page(ds, folder)
    drawn = [(request, *_drawn(ds, request)) for request in wanted]
    n_sections = sum(len(found.sections) for _, found, _ in drawn) or 1
    analyses = [
        page.analysis(number, request, found, notes, n_sections)
        for number, (request, found, notes) in enumerate(drawn, 1)
    ]
    outcomes = ended(ds)
    sources, more_sources = page_facts.origins(ds, facts)
    html = (
        _environment()
        .get_template("report.html")
        .render(
            ds=ds.attrs,
            analyses=analyses,
            data=_script(
                {
                    "words": page.words.texts,
                    "outcomes": OUTCOME_NAMES,
                    "panels": page.panels,
                    "study": facts.study,
                }
            ),
            outcomes=outcomes,
            planned=[e for e in outcomes if e.outcome is not Outcome.NOT_PLANNED],
            ended_sentence=outcome_sentence({e.outcome: e.n for e in outcomes}),
            cautions=study_cautions(ds, facts.runs),
            trials=page.trials.behind({}),
            axes=page_facts.axes_of(ds),
            fixed=page_facts.fixed_of(ds),
            measures=page_facts.recorded_of(ds),
            steps=page_facts.steps_of(ds),
            seeds=page_facts.seeds_of(ds),
            engines=engines(ds, ds.outcome),
            origins=sources,
            more_origins=more_sources,
            css=_part("report.css"),
            script=_part("report_curves.js") + _part("report.js"),
            facts=facts,
        )
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


class _Page:
    """Gathers the parts of one page and writes the files that lie beside it."""

    def __init__(self, ds: xr.Dataset, folder: Path) -> None:
        self.ds = ds
        self.folder = folder
        self.words = Words()
        self.panels: dict[str, Any] = {}
        self.trials = FigureTrials(ds, folder)

    def analysis(
        self, number: int, request: Request, found: Drawn, notes: list[str], n_sections: int
    ) -> dict[str, Any]:
        """Return one analysis as the template takes it."""
        sections = []
        for panel, section in enumerate(found.sections, 1):
            key = f"{number}-{panel}"
            self.panels[key] = self._panel(section, n_sections)
            behind = self.trials.behind({**section.panel.fixed})
            maps = [self._map(key, section, m, behind) for m in section.maps]
            sections.append({"key": key, "section": section, "maps": maps})
        select = getattr(request.options, "select", {})
        plots = [self._plot(number, p, select, len(found.plots)) for p in found.plots]
        return {
            "id": f"a{number}",
            "heading": found.heading,
            "notes": notes,
            "sections": sections,
            "plots": plots,
            "found": _found(request, found),
        }

    def _panel(self, section: Section, n_sections: int) -> dict[str, Any]:
        panel = section.panel
        sides = [
            {"name": side.name, "label": side.label, "ticks": list(side.ticks)}
            for side in (panel.x, panel.y)
        ]
        return {
            "sides": sides,
            "facts": {},
            "trials": trials_of(section, most=PAGE_TRIALS // n_sections),
            **curves_of(section, numbers=PAGE_NUMBERS // n_sections),
        }

    def _map(self, key: str, section: Section, drawn: Map, behind: Behind) -> dict[str, Any]:
        stem = f"{key}-{_slug(drawn.name)}"
        n_sides = sum(bool(side.name) for side in (section.panel.x, section.panel.y))
        self.panels[key]["facts"][stem] = self.words.facts(drawn, n_sides)
        said = f"{behind.sentence} {drawn.entered}".strip()
        figure = drawn.figure()
        print_style.extend_caption(figure, said)
        print_style.add_cautions(figure, drawn.cautions)
        print_style.save(figure, self.folder / "figures" / stem)
        placed = place_map(drawn, section.panel)
        table = _table(self.folder, stem, drawn.table)
        return {"map": drawn, "placed": placed, "said": said, "trials": behind.href, **table}

    def _plot(
        self, number: int, drawn: Plot, select: Mapping[str, Any], n_plots: int
    ) -> dict[str, Any]:
        stem = _slug(f"{number}-{drawn.name}")
        behind = self.trials.behind({**select, **drawn.fixed})
        apart = n_plots < 2 or drawn.fixed
        said = behind.sentence if apart else f"All plots of this analysis: {behind.sentence}"
        figure = drawn.figure()
        print_style.extend_caption(figure, said)
        print_style.add_cautions(figure, drawn.cautions)
        print_style.save(figure, self.folder / "figures" / stem)
        named = f' role="img" aria-label="{escape(drawn.title)}">'
        svg = print_style.as_svg(figure, stem).replace(">", named, 1)
        picture = Markup(svg)  # noqa: S704 - matplotlib escapes, and so is the title
        table = _table(self.folder, stem, drawn.table)
        return {"plot": drawn, "picture": picture, "said": said, "trials": behind.href, **table}


def _found(request: Request, found: Drawn) -> list[str]:
    """Return what each map or plot of an analysis shows, by its name."""
    told = []
    for section in found.sections:
        where = f", {section.title}" if section.title else ""
        told += [f"{m.title}{where}: {m.found}." for m in section.maps if m.found]
    for plot in found.plots:
        said = law_found(plot.table) if request.kind == "scaling_law" else plot.found
        if said:
            named = "" if plot.title == found.heading else f"{plot.title}: "
            told.append(f"{named}{said}.")
    return told


def _drawn(ds: xr.Dataset, wanted: Request) -> tuple[Drawn, list[str]]:
    """Return what a request came to; one that this study cannot answer says why on the page."""
    try:
        found = draw(ds, wanted)
    except StudyError as error:
        heading = wanted.title or first_upper(wanted.kind.replace("_", " "))
        return Drawn(heading, ()), [str(error)]
    notes = [found.note] if found.note else []
    if wanted.kind == "grokking":
        notes += delay_in_words(ds, wanted)
    return found, notes


def _table(folder: Path, stem: str, table: pd.DataFrame) -> dict[str, Any]:
    """Write a table as CSV; return what the page shows of it."""
    rows = io.StringIO()
    table.to_csv(rows, index=False, quoting=csv.QUOTE_MINIMAL)
    (folder / "tables" / f"{stem}.csv").write_text(rows.getvalue(), encoding="utf-8")
    shown = table.head(TABLE_ROWS)
    return {
        "stem": stem,
        "columns": list(shown.columns),
        "rows": [[_cell_text(v) for v in row] for row in shown.itertuples(index=False)],
        "more": len(table) - len(shown),
    }


def _cell_text(value: Any) -> str:
    return "" if isinstance(value, float) and pd.isna(value) else format_value(value)


def _script(value: Any) -> Markup:
    # "<" would let a name in the data close the script element.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))  # noqa: S704 - escaped


def _part(name: str) -> Markup:
    return Markup((resources.files("phasecube.analysis.report") / name).read_text("utf-8"))  # noqa: S704 - ours


def _with_code(text: str) -> Markup:
    """Return a text whose parts between backticks are code."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(marked)  # noqa: S704 - escaped before


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phasecube.analysis.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: format_value(value, 3)
    environment.filters["code"] = _with_code
    environment.filters["hatch"] = HATCHES.__getitem__
    environment.filters["thousands"] = lambda value: f"{value:,}"
    return environment
