"""What is said below a searched boundary: how many points, how wide a band, where nobody looked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phasecube.analysis.boundary.refined import (
    Crossings,
    Pieces,
    TriedPoints,
    Verdict,
    largest_gap,
    transition_width,
    values_of,
)
from phasecube.analysis.labels import format_value
from phasecube.sweeps.adaptive_sections import QuestionSection
from phasecube.sweeps.axis import SearchedAxis
from phasecube.sweeps.boundary_model import BoundaryModel


def in_question(question: QuestionSection) -> str:
    """Return a question in words that follow "trials that" without "that"."""
    if question.outcome is not None:
        return str(question.outcome)
    side = "above" if question.above is not None else "below"
    level = question.above if question.above is not None else question.below
    until = "at the end" if question.by_step is None else f"by step {question.by_step}"
    return f"{question.measure} {side} {level:g} {until}"


def caption_of(
    tried: TriedPoints,
    model: BoundaryModel | None,
    along: SearchedAxis,
    found: Crossings,
    verdict: Verdict,
    pieces: Sequence[Pieces],
    against: int,
    question: QuestionSection,
) -> str:
    """Return what was tried and found, how surely, and how much was not looked at."""
    n, unknown = len(tried.shares_ND), int((~tried.has_answer).sum())
    said = [f"{n:,} points were tried; filled: {in_question(question)}, open: not."]
    if unknown:
        said.append(f"Crosses: {unknown:,} without an answer.")
    if verdict is Verdict.NO_BOUNDARY:
        return " ".join([*said, "All answers are alike: no boundary was found."])
    if verdict is Verdict.NOT_SMOOTH:
        counts = ", ".join(str(each.n_pieces) for each in pieces)
        points = ", ".join(str(each.n_points) for each in pieces)
        said.append(
            f"No smooth boundary at these scales, and no line is drawn: {against:,} answers lie on "
            "the wrong side of any that suits the others, and points that agree fall into "
            f"{counts} pieces at {points} points."
        )
        if (tried.n_yes_N + tried.n_no_N).max() < 2:
            said.append("Chance looks the same: several seeds would tell.")
    elif len(tried.axes) == 1:
        ends = [
            f"{format_value(float(values_of(along, low)))} to "
            f"{format_value(float(values_of(along, high)))}"
            for low, high in zip(found.low_C, found.high_C, strict=True)
        ]
        said.append(f"The answer changes between neighbours: {'; '.join(ends)}.")
    else:
        said.append(_of_the_line(found, along))
    if model is not None and (split := int(tried.disagrees.sum())):
        place = tried.axes.index(along)
        width = 100 * transition_width(model, tried, place)
        said.append(
            f"Seeds disagree at {split:,} points, nine of ten of them within {width:.2g} % of the "
            f"axis {along.name} from the boundary."
        )
    gap = 100 * largest_gap(tried)
    looked = f"No place is farther than {gap:.2g} % of the axes from an answer."
    return " ".join([*said, looked])


def _of_the_line(found: Crossings, along: SearchedAxis) -> str:
    bounded = found.is_bounded
    widths = 100 * (found.high_C - found.low_C)[bounded]
    text = (
        "Line: the boundary; band: 95 % of a Gaussian process of the answers, and at least the "
        "nearest answers on both sides; hatched: where no answer tells."
    )
    if len(widths):
        text += (
            f" The band is {np.median(widths):.2g} % of the axis {along.name} wide in the middle, "
            f"{widths.max():.2g} % at most."
        )
    if not bounded.all():
        text += f" At {(~bounded).sum():,} of {len(bounded):,} crossings it has no end yet."
    return text
