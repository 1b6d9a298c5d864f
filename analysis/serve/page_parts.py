"""The parts of the page that are plain HTML: progress, legend, the map as a table, cautions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

from phasecube.analysis.caution import Caution
from phasecube.analysis.maps.cell_look import Look
from phasecube.analysis.serve.picture import Picture
from phasecube.analysis.serve.progress import Progress
from phasecube.analysis.serve.quantities import OUTCOME_LOOKS, outcome_words

TABLE_CELLS = 900  # a larger map as a table is read by nobody
# Lines of the hatches, in a square of 14 px.
HATCH_LINES: Mapping[str, str] = {
    "": "",
    "//": "M0 14L14 0M-4 4L4 -4M10 18L18 10",
    "xxxx": "M0 14L14 0M0 0L14 14M7 0L14 7M0 7L7 14M7 0L0 7M14 7L7 14",
    "++": "M4 0V14M10 0V14M0 4H14M0 10H14",
    "..": "M3 3h1.6M9 3h1.6M6 8h1.6M12 8h1.6M3 12h1.6M9 12h1.6",
}
CSS = """
:host { font: 14px/1.45 system-ui, "Segoe UI", "Liberation Sans", sans-serif; color: #1b1b1b; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.1rem; margin: .2rem 0; }
p { margin: .15rem 0; max-width: 60rem; }
.soft { color: #5c5c5c; }
.problem { border-left: 4px solid #b3261e; background: #fdf3f2; padding: .4rem .8rem; }
.bar { display: flex; height: 12px; max-width: 60rem; margin: .35rem 0; border: 1px solid #9a9a9a; }
.bar span { display: block; height: 100%; }
.bar .hatched { background-image: repeating-linear-gradient(135deg, #555 0 1px, #fff 1px 5px); }
.key { display: inline-block; margin: 0 1rem .15rem 0; white-space: nowrap; }
.key svg { vertical-align: -2px; margin-right: .35em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.grid td, .grid th { border: 1px solid #d0d0d0; padding: .1rem .5rem; text-align: right; }
.facts th { font-weight: normal; color: #5c5c5c; text-align: left; padding-right: .8rem; }
.scroll { overflow: auto; max-height: 24rem; }
ul.cautions { margin: .3rem 0 0; padding-left: 1.1rem; color: #8a3200; }
"""


def progress_html(progress: Progress, problem: str) -> str:
    """Return the bar of trials by outcome, and how the run stands in words."""
    total = max(1, progress.n_trials)
    looks = {outcome_words(o): look for o, look in OUTCOME_LOOKS.items()}
    parts, words = [], []
    for name, n in progress.outcomes:
        look = looks[name]
        hatched = ' class="hatched"' if look.hatch and name != "not run" else ""
        fill = "" if hatched else f"background:{look.fill};"
        parts.append(f'<span{hatched} style="{fill}width:{100 * n / total:.4f}%"></span>')
        words.append(f"{n:,} {escape(name)}")
    counts = ", ".join(words) or "no trials"
    lines = (re.sub("`([^`]+)`", r"<code>\1</code>", escape(line)) for line in progress.said)
    said = "".join(f"<p>{line}</p>" for line in lines)
    failed = f'<p class="problem">{escape(problem)}; shown is what was read last.</p>'
    return (
        f'<div class="bar" role="img" aria-label="{counts}">{"".join(parts)}</div>'
        f'<p>{progress.n_trials:,} trials: {counts}.</p><div class="soft">{said}</div>'
        + (failed if problem else "")
    )


def legend_html(picture: Picture) -> str:
    """Return a swatch and a name for each category that the map has."""
    keys = [_key(name, _swatch(look)) for name, look in picture.legend]
    if any(cell.partly for cell in picture.cells):
        corner = '<rect width="14" height="14" fill="#ccc"/><path d="M5 0H14V9Z" fill="#fff" '
        keys.append(_key("partly run", corner + 'stroke="#000" stroke-width=".8"/>'))
    return "".join(keys)


def _key(name: str, drawn: str) -> str:
    square = '<rect x=".5" y=".5" width="13" height="13" fill="none" stroke="#333"/>'
    picture = f'<svg width="14" height="14" aria-hidden="true">{drawn}{square}</svg>'
    return f'<span class="key">{picture}{escape(name)}</span>'


def _swatch(look: Look) -> str:
    lines = HATCH_LINES[look.hatch]
    hatch = f'<path d="{lines}" stroke="#777" fill="none"/>' if lines else ""
    return f'<rect width="14" height="14" fill="{escape(look.fill)}"/>{hatch}'


def table_html(picture: Picture) -> str:
    """Return the texts of the cells as a table, the first value of y at the bottom as drawn."""
    n_rows, n_columns = picture.shape
    if n_rows * n_columns > TABLE_CELLS:
        return ""
    x, y = picture.panel.x, picture.panel.y
    texts = {(c.row, c.column): c.text.replace("\n", " ") for c in picture.cells}
    head = "".join(f"<th scope='col'>{escape(t)}</th>" for t in x.ticks)
    rows = "".join(
        f"<tr><th scope='row'>{escape(y.ticks[row])}</th>"
        + "".join(f"<td>{escape(texts[row, column])}</td>" for column in range(n_columns))
        + "</tr>"
        for row in reversed(range(n_rows))
    )
    corner = escape(" \\ ".join(side.label for side in (y, x) if side.name))
    return (
        "<details><summary>The map as a table</summary><div class='scroll'><table class='grid'>"
        f"<tr><th>{corner}</th>{head}</tr>{rows}</table></div></details>"
    )


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """Return the numbers of a cell as a table."""
    rows = "".join(f"<tr><th>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in facts)
    return f"<table class='facts'>{rows}</table>"


def cautions_html(cautions: Iterable[Caution]) -> str:
    """Return what speaks against the numbers, empty if nothing does."""
    lines = "".join(f"<li><b>{escape(c.name)}</b>: {escape(c.message)}</li>" for c in cautions)
    return f"<ul class='cautions'>{lines}</ul>" if lines else ""
