"""The compute-optimal size drawn: the envelope, the parabolas, and all approaches side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasecube.analysis.print_style import INCH_MM, add_caption, plain_ticks, styled
from phasecube.analysis.scaling.compute_optimal import ComputeOptimal
from phasecube.analysis.scaling.law import Floats
from phasecube.analysis.scaling.optimum import Optimum

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_MM, HEIGHT_MM = 170, 70
INK, GREY, VERMILION = "#222222", "#777777", "#D55E00"
# Okabe & Ito; dashes tell them apart in grey.
LOOKS = {
    "envelope": ("#0072B2", "-", "o"),
    "isoflop": ("#D55E00", "--", "s"),
    "surface": ("#009E73", ":", "^"),
}
NAMES = {
    "envelope": "envelope of curves",
    "isoflop": "isoFLOP parabolas",
    "surface": "fitted surface",
}
COMPUTE, SIZE = "compute C (FLOP)", "parameters N"


def envelope_figure(optimal: ComputeOptimal, optimum: Optimum, y_text: str) -> Figure:
    """Return the curves with their envelope, and the size that is best at each budget."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure((WIDTH_MM / INCH_MM, HEIGHT_MM / INCH_MM), layout="constrained")
        left, right = figure.subplots(1, 2)
        shade = _shades([size for size, _, _ in optimal.curves])
        for size, flop_R, y_R in optimal.curves:
            left.plot(flop_R, y_R, color=shade.to_rgba(size), linewidth=0.7)
        table = optimum.table
        left.plot(table["flop"], table["loss"], ".", ms=2.5, color=INK, label="lowest")
        left.set(xscale="log", yscale="log", xlabel=COMPUTE, ylabel=y_text)
        low, high = left.get_ylim()
        plain_ticks(left.yaxis, low, high)
        left.legend(frameon=False)
        figure.colorbar(shade, ax=left, label=SIZE, pad=0.02)
        right.plot(table["flop"], table["size"], ".", ms=3, color=INK, label="best size")
        _line(right, optimum)
        right.legend(frameon=False)
        add_caption(figure, _said(optimum))
    return figure


def isoflop_figure(optimal: ComputeOptimal, optimum: Optimum, y_text: str) -> Figure:
    """Return y against N at each budget with its parabola, and the minima with intervals."""
    from matplotlib.figure import Figure

    rows = optimal.profile_rows
    with styled():
        figure = Figure((WIDTH_MM / INCH_MM, HEIGHT_MM / INCH_MM), layout="constrained")
        left, right = figure.subplots(1, 2)
        shade = _shades([profile.flop for profile in optimal.profiles])
        for profile in optimal.profiles:
            if rows is None:
                continue
            size_n, y_n = rows.features["N"][profile.rows_n], rows.y_N[profile.rows_n]
            color = shade.to_rgba(profile.flop)
            left.plot(size_n, y_n, ".", ms=3, color=color)
            size_L = np.geomspace(size_n.min(), size_n.max(), 60)
            left.plot(size_L, profile.at(size_L), color=color, linewidth=0.8)
            left.plot(
                profile.size, profile.loss, "D", ms=3.5, color=VERMILION, mec="white", mew=0.4
            )
        left.plot([], [], "D", ms=3.5, color=VERMILION, label="minimum")
        left.set(xscale="log", xlabel=SIZE, ylabel=y_text)
        left.legend(frameon=False)
        figure.colorbar(shade, ax=left, label=COMPUTE, pad=0.02)
        _minima(right, optimum)
        _line(right, optimum)
        right.legend(frameon=False)
        add_caption(figure, _said(optimum))
    return figure


def comparison_figure(optimal: ComputeOptimal) -> Figure:
    """Return the lines of all approaches with their bands, and their exponents with intervals."""
    from matplotlib.figure import Figure

    flops = np.concatenate([o.table["flop"].to_numpy() for o in optimal.optima])
    if optimal.profile_rows is not None:
        flops = np.append(flops, optimal.profile_rows.features["C"])
    ends = np.array([flops.min(), flops.max()])
    if ends[1] < 3 * ends[0]:  # the surface alone has one place
        ends = ends * [0.1, 10]
    with styled():
        figure = Figure((WIDTH_MM / INCH_MM, HEIGHT_MM / INCH_MM), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
        flop_L = np.geomspace(float(ends[0]), float(ends[1]), 50)
        for place, o in enumerate(optimal.optima):
            color, dashes, mark = LOOKS[o.approach]
            left.plot(
                flop_L, _sizes(o, flop_L), linestyle=dashes, color=color, label=NAMES[o.approach]
            )
            _band(left, o, flop_L, color)
            right.plot(o.exponent, -place, mark, ms=4, color=color)
            if np.isfinite([o.low, o.high]).all():
                # Of few resamples the exponent itself may lie outside.
                right.plot([o.low, o.high], [-place, -place], "|-", color=color, linewidth=0.9)
        left.set(xscale="log", yscale="log", xlabel=COMPUTE, ylabel="best parameters N*")
        left.legend(frameon=False)
        right.set(xlabel="exponent a of N* ~ C^a, 95 % interval")
        right.set_yticks(
            [-i for i in range(len(optimal.optima))],
            [NAMES[o.approach].replace(" ", "\n", 1) for o in optimal.optima],
        )
        right.set_ylim(0.6 - len(optimal.optima), 0.4)
        right.grid(axis="x", linewidth=0.3, color="#cccccc")
        add_caption(figure, " ".join(_said(o) for o in optimal.optima))
    return figure


def _shades(values: list[float]) -> Any:
    # Cividis is read alike by all eyes and in grey; its palest end is hard to see on white.
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    colours = mpl.colormaps["cividis"](np.linspace(0, 0.88, 256))
    return ScalarMappable(LogNorm(min(values), max(values)), ListedColormap(colours))


def _minima(axes: Any, optimum: Optimum) -> None:
    table = optimum.table
    error = np.array([table["size"] - table["size_low"], table["size_high"] - table["size"]])
    axes.errorbar(
        table["flop"], table["size"], yerr=np.maximum(error, 0), fmt="D", ms=3, color=VERMILION,
        capsize=2, linewidth=0.8, label="minimum, 95 %",
    )  # fmt: skip


def _line(axes: Any, optimum: Optimum) -> None:
    flop_L = np.geomspace(optimum.table["flop"].min(), optimum.table["flop"].max(), 50)
    text = f"N* ~ C^{optimum.exponent:.3f}"
    axes.plot(flop_L, _sizes(optimum, flop_L), color=INK, linewidth=1, label=text)
    _band(axes, optimum, flop_L, INK)
    axes.set(xscale="log", yscale="log", xlabel=COMPUTE, ylabel="best parameters N*")


def _band(axes: Any, optimum: Optimum, flop_L: Floats, color: str) -> None:
    if len(optimum.lines_R2):
        low_L, high_L = np.array([optimum.size_interval(flop) for flop in flop_L]).T
        axes.fill_between(flop_L, low_L, high_L, color=color, alpha=0.15, linewidth=0)


def _sizes(optimum: Optimum, flop_L: Floats) -> Floats:
    return np.array([optimum.size(flop) for flop in flop_L])


def _said(optimum: Optimum) -> str:
    sure = f" (95 % {optimum.low:.3f} to {optimum.high:.3f})" if np.isfinite(optimum.high) else ""
    name = NAMES[optimum.approach]
    return f"{name[0].upper()}{name[1:]}: N* ~ C^{optimum.exponent:.4f}{sure}."
