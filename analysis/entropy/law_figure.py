"""The figure of the entropy law: reward against entropy, and the constants of every line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from phasecube.analysis.entropy.law import Verdict
from phasecube.analysis.lines.line_figures import COLOURS, line_colours
from phasecube.analysis.print_style import add_caption, styled

if TYPE_CHECKING:
    from phasecube.analysis.entropy.law_plot import FittedLine

NAME_LETTERS, LABEL_LETTERS = 28, 40
GREY = "#999999"
CONSTANTS = (("a", "a"), ("b", "b"), ("ceiling", "b − a"))


def law_figure(
    lines: Sequence[FittedLine], x_label: str, y_label: str, caption: str, *, title: str = ""
) -> Figure:
    """Return the curves with their laws, beside them a, b and b - a with intervals.

    The rows of the constants are the legend: filled where the law holds, open where it does
    not; a line of which that cannot be told says why in its row. Of more lines than colours
    those nearest to the median of all are grey.
    """
    colours = _colours(lines)
    with styled():
        height = max(2.7, 1.0 + 0.21 * len(lines))
        figure = Figure(figsize=(6.9, height), layout="constrained")
        grid = figure.add_gridspec(1, 4, width_ratios=(3.0, 1, 1, 1))
        axes = figure.add_subplot(grid[0])
        pairs = list(zip(lines, colours, strict=True))
        for line, colour in sorted(pairs, key=lambda pair: pair[1] != GREY):  # grey lies below
            _curves(axes, line, colour)
        axes.set_xlabel(textwrap.fill(x_label, LABEL_LETTERS))
        axes.set_ylabel(textwrap.fill(y_label, LABEL_LETTERS))
        axes.set_title(title)
        _frame(axes, lines)
        first: Any = None
        for column, (name, words) in enumerate(CONSTANTS, 1):
            beside = figure.add_subplot(grid[column], sharey=first)
            _constants(beside, lines, colours, name)
            beside.set_xlabel(words)
            if first is None:
                first = beside
                names = [textwrap.fill(line.name, NAME_LETTERS) for line in lines]
                beside.set_yticks(range(len(lines)), names)
                for tick, colour in zip(beside.get_yticklabels(), colours, strict=True):
                    tick.set_color(colour)
            else:
                beside.tick_params(labelleft=False)
        first.set_ylim(len(lines) - 0.5, -0.5)
        add_caption(figure, caption)
    return figure


def _colours(lines: Sequence[FittedLine]) -> list[Any]:
    """Return a colour a line; of many, one for each of those farthest from the others."""
    if len(lines) <= len(COLOURS):
        return line_colours(len(lines))
    constants = np.array([[line.law.a.value, line.law.b.value] for line in lines])
    known = np.array([line.law.verdict != Verdict.UNDECIDED for line in lines])
    if not known.any():
        return [GREY] * len(lines)
    middle = np.median(constants[known], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = np.where(known, np.abs(constants / middle - 1).sum(1), -1.0)
    found: list[Any] = [GREY] * len(lines)
    for place, colour in zip(np.argsort(-far, kind="stable"), COLOURS, strict=False):
        found[place] = colour if far[place] >= 0 else GREY
    return found


def _curves(axes: Any, line: FittedLine, colour: Any) -> None:
    entropy_NS, reward_NS = _values(line)
    for h_S, r_S in zip(entropy_NS, reward_NS, strict=True):
        axes.plot(h_S, r_S, "-", color=colour, lw=0.6, alpha=0.6, zorder=2)
    axes.plot(entropy_NS.ravel(), reward_NS.ravel(), ".", color=colour, ms=1.4, alpha=0.6, mew=0)
    if line.law.verdict != Verdict.UNDECIDED:
        known = entropy_NS[np.isfinite(entropy_NS)]
        at = np.linspace(0.0, known.max(), 100)
        axes.plot(at, line.law.reward_at(at), "--", color=colour, lw=1.1, zorder=3)


def _values(line: FittedLine) -> tuple[np.ndarray, np.ndarray]:
    since_S = line.curves.step_S >= line.from_step
    reward, entropy = (values_NS[:, since_S] for values_NS in line.curves.values.values())
    return entropy, reward


def _frame(axes: Any, lines: Sequence[FittedLine]) -> None:
    """Make room for what was recorded; a law may leave it."""
    rewards = [v[np.isfinite(v)] for v in (_values(line)[1] for line in lines)]
    known = np.concatenate([*rewards, np.zeros(0)])
    if known.size:
        margin = 0.05 * (np.ptp(known) or 1.0)
        axes.set_ylim(known.min() - margin, known.max() + margin)
    entropies = [v[np.isfinite(v)] for v in (_values(line)[0] for line in lines)]
    spent = np.concatenate([*entropies, np.zeros(0)])
    if spent.size and 2 * spent.min() > spent.max() > spent.min():  # far from H = 0
        axes.set_xlim(left=spent.min() - 0.05 * np.ptp(spent))
    else:
        axes.set_xlim(left=0.0)
    axes.spines[["top", "right"]].set_visible(False)


def _constants(axes: Any, lines: Sequence[FittedLine], colours: Sequence[Any], name: str) -> None:
    for row, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        law = line.law
        found = getattr(law, name)
        if law.verdict == Verdict.UNDECIDED:
            if name == "b":
                text = textwrap.fill(law.reason, 24)
                axes.annotate(text, (0.5, row), xycoords=("axes fraction", "data"), ha="center",
                              va="center", fontsize=6, color="#555555")  # fmt: skip
            continue
        if np.isfinite(found.low):
            axes.plot([found.low, found.high], [row, row], "-", color=colour, lw=1.0)
        filled = colour if law.verdict == Verdict.HOLDS else "#FFFFFF"
        axes.plot([found.value], [row], "o", color=colour, mfc=filled, ms=4, mew=0.9)
        if name == "ceiling":
            axes.plot([law.last_reward], [row], "x", color="#555555", ms=3.5, mew=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", lw=0.3, color="#DDDDDD")
    axes.locator_params(axis="x", nbins=3)
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    if len(ticks) > 2:  # there is no room for three decimals three times
        axes.set_xticks([ticks[0], ticks[-1]])
        axes.set_xlim(low, high)
    axes.set_axisbelow(True)
