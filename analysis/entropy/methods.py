"""The analysis `entropy_methods`: each method against one other, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.entropy.collapse import (
    FLOOR,
    EntropyRule,
    collapse_time,
    entropy_at_reward,
    since,
    unstable,
)
from phasecube.analysis.entropy.curves import Numbers, lost_words, numbers_of
from phasecube.analysis.entropy.pairs import Difference, mean_difference, time_difference
from phasecube.analysis.estimates.intervals import bootstrap, survival_median
from phasecube.analysis.labels import format_value, in_words, name_and_unit
from phasecube.analysis.lines.arranged import MAX_PLOTS
from phasecube.analysis.maps.phase_diagram import place_on
from phasecube.analysis.order_parameters import final_value, initial_value
from phasecube.analysis.plots import Plot
from phasecube.engine.errors import StudyError

QUANTITIES = ("t_collapse", "entropy_at_reward", "final_reward")


@dataclass(frozen=True)
class Options:
    """What is drawn; docs/analysis.md says what each option means."""

    by: str = "algorithm"
    against: Any = "grpo"
    title: str = ""
    over: tuple[str, ...] = ("seed",)
    select: Mapping[str, Any] = field(default_factory=dict)
    reward: str = "reward"
    entropy: str = "entropy"
    learnt: float = 0.9
    collapse: float = 0.1
    from_step: int = 0


@dataclass(frozen=True)
class Method:
    """One method: its trials, its own numbers, its differences to the method it is held against.

    `n_unstable` of its trials are no result of the method; where they are more than half, it
    has no differences and nothing of it is drawn.
    """

    name: str
    numbers: Numbers
    own: Mapping[str, tuple[float, float, float]]
    differences: Mapping[str, Difference]
    n_trials: int
    n_unstable: int

    @property
    def is_unstable(self) -> bool:
        """Return whether most of its trials are unstable."""
        return 2 * self.n_unstable > self.n_trials


def draw(ds: xr.Dataset, options: Options) -> tuple[Plot, ...]:
    """Return one plot for each place on the axes that no option names, at most MAX_PLOTS.

    Raises StudyError where `against` is no value of `by`.
    """
    ds = since(ds, options.from_step)
    dim, at = place_on(ds, options.by, options.against)
    rule = EntropyRule(
        options.reward, options.entropy, collapse=options.collapse, learnt=options.learnt
    )
    came = collapse_time(ds, options.entropy, share=options.collapse)
    arrays = {
        "time": came.times(),
        "observed": came.observed,
        "entropy_at_reward": entropy_at_reward(
            ds, options.reward, options.entropy, learnt=options.learnt
        ),
        "final_reward": final_value(ds, options.reward),
        "unstable": unstable(ds, rule),
        "deterministic": initial_value(ds, options.entropy) < FLOOR,
        "algorithm": xr.ones_like(ds.outcome, dtype=np.int64)
        * xr.DataArray(np.arange(ds.sizes[dim]), dims=dim),
    }
    cut: dict[str, Any] = {"by": options.by, "over": options.over, "select": options.select}
    found = []
    for place, (fixed, lines) in enumerate(islice(numbers_of(ds, arrays, **cut), MAX_PLOTS)):
        first = next((line for line in lines if (line.values["algorithm"] == at).any()), None)
        if first is None:
            raise StudyError(f"{options.by} = {options.against!r} has no trial, {in_words(fixed)}")
        methods = [_method(line, first) for line in lines]
        found.append(_plot(place, fixed, methods, first, options, ds))
    return tuple(found)


def _method(line: Numbers, first: Numbers) -> Method:
    lost_N = line.values["unstable"].astype(bool) & np.isfinite(line.values["final_reward"])
    planned_N = np.isfinite(line.values["final_reward"])
    sound = [_sound(numbers) for numbers in (line, first)]
    own: dict[str, tuple[float, float, float]] = {}
    differences: dict[str, Difference] = {}
    time = survival_median(sound[0]["time"], sound[0]["observed"].astype(bool))
    own["t_collapse"] = (float(time.value), float(time.low), float(time.high))
    differences["t_collapse"] = time_difference(
        *(v for numbers in sound for v in (numbers["time"], numbers["observed"]))
    )
    for name in QUANTITIES[1:]:
        mean = bootstrap(sound[0][name], "mean")
        own[name] = (float(mean.value), float(mean.low), float(mean.high))
        differences[name] = mean_difference(sound[0][name], sound[1][name])
    return Method(line.name, line, own, differences, int(planned_N.sum()), int(lost_N.sum()))


def _sound(numbers: Numbers) -> dict[str, np.ndarray]:
    """Return the numbers with NaN for the trials that are unstable."""
    lost_N = numbers.values["unstable"].astype(bool)
    kept = {name: numbers.values[name].astype(np.float64) for name in ("time", *QUANTITIES[1:])}
    found = {name: np.where(lost_N, np.nan, values) for name, values in kept.items()}
    return found | {"observed": numbers.values["observed"]}


def _plot(
    place: int,
    fixed: Mapping[str, Any],
    methods: Sequence[Method],
    first: Numbers,
    options: Options,
    ds: xr.Dataset,
) -> Plot:
    from phasecube.analysis.entropy.methods_figure import methods_figure

    against = next(m for m in methods if m.numbers is first)
    title = in_words(fixed)
    table = pd.DataFrame([_row(m, against) for m in methods])
    caption = " ".join(_caption(methods, against, options))
    words, _, unit = name_and_unit(ds[options.entropy]).partition(" / ")
    unit = f" / {unit}" if unit else ""
    caption += f" H: {words}; R: {name_and_unit(ds[options.reward])}."
    if options.from_step:
        caption += f" Records before step {options.from_step} are left out."
    names = {
        "t_collapse": f"first step with H ≤ {options.collapse:g} H(0)",
        "entropy_at_reward": f"H at the first R ≥ {options.learnt:g}{unit}",
        "final_reward": "R at the end",
    }

    def figure() -> Any:
        return methods_figure(methods, against, names, caption, title=title)

    heading = options.title or f"{options.by} against {against.name}, seed by seed"
    heading += f", {title}" if title else ""
    return Plot(f"entropy_methods_{place}", heading, caption, table, figure)


def _row(method: Method, against: Method) -> dict[str, Any]:
    row: dict[str, Any] = dict(method.numbers.places)
    for name in QUANTITIES:
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), method.own[name], strict=True))
        if method is against or method.is_unstable:
            found = Difference(np.nan, np.nan, np.nan, 0, 0, 0)
        else:
            found = method.differences[name]
        row |= {f"{name}_difference": found.value, f"{name}_difference_low": found.low}
        row |= {f"{name}_difference_high": found.high, f"{name}_pairs": found.n_pairs}
        if name == "t_collapse":
            row |= {"t_collapse_bounds": found.n_bounds, "t_collapse_left_out": found.n_left_out}
    row |= {"n_trials": method.n_trials, "n_unstable": method.n_unstable}
    return row | {"warnings": "; ".join(_warnings(method))}


def _warnings(method: Method) -> list[str]:
    begun = method.numbers.values["deterministic"].astype(bool)
    found = [f"{method.n_unstable} of {method.n_trials} unstable"] if method.n_unstable else []
    if begun.any():
        found.append(f"deterministic start: {int(begun.sum())} without a collapse time")
    if method.n_trials == 1:
        found.append("one trial: no interval")
    return found + lost_words(method.numbers.outcome_N)


def _caption(methods: Sequence[Method], against: Method, options: Options) -> list[str]:
    n = max((m.n_trials for m in methods), default=0)
    own = {name: format_value(against.own[name][0], 3) for name in QUANTITIES}
    time = against.own["t_collapse"][0]
    came = f"collapse at step {own['t_collapse']}" if np.isfinite(time) else "no collapse"
    said = [
        f"Differences to {against.name} on the same {n} seeds, 95 %: mean with a bootstrap of "
        "pairs (entropy, reward), Kaplan–Meier median of the pairs' differences (time). "
        f"{against.name} itself: {came}, H {own['entropy_at_reward']}, R {own['final_reward']}. "
        "Open: 0 lies in the interval. An arrow: most pairs only bound the time, as one of them "
        "had not collapsed by the end; pairs in which neither had are left out."
    ]
    told = [
        f"{m.name}: {m.differences['t_collapse'].n_left_out}"
        for m in methods
        if m is not against and not m.is_unstable and m.differences["t_collapse"].n_left_out
    ]
    if told:
        said.append(f"Pairs left out of the time: {', '.join(told)}.")
    never = [
        f"{m.name} ({int(np.isfinite(m.numbers.values['entropy_at_reward']).sum())} of "
        f"{m.n_trials})"
        for m in methods
        if np.isfinite(m.numbers.values["entropy_at_reward"]).sum() < m.n_trials
    ]
    if never:
        said.append(f"R ≥ {options.learnt:g} was not reached by all trials: {', '.join(never)}.")
    lost = [m.name for m in methods if m.is_unstable]
    if lost:
        said.append(
            f"Unstable, which is no result of the method, and not drawn: {', '.join(lost)}."
        )
    warned = [f"{m.name}: {', '.join(w)}" for m in methods if (w := _warnings(m))]
    if warned:
        said.append(f"Warnings: {'; '.join(warned)}.")
    return said
