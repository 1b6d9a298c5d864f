"""What a sweep asks to be recorded, stopped at and drawn, against what its trials have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from phasecube.engine.errors import Fault
from phasecube.engine.experiment import ENGINE_MEASURES, Measure
from phasecube.engine.measures import GENERAL_MEASURES
from phasecube.sweeps.analyses import ANALYSES, LINES, READ, REQUIRED
from phasecube.sweeps.axis import Dim
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import scalar_faults, suggest
from phasecube.sweeps.schema import is_open
from phasecube.sweeps.sections import SweepFile

_MEASURES = (
    *("measure", "measures", "train", "validation", "sensitivity"),
    *("reward", "entropy", "actual", "predicted"),
)
_EXPRESSIONS = ("times", "reference")
_AXES_OF_KIND = frozenset({("boundary_law", "against"), ("finite_size", "size")})
_AXES = ("x", "y", "lr", "by", "over", "average", "best_over", "select", "parameters")


def measures_known(experiment: Any) -> dict[str, Measure]:
    """Return every measure a sweep over `experiment` may name; the engine's own come first."""
    own = hasattr(experiment, "params_type")  # a function reports all its measures itself
    if not own:
        return dict(experiment.measures)
    general = {name: measure for name, (measure, _) in GENERAL_MEASURES.items()}
    return {**ENGINE_MEASURES, **general, **experiment.measures}


def recorded_measures(file: SweepFile, experiment: Any) -> dict[str, Measure]:
    """Return the measures that `[record]` asks for, or all that are recorded by default."""
    known = measures_known(experiment)
    wanted = file.record.measures or [name for name, m in known.items() if m.recorded]
    return {name: known.get(name, Measure(name)) for name in wanted}


def asked_faults(
    file: SweepFile,
    dims: Sequence[Dim],
    experiment: Any | None,
    parameters: Collection[str] | None,
    optimizers: Collection[str] | None,
) -> Iterator[Fault]:
    """Yield the faults of `[record]`, `[stop]` and `[[analyses]]`; None is what is not known."""
    cadences = {f"cadence.{name}": steps for name, steps in file.record.cadence.items()}
    grids = {"steps": file.record.steps, "vector_steps": file.record.vector_steps}
    for key, steps in {**grids, **cadences}.items():
        if isinstance(steps, list) and steps != sorted(set(steps)):
            yield Fault(f"record.{key}", "explicit steps increase and stand once each")
    recorded = None
    if experiment is not None:
        known = measures_known(experiment)
        yield from _record(file, known, is_open(experiment))
        yield from _of_optimizers(file, known, optimizers or ())
        recorded = recorded_measures(file, experiment)
        if file.stop.target is not None:
            yield from scalar_faults("stop.target.measure", file.stop.target.measure, recorded)
        yield from _cadences(file, recorded, hasattr(experiment, "params_type"))
    yield from _analyses(file, dims, recorded, parameters)


def _record(file: SweepFile, known: Mapping[str, Measure], any_name: bool) -> Iterator[Fault]:
    wanted = file.record.measures
    if any_name and wanted is None:
        yield Fault(
            "record.measures", "is missing; the function declares none, name what it reports"
        )
    for place, name in enumerate(wanted or ()):
        path = f"record.measures[{place}]"
        if name in (wanted or ())[:place]:
            yield Fault(path, f"{name!r} stands twice; name each measure once")
        elif not any_name and name not in known:
            yield Fault(path, f"unknown measure {name!r}; " + suggest(name, known))


def _of_optimizers(
    file: SweepFile, known: Mapping[str, Measure], optimizers: Collection[str]
) -> Iterator[Fault]:
    for place, name in enumerate(file.record.measures or ()):
        only = known[name].optimizers if name in known else ()
        others = [o for o in optimizers if only and o not in only]
        if others:
            yield Fault(
                f"record.measures[{place}]",
                f"{name} is of {' and '.join(only)} only, and the sweep has {', '.join(others)}",
            )


def _cadences(file: SweepFile, recorded: Mapping[str, Measure], is_class: bool) -> Iterator[Fault]:
    target = file.stop.target
    for name in file.record.cadence:
        path = f"record.cadence.{name}"
        if not is_class:
            yield Fault(path, "a function reports its measures when it likes; leave this out")
        elif name not in recorded:
            yield Fault(path, f"{name!r} is not recorded; " + suggest(name, recorded))
        elif target is not None and name == target.measure:
            yield Fault(path, "stop.target looks at it at every record; leave this out")


def _analyses(
    file: SweepFile,
    dims: Sequence[Dim],
    recorded: Mapping[str, Measure] | None,
    parameters: Collection[str] | None,
) -> Iterator[Fault]:
    axes = {dim.name for dim in dims} | {axis.name for dim in dims for axis in dim.axes}
    for place, table in enumerate(file.analyses):
        path = f"analyses[{place}]"
        kind = str(table.get("kind", ""))
        if kind not in ANALYSES:
            yield Fault(f"{path}.kind", f"unknown analysis {kind!r}; " + suggest(kind, ANALYSES))
            continue
        for option in REQUIRED.get(kind, ()):
            if option not in table:
                yield Fault(f"{path}.{option}", f"is missing; {kind} cannot be drawn without it")
        for option, name in READ.get(kind, {}).items():
            if option not in table and recorded is not None and name not in recorded:
                yield Fault(
                    f"{path}.{option}",
                    f"reads {name!r}, which is not recorded; add it to record.measures, or name "
                    f"another with {option}",
                )
        labels = {m.dim for m in (recorded or {}).values() if m.dim} if kind in LINES else set()
        for option, value in table.items():
            at = f"{path}.{option}"
            if option == "kind":
                continue
            if option not in ANALYSES[kind]:
                yield Fault(at, "unknown option; " + suggest(option, ANALYSES[kind]))
            elif option in _AXES or (kind, option) in _AXES_OF_KIND:
                # Seeds are reduced over by default, whether or not they are an axis.
                known = axes | labels | ({"seed"} if option in ("over", "average") else set())
                # What is derived may differ from size to size.
                known |= set(file.derived) if (kind, option) == ("finite_size", "x") else set()
                yield from _unknown(at, _named(value), known, "is no axis")
                if option == "select" and isinstance(value, dict):
                    yield from _one_value_each(at, value)
            elif option in _MEASURES and recorded is not None:
                yield from _unknown(at, _named(value), recorded, "is not recorded")
            elif option in _EXPRESSIONS and kind in LINES and parameters is not None:
                known = axes | labels | set(file.derived) | {"step", *parameters}
                for text in _named(value):
                    yield from _expression(at, text, known)


def _expression(path: str, text: str, known: set[str]) -> Iterator[Fault]:
    try:
        names = Expression(text).names
    except ValueError as error:
        yield Fault(path, str(error))
    else:
        yield from _unknown(path, names, known, "is no axis and no parameter")


def _one_value_each(path: str, select: Mapping[str, Any]) -> Iterator[Fault]:
    for name, value in select.items():
        if isinstance(value, list | dict):
            yield Fault(f"{path}.{name}", "fixes the axis at one value; give one, not several")


def _named(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | dict) else [str(value)]


def _unknown(path: str, names: Sequence[str], known: Any, what: str) -> Iterator[Fault]:
    for name in names:
        if name not in known:
            yield Fault(path, f"{name!r} {what}; " + suggest(name, known))
