"""One page per study that needs no network: maps to point at, curves behind each cell, the
tables, where the numbers come from. Figures for print and CSV files lie beside it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup

from phasecube.analysis import print_style
from phasecube.analysis.analyses import Request, requests
from phasecube.analysis.cube import PLAN, Chunks, open_study
from phasecube.analysis.drawings import draw
from phasecube.analysis.drawn import Drawn, Map
from phasecube.analysis.grokking import Phase, delay_law, grokking, onsets
from phasecube.analysis.labels import format_value, name_and_unit, tick_labels
from phasecube.analysis.page_curves import curves_of
from phasecube.analysis.page_map import place_map
from phasecube.analysis.phase_diagram import sweep_dims
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

PAGE_NUMBERS = 400_000  # of all curves in a page, about 3 MB
TABLE_ROWS = 400  # shown in the page; the CSV file holds all


@dataclass(frozen=True)
class Facts:
    """What a page says of a study beside its Dataset; all optional."""

    packs: int | None = None
    runs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


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
    facts = Facts(plan.n_packs, _read_runs(study / "runs.jsonl"))
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
    analyses, curves = [], {}
    drawn = [_drawn(ds, request) for request in wanted]
    n_sections = sum(len(d.sections) for d, _ in drawn) or 1
    for number, (found, notes) in enumerate(drawn, 1):
        sections = []
        for panel, section in enumerate(found.sections, 1):
            key = f"{number}-{panel}"
            curves[key] = curves_of(section, numbers=PAGE_NUMBERS // n_sections)
            maps = [
                {"placed": place_map(m, section.panel)} | _map(folder, f"{key}-{_slug(m.name)}", m)
                for m in section.maps
            ]
            sections.append({"key": key, "section": section, "maps": maps})
        plots = [_plot(folder, f"{number}-{plot.name}", plot) for plot in found.plots]
        analyses.append(
            {"heading": found.heading, "notes": notes, "sections": sections, "plots": plots}
        )
    page = _environment().get_template("report.html")
    html = page.render(
        ds=ds.attrs,
        analyses=analyses,
        curves=_script(curves),
        outcomes=_outcomes(ds),
        complete=_complete(ds),
        axes=_axes(ds),
        fixed=_fixed(ds),
        measures=[(n, name_and_unit(v)) for n, v in ds.data_vars.items() if "step" in v.dims],
        steps=_steps(ds),
        css=_part("report.css"),
        script=_part("report.js"),
        facts=facts,
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


def _drawn(ds: xr.Dataset, wanted: Request) -> tuple[Drawn, list[str]]:
    """Return what a request came to; one that this study cannot answer says why on the page."""
    try:
        found = draw(ds, wanted)
    except StudyError as error:
        return Drawn(wanted.title or wanted.kind.replace("_", " "), ()), [str(error)]
    notes = [found.note] if found.note else []
    if wanted.kind == "grokking":
        notes += _law(ds, wanted)
    return found, notes


def _law(ds: xr.Dataset, wanted: Request) -> list[str]:
    """Return the delay law in words where lr * weight_decay varies and enough trials grokked."""
    rates = [parameter(ds, name) for name in ("lr", "weight_decay")]
    if rates[0] is None or rates[1] is None or (rates[0] * rates[1]).size < 2:
        return []
    rate = rates[0] * rates[1]
    t_grok = onsets(ds, wanted.rule)[1]
    late = grokking(ds, wanted.rule).phase == Phase.GROKKING
    # At large rates t_grok meets a floor and the law ends; the lower half shows the difference.
    middle = float(np.median(np.unique(rate.values[rate.values > 0])))
    said = []
    for words, within in (("", late), (" at the lower half of the rates", late & (rate <= middle))):
        try:
            part = replace(t_grok, step=t_grok.step.where(within))
            law = delay_law(part, rates[0], rates[1], over=wanted.over)
        except StudyError:
            continue  # too few trials grokked there: the maps say so
        ends = f"{law.low:.2f} to {law.high:.2f}".replace("-", "−")
        exponent = f"{law.slope:.2f}".replace("-", "−")
        said.append(f"{exponent}{words} (95 % {ends}; {law.n} trials, R² {law.r_squared:.2f})")
    if not said:
        return []
    sentence = (
        "Delay law of the trials in the grokking phase, all other axes alike: t_grok goes as "
        f"lr × weight decay to the power of {', '.join(said)}. −1 is expected where weight decay "
        "drives the onset; trials that had not generalised by their end are left out."
    )
    return [sentence]


def parameter(ds: xr.Dataset, name: str) -> xr.DataArray | None:
    """Return a parameter as an axis, a derived coordinate or fixed value, None if absent."""
    if name in ds.coords:
        return ds[name]
    value = json.loads(ds.attrs.get("fixed", "{}")).get(name)
    return xr.DataArray(value) if isinstance(value, int | float) else None


def _map(folder: Path, stem: str, drawn: Map) -> dict[str, Any]:
    figure = drawn.figure()
    print_style.add_cautions(figure, drawn.cautions)
    print_style.save(figure, folder / "figures" / stem)
    return {"map": drawn, **_table(folder, stem, drawn.table)}


def _plot(folder: Path, stem: str, drawn: Plot) -> dict[str, Any]:
    figure = drawn.figure()
    print_style.add_cautions(figure, drawn.cautions)
    print_style.save(figure, folder / "figures" / _slug(stem))
    picture = Markup(print_style.as_svg(figure, stem))  # noqa: S704 - matplotlib escapes
    return {"plot": drawn, "picture": picture, **_table(folder, _slug(stem), drawn.table)}


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
    return Markup((resources.files("phasecube.analysis") / name).read_text("utf-8"))  # noqa: S704 - ours


def _outcomes(ds: xr.Dataset) -> list[tuple[str, int]]:
    counts = np.bincount(ds.outcome.values.astype(np.int64).ravel(), minlength=256)
    named = [(o.name.lower().replace("_", " "), int(counts[o])) for o in Outcome]
    return [(name, n) for name, n in named if n]


def _complete(ds: xr.Dataset) -> bool:
    return not bool((ds.outcome == Outcome.NOT_RUN).any())


def _axes(ds: xr.Dataset) -> list[dict[str, Any]]:
    found = []
    for dim in sweep_dims(ds):
        for name, coord in ds.coords.items():
            if coord.dims != (dim,):
                continue
            values = tick_labels(coord.values)
            text = ", ".join(values if len(values) <= 12 else (*values[:5], "…", *values[-2:]))
            found.append(
                {
                    "name": name if name == dim else f"{name} (in {dim})",
                    "label": name_and_unit(coord),
                    "n": len(values),
                    "values": text,
                }
            )
    return found


def _fixed(ds: xr.Dataset) -> list[tuple[str, str]]:
    values = json.loads(ds.attrs.get("fixed", "{}"))
    return [(name, format_value(value)) for name, value in sorted(values.items())]


def _steps(ds: xr.Dataset) -> str:
    steps = ds.step.values
    if len(steps) < 2:
        return f"step {', '.join(map(str, steps))}"
    gaps = np.unique(np.diff(steps))
    spacing = f"every {gaps[0]}" if len(gaps) == 1 else f"{gaps[0]} to {gaps[-1]} apart"
    return f"{len(steps)} steps from {steps[0]} to {steps[-1]}, {spacing}"


def _read_runs(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    runs = []
    for line in lines:
        try:
            runs.append(json.loads(line))
        except ValueError:
            continue  # the last line of a run that was killed while writing it
    return tuple(r for r in runs if isinstance(r, dict))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phasecube.analysis", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: format_value(value, 3)
    return environment
