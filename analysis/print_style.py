"""Figures become files: one style for print, a caption below, PDF and PNG, SVG for a page."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from phasecube.analysis.caution import Caution

_STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "svg.fonttype": "none",
}
INCH_MM = 25.4
CAPTION = "caption"


def styled() -> Any:
    """Return the context in which a figure takes the style of print."""
    return mpl.rc_context(_STYLE)


def add_caption(figure: Figure, caption: str) -> None:
    """Write a caption below a figure, as wide as it is."""
    width_in = figure.get_size_inches()[0]
    lines = textwrap.wrap(caption, int(width_in * 19))
    figure.text(
        0.01,
        -0.01,
        "\n".join(lines),
        fontsize=6.5,
        va="top",
        ha="left",
        color="#333333",
        gid=CAPTION,
    )


def extend_caption(figure: Figure, more: str) -> None:
    """Write more text after the caption of a figure, or as its caption where it has none."""
    for text in figure.texts:
        if text.get_gid() == CAPTION:
            width_in = figure.get_size_inches()[0]
            lines = textwrap.wrap(more, int(width_in * 19))
            text.set_text("\n".join([text.get_text(), *lines]))
            return
    add_caption(figure, more)


def add_cautions(figure: Figure, cautions: Iterable[Caution]) -> None:
    """Write the names of what speaks against a figure above it; its caption says what they mean."""
    names = ", ".join(dict.fromkeys(caution.name for caution in cautions))
    if names:
        width_in = figure.get_size_inches()[0]
        figure.text(
            0.01,
            1.01,
            textwrap.fill(f"Warnings: {names}", int(width_in * 19)),
            fontsize=6.5,
            va="bottom",
            ha="left",
            color="#A63D00",
        )


def plain_ticks(axis: Any, low: float, high: float) -> None:
    """Let a side of less than two decades read 0.2 and not 2 x 10^-1, with ticks enough."""
    from matplotlib.ticker import LogLocator, NullLocator

    if high >= 100 * low:
        return
    subs = (1, 1.5, 2, 3, 4, 5, 7) if high < 5 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write stem.pdf and stem.png (300 dpi), byte for byte the same for the same figure."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf, png = stem.with_suffix(".pdf"), stem.with_suffix(".png")
    with styled():
        # One layout serves both files, and the caption that hangs below the figure.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        box = figure.get_tightbbox().padded(0.06)
        for path, metadata in ((pdf, {"CreationDate": None}), (png, {"Software": None})):
            content = io.BytesIO()
            figure.savefig(
                content, format=path.suffix[1:], dpi=300, metadata=metadata, bbox_inches=box
            )
            path.write_bytes(content.getvalue())
    return pdf, png


def as_svg(figure: Figure, salt: str) -> str:
    """Return a figure as an SVG element for a page; its caption is taken off it.

    `salt` keeps its ids apart from those of other figures on the page.
    """
    with styled(), mpl.rc_context({"svg.hashsalt": salt}):
        for text in list(figure.texts):
            if text.get_gid() == CAPTION:
                text.remove()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        box = figure.get_tightbbox().padded(0.04)
        content = io.StringIO()
        metadata = {"Date": None, "Creator": None}
        figure.savefig(content, format="svg", metadata=metadata, bbox_inches=box)
    written = content.getvalue()
    used = set(re.findall(r"#([\w-]+)", written))
    # The others only name groups, alike in every figure.
    written = re.sub(r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", written)
    return written[written.index("<svg") :]
