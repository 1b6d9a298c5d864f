"""The analysis `entropy_law`: reward against entropy, the law R = b - a e^H of each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.entropy.agnostic import Spread, spread
from phasecube.analysis.entropy.collapse import collapse_time, drop_spent, since
from phasecube.analysis.entropy.curves import Curves, Numbers, curves_of, lost_words, numbers_of
from phasecube.analysis.entropy.law import Law, LawRule, Verdict, fit_law
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.analysis.estimates.intervals import survival_median
from phasecube.analysis.labels import format_value, in_words, name_and_unit
from phasecube.analysis.lines.arranged import MAX_PLOTS
from phasecube.analysis.plots import Plot

COLOURED = 7  # lines that have colours of their own; `line_figures.COLOURS`
WORDS = {Verdict.HOLDS: "holds", Verdict.FAILS: "does not hold", Verdict.UNDECIDED: "undecided"}


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    by: str | None = None
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    reward: str = "reward"
    entropy: str = "entropy"
    early: float = 0.3
    collapse: float = 0.1
    from_step: int = 0
    actions: int | None = None

    @property
    def rule(self) -> LawRule:
        """Return what is fitted and when the law holds."""
        return LawRule(early=self.early, from_step=self.from_step, actions=self.actions)


@dataclass(frozen=True)
class FittedLine:
    """The trials of one line, the law through those that ended, when entropy collapsed."""

    curves: Curves
    law: Law
    numbers: Numbers
    from_step: int = 0  # what is recorded before is not drawn

    @property
    def name(self) -> str:
        """Return what the line is called in words."""
        return self.curves.name


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS."""
    cut: dict[str, Any] = {"by": options.by, "over": options.over, "select": options.select}
    curves = curves_of(ds, [options.reward, options.entropy], **cut)
    begun = since(ds, options.from_step)
    came = collapse_time(begun, options.entropy, share=options.collapse)
    numbers = numbers_of(
        ds,
        {
            "time": came.times(),
            "observed": came.observed,
            "censored": came.censored & came.after.notnull(),
            "spent": drop_spent(begun, options.entropy),
        },
        **cut,
    )
    found = []
    for place, ((fixed, lines), (_, own)) in enumerate(islice(zip(curves, numbers), MAX_PLOTS)):
        fitted = [_fitted(line, n, options) for line, n in zip(lines, own, strict=True)]
        found.append(_plot(place, fixed, fitted, options, ds))
    return tuple(found)


def _fitted(curves: Curves, numbers: Numbers, options: Options) -> FittedLine:
    # A trial that did not end in good order keeps its place, so that seeds stay paired.
    ended_N1 = curves.ended()[:, None]
    reward, entropy = (
        np.where(ended_N1, curves.values[m], np.nan) for m in (options.reward, options.entropy)
    )
    law = fit_law(curves.step_S, reward, entropy, options.rule)
    return FittedLine(curves, law, numbers, options.from_step)


def agnosticism(lines: Sequence[FittedLine]) -> tuple[dict[str, Spread], list[str]]:
    """Return how a and b differ over the lines on which the law holds, and the other lines."""
    holds = [line for line in lines if line.law.verdict == Verdict.HOLDS]
    others = [line.name for line in lines if line.law.verdict != Verdict.HOLDS]
    n = max((len(line.law.a_N) for line in lines), default=0)
    constants = {}
    for name in ("a", "b"):
        rows = [getattr(line.law, f"{name}_N") for line in holds]
        constants[name] = spread(np.stack(rows) if rows else np.zeros((0, n)))
    return constants, others


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    lines: Sequence[FittedLine],
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.entropy.law_figure import law_figure

    title = in_words(fixed)
    table = pd.DataFrame([_row(line) for line in lines])
    caption = " ".join(_caption(lines, options))
    reward, entropy = (name_and_unit(ds[m]) for m in (options.reward, options.entropy))

    def figure() -> Any:
        return law_figure(lines, entropy, reward, caption, title=title)

    heading = options.title or "Reward against entropy"
    heading += f", {title}" if title else ""
    found = _found(lines)
    return Plot(f"entropy_law_{place}", heading, caption, table, figure, found=found, fixed=fixed)


def _found(lines: Sequence[FittedLine]) -> str:
    """Return on how many lines the law holds, and the range of its constants over those."""
    counts = {v: sum(line.law.verdict == v for line in lines) for v in Verdict}
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    said = ["the law " + ", ".join(f"{WORDS[v]} on {n}" for v, n in ordered if n)]
    said[0] += f" of {len(lines)} lines"
    holds = [line.law for line in lines if line.law.verdict == Verdict.HOLDS]
    for name, values in (
        ("a", [law.a.value for law in holds]),
        ("b", [law.b.value for law in holds]),
    ):
        if values:
            low, high = (format_value(float(v), 3) for v in (min(values), max(values)))
            said.append(f"{name} from {low} to {high} on those")
    return "; ".join(said)


