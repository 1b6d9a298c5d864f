"""A plan in words: what `phasecube plan` prints."""

from __future__ import annotations

import textwrap

import numpy as np

from phasecube.sweeps.adaptive_sections import PrunerSection, SamplerSection
from phasecube.sweeps.axis import Dim, SearchedAxis
from phasecube.sweeps.difference import Difference
from phasecube.sweeps.digest import canonical
from phasecube.sweeps.forecast import Forecast
from phasecube.sweeps.plan import Plan
from phasecube.sweeps.points import POINT
from phasecube.sweeps.pruner_points import members_of
from phasecube.sweeps.pruner_rungs import least_replicates, rungs_of
from phasecube.sweeps.sweep import Sweep


def describe(plan: Plan, forecast: Forecast, difference: Difference | None = None) -> list[str]:
    """Return the lines that describe a plan, its cost, and what it changes in a study."""
    sweep = plan.sweep
    lines = [f"{sweep.name}: {sweep.title or sweep.question or plan.experiment}", ""]
    width = max((len(d.name) for d in plan.dims), default=0)
    for d in plan.dims:
        values = _values(d) if d.name != POINT else ", ".join(map(_between, sweep.searched))
        lines.append(f"  {d.name:<{width}}  {len(d):>6,} x  {values}")
    if sweep.sampler is not None:
        lines += [*_search(sweep, sweep.sampler)]
    n_cells = int(np.prod([len(d) for d in plan.dims], dtype=np.int64))
    outside = n_cells - len(plan)
    excluded = f", {count(outside, 'cell')} outside where / when" if outside else ""
    shared = len(plan) - plan.n_trials
    twice = f", {shared:,} places name a trial named before" if shared else ""
    n_groups = int(plan.group.max()) + 1
    steps, names = plan.rule.steps, [*plan.rule.scalars, *plan.rule.vectors]
    lines += [
        "",
        f"trials     {plan.n_trials:,}{excluded}{twice}",
        f"packs      {len(plan.packs()):,} of up to {plan.pack_size}, {count(n_groups, 'shape')}",
        f"steps      {forecast.trial_steps:,} trial-steps",
        f"record     {len(names)} measures at {len(steps)} steps, {steps[0]} to {steps[-1]}:",
        *textwrap.wrap(", ".join(names), 78, initial_indent=" " * 11, subsequent_indent=" " * 11),
        *(_pruner(plan, sweep.pruner) if sweep.pruner is not None else ()),
        f"disk       {_bytes(forecast.bytes_store + forecast.bytes_cube)} before compression, "
        f"records and cube; about {forecast.n_files:,} files",
    ]
    if forecast.seconds is None:
        lines.append("time       not measured; --probe times a few steps")
    else:
        lines.append(f"time       about {_duration(forecast.seconds)} of one core (probe)")
    if sweep.warnings:
        lines += ["", *(f"warning: {warning}" for warning in sweep.warnings)]
    if difference is not None:
        lines += ["", *_against(difference)]
    return lines


def _between(axis: SearchedAxis) -> str:
    unit = f" {axis.unit}" if axis.unit else ""
    where = f" (where {axis.condition})" if axis.condition else ""
    if axis.choices:
        return f"{axis.name} of {', '.join(map(str, axis.choices))}{unit}{where}"
    log = ", log" if axis.scale == "log" else ""
    return f"{axis.name} from {axis.low:g} to {axis.high:g}{unit}{log}{where}"


def _search(sweep: Sweep, sampler: SamplerSection) -> list[str]:
    goals = [f"{o.goal} {o.measure}" for o in sampler.objectives]
    sought = f" to {' and '.join(goals)}" if goals else ""
    chosen = len(sweep.points)
    of = f"{chosen:,} chosen so far" if chosen else "to be chosen"
    return ["", f"search     {sampler.points:,} points by {sampler.kind}{sought}; {of}"]


def _pruner(plan: Plan, pruner: PrunerSection) -> list[str]:
    rungs = rungs_of(pruner.rungs, int(plan.rule.steps[-1])).tolist()
    least = least_replicates(pruner, members_of(plan).n_seeds)
    shown = ", ".join(f"{step:,}" for step in rungs[:6]) + (", ..." if len(rungs) > 6 else "")
    on = f", each point on {least} or more seeds" if least > 1 else ""
    return [
        f"pruner     {pruner.kind}, {pruner.goal} {pruner.measure}, at "
        f"{count(len(rungs), 'rung')}: {shown}{on}"
    ]


def _against(difference: Difference) -> list[str]:
    lines = [
        "against the study",
        f"  new          {difference.n_new:,} trials to run",
        f"  kept         {difference.n_kept:,} trials, not run again",
        f"  orphaned     {difference.n_orphaned:,} trials the sweep no longer names; kept on disk",
    ]
    if difference.n_invalidated:
        lines.append(
            f"  invalidated  {difference.n_invalidated:,} of the orphaned: the same place now "
            "names another trial, because"
        )
        lines += [
            f"    {name}: {canonical(before)} -> {canonical(now)}"
            for name, before, now in difference.changes
        ]
    return lines


def _values(dim: Dim) -> str:
    parts = []
    for axis in dim.axes:
        values = [f"{v:g}" if isinstance(v, float) else str(v) for v in axis.values]
        if len(values) > 8:
            values = [*values[:3], "...", values[-1]]
        unit = f" {axis.unit}" if axis.unit else ""
        name = f"{axis.name}: " if len(dim.axes) > 1 else ""
        parts.append(f"{name}{', '.join(values)}{unit}")
    conditions = " or ".join(subspace.condition for subspace in dim.subspaces)
    return "; ".join(parts) + (f"  (where {conditions})" if conditions else "")


def count(n: int, noun: str) -> str:
    """Return the number and the noun, in the plural but for one."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
