"""The figure of methods held against one of them: one row each, one panel per quantity."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from phasecube.analysis.print_style import add_caption, styled

if TYPE_CHECKING:
    from phasecube.analysis.entropy.methods import Method

NAME_LETTERS, LABEL_LETTERS = 28, 26
POINT, GREY = "#0072B2", "#666666"
BOX = {"facecolor": "#FFFFFF", "edgecolor": "none", "pad": 1.0}


def methods_figure(
    methods: Sequence[Method],
    against: Method,
    names: Mapping[str, str],
    caption: str,
    *,
    title: str = "",
) -> Figure:
    """Return differences with intervals; the line at 0 is the method that they are held against.

    A filled point has an interval without 0, an open one with it.
    """
    rows = [m for m in methods if m is not against]
    with styled():
        figure = Figure(figsize=(6.9, max(2.2, 1.2 + 0.21 * len(rows))), layout="constrained")
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, (name, label) in zip(panels, names.items(), strict=True):
            axes.axvline(0.0, color="#000000", lw=0.7)
            _differences(axes, rows, name)
            axes.set_xlabel(textwrap.fill(f"difference in {label}", LABEL_LETTERS))
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", lw=0.3, color="#DDDDDD")
            axes.set_axisbelow(True)
            if any(np.isfinite(m.differences[name].value) and not m.is_unstable for m in rows):
                axes.locator_params(axis="x", nbins=3)
            else:  # no number, no scale
                axes.set_xticks([])
        shown = [textwrap.fill(m.name, NAME_LETTERS) for m in rows]
        panels[0].set_yticks(range(len(rows)), shown)
        panels[0].set_ylim(max(len(rows), 1) - 0.5, -0.5)
        if title:
            figure.suptitle(title, fontsize=8)
        add_caption(figure, caption)
    return figure


def _differences(axes: Any, rows: Sequence[Method], name: str) -> None:
    beyond = []
    for row, method in enumerate(rows):
        found = method.differences[name]
        if method.is_unstable:
            _said(axes, row, f"unstable, {method.n_unstable} of {method.n_trials}")
        elif np.isinf(found.value):
            beyond.append((row, found.value > 0))
        elif not np.isfinite(found.value):
            _said(axes, row, "no pair")
        else:
            ends = np.array([found.low, found.high])
            clear = bool((ends > 0).all() or (ends < 0).all())
            if np.isfinite(ends).all():
                axes.plot(ends, [row, row], "-", color=POINT, lw=1.0)
            elif not np.isnan(ends).any():
                _half_open(axes, row, found.value, ends)
            mark = {"mfc": POINT if clear else "#FFFFFF", "ms": 4, "mew": 0.9}
            axes.plot([found.value], [row], "o", color=POINT, **mark)
    for row, above in beyond:
        axes.plot(
            [0.97 if above else 0.03], [row], ">" if above else "<", color=POINT, ms=4.5,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip


def _half_open(axes: Any, row: int, value: float, ends: np.ndarray) -> None:
    """Draw an interval up to the edge on the side on which it has no end."""
    for end, edge in zip(ends, (0.0, 1.0), strict=True):
        if np.isfinite(end):
            axes.plot([end, value], [row, row], "-", color=POINT, lw=1.0)
        else:
            axes.annotate(
                "", (edge, row), (value, row), ("axes fraction", "data"), "data",
                arrowprops={"arrowstyle": "->", "color": POINT, "lw": 1.0},
            )  # fmt: skip


def _said(axes: Any, row: int, text: str) -> None:
    where: Any = axes.get_yaxis_transform()
    axes.text(
        0.5, row, text, transform=where, ha="center", va="center", fontsize=6, color=GREY, bbox=BOX
    )
