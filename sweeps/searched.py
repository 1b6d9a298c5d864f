"""The searched axes of a file, `[sampler]` and `[pruner]` against its experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from phasecube.engine.errors import Fault
from phasecube.engine.experiment import Measure
from phasecube.sweeps.axis import AxisSection, SearchedAxis
from phasecube.sweeps.boundary_options import MOST_AXES, option_faults
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import scalar_faults
from phasecube.sweeps.meaning import Meaning
from phasecube.sweeps.points import POINT
from phasecube.sweeps.pruner_rungs import pruner_faults
from phasecube.sweeps.sections import SweepFile

# Samplers that search each parameter at every point, so not under a condition.
_WHOLE_SPACES = ("grid", "sobol", "gp", "cmaes", "boundary", "pbt")
_NUMBERS_ONLY = ("sobol", "cmaes", "boundary")


def searched_axes(meaning: Meaning, fixed: Mapping[str, Any]) -> tuple[SearchedAxis, ...]:
    """Return the axes that the sampler searches, values typed; faults are noted in `meaning`."""
    file = meaning.file
    found = [
        _axis(meaning, name, section, f"axes.{name}")
        for name, section in file.axes.items()
        if section.is_searched
    ]
    seen: set[str] = set()
    for place, when in enumerate(file.when):
        for name, section in when.axes.items():
            if not section.is_searched:
                continue
            path = f"when[{place}].axes.{name}"
            if name in seen:
                meaning.add(path, f"{name!r} is searched under another condition too; give it once")
            seen.add(name)
            rest = fixed.get(name)
            if rest is None and meaning.schema and name in meaning.schema:
                rest = meaning.schema[name].default
            if rest is None:
                meaning.add(path, f"has no value elsewhere; give one in [fixed], {name} = ...")
            found.append(_axis(meaning, name, section, path, when.if_, rest))
    return tuple(found)


def _axis(
    meaning: Meaning,
    name: str,
    section: AxisSection,
    path: str,
    condition: str | None = None,
    rest: Any = None,
) -> SearchedAxis:
    if name in meaning.taken or name == POINT:
        meaning.add(path, f"{name!r} is a name the cube keeps for itself; call the axis otherwise")
    else:
        meaning.known_name(name, path)
    param = (meaning.schema or {}).get(name)
    about = (section.unit, section.label, condition, rest)
    if section.choices is not None:
        values = [
            meaning.typed(name, f"{path}.choices[{i}]", v) for i, v in enumerate(section.choices)
        ]
        for i, value in enumerate(values):
            if value in values[:i]:
                meaning.add(f"{path}.choices[{i}]", f"{value!r} stands twice; name each once")
        return SearchedAxis(name, 0.0, 0.0, tuple(values), False, "list", *about)
    low, high = section.between or (0.0, 1.0)
    if name == "steps":
        meaning.add(path, "steps are searched among choices: a store's steps are fixed beforehand")
    is_integer = param is not None and param.field.annotation is int
    for place, value in enumerate((low, high)):
        meaning.typed(name, f"{path}.between[{place}]", value)
    scale = "log" if section.scale == "log" else "linear"
    return SearchedAxis(name, low, high, (), is_integer, scale, *about)


def search_faults(
    file: SweepFile,
    axes: tuple[SearchedAxis, ...],
    recorded: Mapping[str, Measure] | None,
    *,
    is_whole: bool,
) -> Iterator[Fault]:
    """Yield the faults of `[sampler]` and `[pruner]`; `recorded` None: it is not known.

    Unless `is_whole`, a part of the search could not be read: what is missing is no fault.
    """
    sampler = file.sampler
    if is_whole and sampler is not None:
        yield from _sampler(file, axes, recorded)
    elif is_whole:
        for axis in axes:
            path = f"axes.{axis.name}" if axis.condition is None else f"when.axes.{axis.name}"
            yield Fault(path, "is searched, and there is no [sampler]; add one, or give values")
    if file.pruner is not None:
        yield from pruner_faults(file.pruner, sampler, recorded)


def _sampler(
    file: SweepFile, axes: tuple[SearchedAxis, ...], recorded: Mapping[str, Measure] | None
) -> Iterator[Fault]:
    sampler = file.sampler
    assert sampler is not None
    kind = sampler.kind
    if not axes:
        yield Fault(
            "sampler",
            "has no axis to search; give one as { between = [low, high] } or { choices = [...] }",
        )
    if POINT in file.axes or POINT in file.zip:
        yield Fault(f"axes.{POINT}", f"{POINT!r} is the dimension of a sampler; call it otherwise")
    for axis in axes:
        if axis.condition is not None and kind in _WHOLE_SPACES:
            yield Fault(
                "sampler.kind",
                f"{kind} searches all parameters at every point, and {axis.name!r} exists only "
                f"where {axis.condition}; use tpe, random or nsga2",
            )
        yield from _condition(file, axis)
        if axis.choices and kind in _NUMBERS_ONLY:
            yield Fault(
                "sampler.kind", f"{kind} searches numbers, and {axis.name!r} has choices; use tpe"
            )
    if recorded is not None:
        for place, objective in enumerate(sampler.objectives):
            path = f"sampler.objectives[{place}].measure"
            yield from scalar_faults(path, objective.measure, recorded)
    n = len(sampler.objectives)
    if kind in ("tpe", "gp", "cmaes", "pbt") and n == 0:
        yield Fault("sampler.objectives", f"{kind} needs one: [[sampler.objectives]] measure = ...")
    if kind in ("cmaes", "pbt") and n > 1:
        yield Fault("sampler.objectives", f"{kind} takes one objective, got {n}; use nsga2 or tpe")
    if kind == "nsga2" and n < 2:
        yield Fault("sampler.objectives", f"nsga2 weighs several objectives, got {n}; use tpe")
    if kind == "boundary" and sampler.question is None:
        yield Fault(
            "sampler.question",
            'is missing; say what changes across the boundary: { outcome = "diverged" }, or '
            "{ measure = ..., above = ... }",
        )
    if kind == "boundary":
        yield from option_faults(sampler.options)
        if len(axes) > MOST_AXES:
            yield Fault(
                "sampler.kind",
                f"boundary searches up to {MOST_AXES} axes, got {len(axes)}; give the others "
                "values, so that they are a grid",
            )
        if n:
            yield Fault("sampler.objectives", "boundary asks a question and takes no objectives")
    if kind != "boundary" and sampler.question is not None:
        yield Fault("sampler.question", f"belongs to the boundary sampler; {kind} takes objectives")
    asked = None if sampler.question is None else sampler.question.measure
    if asked is not None and recorded is not None:
        yield from scalar_faults("sampler.question.measure", asked, recorded)


def _condition(file: SweepFile, axis: SearchedAxis) -> Iterator[Fault]:
    """Yield the names that a condition reads, and that no point knows when it is chosen."""
    grid = {name for name, section in file.axes.items() if not section.is_searched}
    grid |= {name for columns in file.zip.values() for name in columns}
    for place, when in enumerate(file.when):
        if axis.condition is None or axis.name not in when.axes:
            continue
        with suppress(ValueError):  # no expression: said elsewhere
            for name in Expression(when.if_).names:
                if name in grid:
                    yield Fault(
                        f"when[{place}].if",
                        f"reads {name!r}, an axis of the grid; a point is chosen before it: "
                        "search it too, or fix it",
                    )