def _row(line: FittedLine) -> dict[str, Any]:
    law, numbers = line.law, line.numbers.values
    row: dict[str, Any] = dict(line.curves.places)
    row |= {"verdict": WORDS[law.verdict], "reason": law.reason}
    for name in ("a", "b", "ceiling"):
        value: Estimated = getattr(law, name)
        row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    known = law.early_error_N[np.isfinite(law.early_error_N)]
    row |= {"r2": law.r2, "early_error": law.early_error}
    row |= {"early_error_max": known.max() if known.size else np.nan}
    time = survival_median(numbers["time"], numbers["observed"].astype(bool))
    row |= {"t_collapse": float(time.value), "t_collapse_low": float(time.low)}
    row |= {"t_collapse_high": float(time.high)}
    row |= {"n_collapsed": int(numbers["observed"].sum())}
    row |= {"n_censored": int(numbers["censored"].sum())}
    row |= {"drop_spent_by_twelfth": _median(numbers["spent"])}
    row |= {"first_entropy": law.first_entropy, "first_reward": law.first_reward}
    row |= {"effective_actions": float(np.exp(law.first_entropy))}
    row |= {"last_entropy": law.last_entropy, "last_reward": law.last_reward}
    row |= {"n_trials": law.n_trials, "n_points": law.n_points, "n_dropped": law.n_dropped}
    warnings = [*law.warnings, *lost_words(line.curves.outcome_N)]
    return row | {"warnings": "; ".join(warnings)}


def _median(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _caption(lines: Sequence[FittedLine], options: Options) -> list[str]:
    n = max((len(line.law.a_N) for line in lines), default=0)
    rule = options.rule
    said = [
        f"Thin: the {n} trials of a line; dashed: R = b − a exp(H) by least squares on points "
        f"equispaced in H, with 95 % intervals from resampled trials; b − a is the reward at "
        f"H = 0, crosses are the rewards reached."
        if n > 1
        else "Thin: the trial of a line; dashed: R = b − a exp(H) by least squares on points "
        "equispaced in H; b − a is the reward at H = 0, crosses are the rewards reached."
    ]
    if len(lines) > COLOURED:
        said.append("Grey: the lines with constants nearest to the median of all.")
    dropped = sum(line.law.n_dropped for line in lines)
    if dropped:
        before = f"before step {options.from_step} or " if options.from_step else ""
        said.append(f"{dropped} records {before}after H < {rule.floor:g} nat are left out.")
    said.append(f"{rule.sentence()}.")
    said += _verdicts(lines)
    holds = [line for line in lines if line.law.verdict == Verdict.HOLDS]
    above = max((_above_ceiling(line.law) for line in holds), default=0.0)
    if above > 0:
        said.append(f"Rewards reached lie up to {above:.2g} above the interval of b − a.")
    if len(lines) > 1:
        constants, others = agnosticism(lines)
        if not constants["a"].is_known:
            said.append("a and b are not compared: that needs two lines on which the law holds.")
        else:
            told = (f"{name}: {found.text()}." for name, found in constants.items())
            said.append(" ".join(told).replace("-", "−"))
            said += [f"Not compared: {', '.join(others)}."] if others else []
    return said


def _above_ceiling(law: Law) -> float:
    """Return by how much the last reward passes what the law leaves to gain."""
    high = law.ceiling.high if np.isfinite(law.ceiling.high) else law.ceiling.value
    return float(law.last_reward - high) if np.isfinite(high) else 0.0


def _verdicts(lines: Sequence[FittedLine]) -> list[str]:
    holds = [line.name for line in lines if line.law.verdict == Verdict.HOLDS]
    said = []
    if holds:
        all_of = len(holds) == len(lines) > 1
        said.append(f"It holds for {'every line' if all_of else ', '.join(holds)}.")
    for verdict, words in ((Verdict.FAILS, "does not hold"), (Verdict.UNDECIDED, "is undecided")):
        told = [f"{x.name} ({x.law.reason})" for x in lines if x.law.verdict == verdict]
        if told:
            said.append(f"It {words} for {'; '.join(told)}.")
    warned = [
        f"{line.name}: {', '.join(notes)}"
        for line in lines
        if (notes := [*line.law.warnings, *lost_words(line.curves.outcome_N)])
    ]
    if warned:
        said.append(f"Warnings: {'; '.join(warned)}.")
    return said
