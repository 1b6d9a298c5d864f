"""A fit drawn: what was measured against what is predicted, and what is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasecube.analysis.print_style import INCH_MM, add_caption, plain_ticks, styled
from phasecube.analysis.scaling.statement import Statement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_MM, HEIGHT_MM = 170, 70
MOST_TICKS = 8
BLUE, VERMILION = "#0072B2", "#D55E00"  # Okabe & Ito: told apart by colour-blind eyes


def fit_figure(statement: Statement) -> Figure:
    """Return two plots: y against its prediction, and the relative error against size.

    Rows far out are marked.
    """
    from matplotlib.figure import Figure

    fit = statement.fit
    measured_N = fit.points.y_N
    predicted_N = measured_N * np.exp(fit.residual_N)
    size_name = "C" if "C" in fit.points.features else fit.law.features[0]
    size_N = fit.points.features[size_name]
    kept_N = ~fit.outlier_N
    with styled():
        figure = Figure((WIDTH_MM / INCH_MM, HEIGHT_MM / INCH_MM), layout="constrained")
        left, right = figure.subplots(1, 2)
        ends = [min(measured_N.min(), predicted_N.min()), max(measured_N.max(), predicted_N.max())]
        left.plot(ends, ends, color="#555555", linewidth=0.8, label="equal")
        right.axhline(0, color="#555555", linewidth=0.8)
        for axes, x_N, y_N in (
            (left, predicted_N, measured_N),
            (right, size_N, 100 * np.expm1(-fit.residual_N)),
        ):
            axes.plot(x_N[kept_N], y_N[kept_N], ".", ms=3.5, color=BLUE, label="row")
            if fit.outlier_N.any():
                axes.plot(
                    x_N[fit.outlier_N],
                    y_N[fit.outlier_N],
                    "x",
                    ms=4,
                    color=VERMILION,
                    label="far out",
                )
        left.set(xscale="log", yscale="log", xlabel="predicted y", ylabel="measured y")
        for axis in (left.xaxis, left.yaxis):
            plain_ticks(axis, ends[0], ends[1])
        names = {"C": "compute C (FLOP)", "N": "parameters N", "D": "tokens D"}
        right.set(
            xscale="log",
            xlabel=names.get(size_name, size_name),
            ylabel="measured over predicted, less 1 (%)",
        )
        left.legend(frameon=False)
        add_caption(figure, " ".join(_numbers(statement)))
    return figure


def line_figure(statement: Statement, x_text: str, y_text: str, *, title: str = "") -> Figure:
    """Return y against the law's one feature, the fitted line with its 95 % band, the floor."""
    from matplotlib.figure import Figure

    fit, again = statement.fit, statement.again
    name = fit.law.features[0]
    x_N = fit.points.features[name]
    x_L = np.geomspace(x_N.min(), x_N.max(), 100)
    with styled():
        figure = Figure((0.6 * WIDTH_MM / INCH_MM, HEIGHT_MM / INCH_MM), layout="constrained")
        axes = figure.subplots()
        kept_N = ~fit.outlier_N
        row = "trial" if fit.points.members is None else "mean of trials"
        axes.plot(x_N[kept_N], fit.points.y_N[kept_N], ".", ms=3.5, color=BLUE, label=row)
        if fit.outlier_N.any():
            axes.plot(
                x_N[fit.outlier_N],
                fit.points.y_N[fit.outlier_N],
                "x",
                ms=4,
                color=VERMILION,
                label="far out",
            )
        axes.plot(x_L, fit.predict(**{name: x_L}), color="#222222", linewidth=1, label="fit")
        if again is not None:
            lines_RL = np.array(
                [
                    fit.law.predict(dict(zip(again.names, values, strict=True)), **{name: x_L})
                    for values in again.values_RP
                ]
            )
            low_L, high_L = np.nanquantile(lines_RL, [0.025, 0.975], axis=0)
            axes.fill_between(x_L, low_L, high_L, color="#222222", alpha=0.15, linewidth=0)
        floor = fit.law.floor
        if floor is not None and fit.values[floor] > 0.1 * fit.points.y_N.min():
            axes.axhline(fit.values[floor], color="#555555", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", xlabel=x_text, ylabel=y_text)
        sizes = np.unique(x_N)
        if len(sizes) <= MOST_TICKS:
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axes.set_xticks([], minor=True)
        plain_ticks(axes.yaxis, fit.points.y_N.min(), fit.points.y_N.max())
        axes.legend(frameon=False)
        if title:
            axes.set_title(title)
        add_caption(figure, " ".join(_numbers(statement)))
    return figure


def _numbers(statement: Statement) -> list[str]:
    fit, again = statement.fit, statement.again
    values = []
    for name, value in fit.values.items():
        low, high = (np.nan, np.nan) if again is None else again.interval(name)
        sure = f" ({low:.3g} to {high:.3g})" if np.isfinite(high) else ""
        values.append(f"{name} {value:.4g}{sure}")
    found = [f"{fit.law.formula}; {len(fit.points)} rows.", f"{', '.join(values)}."]
    if again is not None:
        found.append(f"95 % by {len(again.values_RP)} resamples of runs.")
    if "N" in fit.law.features:
        found.append(f"{fit.points.convention}.")
    return found
