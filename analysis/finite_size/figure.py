"""The figure of `finite_size`: curves as measured, and laid upon each other."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from phasecube.analysis.finite_size.collapse import Collapse
from phasecube.analysis.labels import format_value
from phasecube.analysis.lines.line_figures import MARKERS, line_colours
from phasecube.analysis.print_style import add_caption, styled

_MOST = 1e3  # an error of this many spreads is that of no member


def collapse_figure(
    found: Collapse, labels: tuple[str, str, str], caption: str, *, title: str = ""
) -> Figure:
    """Return two panels; `labels` are those of x, of the mean and of the size."""
    x_label, y_label, size_label = labels
    curves = found.curves
    power = found.inverse_nu.value
    lift = 0.0 if found.beta_over_nu is None else found.beta_over_nu.value
    with styled():
        figure = Figure(figsize=(6.6, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=found.beta_over_nu is None)
        colours = line_colours(len(curves.size_L))
        for i, (size, colour) in enumerate(zip(curves.size_L, colours, strict=True)):
            x_X, mean_X = curves.x_LX[i], curves.mean_BLX[0, i]
            error_X = np.where(curves.error_BLX[0, i] < _MOST, curves.error_BLX[0, i], 0)
            style: Any = {
                "color": colour,
                "marker": MARKERS[i % len(MARKERS)],
                "ms": 3,
                "elinewidth": 0.7,
                "lw": 0.9,
            }
            left.errorbar(x_X, mean_X, error_X, **style)
            up = size**lift
            style |= {"ls": "none", "label": format_value(float(size))}
            right.errorbar(
                (x_X - found.x_c.value) * size**power, up * mean_X, up * error_X, **style
            )
        left.axvline(found.x_c.value, color="#555555", lw=0.8, ls="--")
        if np.isfinite(found.x_c.low):
            left.axvspan(found.x_c.low, found.x_c.high, color="#555555", alpha=0.18, lw=0)
        left.set(xlabel=x_label, ylabel=textwrap.fill(y_label, 40))
        size_name = size_label.split(" / ")[0]
        right.set_xlabel(f"({x_label} − {found.x_c.value:.4g}) × size^{power:.3g}")
        if found.beta_over_nu is not None:
            right.set_ylabel(textwrap.fill(f"{y_label} × size^{lift:.3g}", 40))
        right.legend(title=size_name, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0),
                     title_fontsize=7)  # fmt: skip
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        if title:
            figure.suptitle(title, fontsize=8)
        add_caption(figure, caption)
    return figure
