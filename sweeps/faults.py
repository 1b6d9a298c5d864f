"""What is wrong with a sweep whose tables are well formed: the faults of meaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phasecube.engine.errors import ExperimentError, Fault
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.params import Param, parameters
from phasecube.sweeps.analyses import ANALYSES
from phasecube.sweeps.axis import Axis, AxisSection, Dim
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.sections import SweepFile

RESERVED = frozenset({"step", "vector_step", "trial", "row", "outcome", "digest", "run", "engine"})


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    listing = ", ".join(sorted(names)) or "none"
    return (f"did you mean {close[0]!r}? " if close else "") + f"known are: {listing}"


def semantic_faults(
    file: SweepFile, folder: Path, known: Sequence[Fault]
) -> tuple[list[Fault], tuple[Dim, ...], dict[str, Any]]:
    """Return the faults of meaning, and the dims and fixed values typed by the experiment."""
    from phasecube.engine.load import load_experiment

    faults: list[Fault] = []
    params: Mapping[str, Param] | None = None
    experiment = None
    if not any(f.path == "experiment" for f in known):
        try:
            experiment = load_experiment(file.experiment, folder)
            params = parameters(experiment)
        except ExperimentError as error:
            faults.append(Fault("experiment", str(error)))
    reading = _Reading(file, params, getattr(experiment, "open_parameters", False), faults)
    fixed = reading.fixed()
    dims = (*reading.axes(), *reading.zips(), *reading.whens(fixed))
    reading.sources()
    reading.expressions(dims)
    reading.optimizer(dims, fixed)
    reading.size(dims)
    reading.record(getattr(experiment, "measures", None))
    reading.analyses(dims)
    return faults, dims, fixed


class _Reading:
    """One walk over a file; each method adds the faults of one section."""

    def __init__(
        self,
        file: SweepFile,
        params: Mapping[str, Param] | None,
        is_open: bool,
        faults: list[Fault],
    ) -> None:
        self.file, self.params, self.is_open, self.faults = file, params, is_open, faults
        self.used = set(_names_used(file))

    def add(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))

    # values ------------------------------------------------------------------

    def typed(self, name: str, path: str, value: Any) -> Any:
        """Return `value` in the parameter's type, noting a fault where it has none."""
        if self.params is None or name not in self.params:
            return value
        if name == "optimizer" and value not in OPTIMIZERS:
            self.add(path, f"unknown optimizer {value!r}; " + suggest(str(value), OPTIMIZERS))
            return value
        try:
            return self.params[name].validate(value)
        except ValueError as error:
            self.add(path, f"{str(error)[0].lower()}{str(error)[1:]}, got {value!r}")
            return value

    def known_name(self, name: str, path: str) -> None:
        if self.params is None or self.is_open or name in self.params or name in self.used:
            return
        self.add(path, "unknown parameter; " + suggest(name, self.params))

    def fixed(self) -> dict[str, Any]:
        for name in self.file.fixed:
            self.known_name(name, f"fixed.{name}")
        return {n: self.typed(n, f"fixed.{n}", v) for n, v in self.file.fixed.items()}

    def axis(self, name: str, section: AxisSection, path: str) -> Axis:
        if name in RESERVED:
            self.add(path, f"{name!r} is a name the cube keeps for itself; call the axis otherwise")
        else:
            self.known_name(name, path)
        values: list[Any] = []
        for place, value in enumerate(section.expanded()):
            at = f"{path}.values[{place}]" if section.values else path
            value = self.typed(name, at, value)
            if value in values and type(value) is type(values[values.index(value)]):
                self.add(at, f"{value!r} stands twice on this axis; name each value once")
            values.append(value)
        return Axis(name, tuple(values), section.shown_scale(), section.unit, section.label)

    # dimensions --------------------------------------------------------------

    def axes(self) -> list[Dim]:
        return [
            Dim(name, (self.axis(name, section, f"axes.{name}"),))
            for name, section in self.file.axes.items()
        ]

    def zips(self) -> list[Dim]:
        dims = []
        for name, columns in self.file.zip.items():
            path = f"zip.{name}"
            lengths = {column: len(values) for column, values in columns.items()}
            if not columns or 0 in lengths.values():
                self.add(path, "a zip names at least one parameter with at least one value")
                continue
            if len(set(lengths.values())) > 1:
                found = ", ".join(f"{column} has {n}" for column, n in lengths.items())
                self.add(path, f"zipped lists have one length; {found}")
                continue
            if name in RESERVED or name in self.file.axes:
                self.add(path, f"the dimension {name!r} exists already; call the zip otherwise")
            if self.params and name in self.params and name not in columns:
                self.add(path, f"{name!r} is a parameter; call the zip otherwise")
            axes = []
            for column, values in columns.items():
                self.known_name(column, f"{path}.{column}")
                typed = [
                    self.typed(column, f"{path}.{column}[{i}]", v) for i, v in enumerate(values)
                ]
                axes.append(Axis(column, tuple(typed)))
            dims.append(Dim(name, tuple(axes)))
        return dims

    def whens(self, fixed: Mapping[str, Any]) -> list[Dim]:
        dims = []
        for place, when in enumerate(self.file.when):
            for name, section in when.axes.items():
                path = f"when[{place}].axes.{name}"
                axis = self.axis(name, section, path)
                if self.params is None or name not in self.params:
                    continue
                rest = fixed.get(name, self.params[name].default)
                values = axis.values if rest in axis.values else (rest, *axis.values)
                swept = tuple(values.index(v) for v in axis.values)
                whole = Axis(name, values, axis.scale, axis.unit, axis.label)
                dims.append(Dim(name, (whole,), when.if_, values.index(rest), swept))
        return dims

    def sources(self) -> None:
        seen: dict[str, str] = {}
        for name, path in _sources(self.file):
            first = seen.setdefault(name, path)
            # A sub-space may refine a fixed value: outside it, the fixed value holds.
            if first != path and not (first.startswith("fixed.") and path.startswith("when[")):
                self.add(path, f"{name!r} is given by {first} too; a parameter has one source")

    def size(self, dims: Sequence[Dim]) -> None:
        n_cells = 1
        for dim in dims:
            n_cells *= max(len(dim), 1)
        limit = self.file.resources.max_trials
        if n_cells > limit:
            sizes = " x ".join(f"{dim.name} {len(dim)}" for dim in dims)
            self.add(
                "axes",
                f"{sizes} = {n_cells:,} cells, more than resources.max_trials = {limit:,}; "
                "take values out, or raise the limit",
            )

    # expressions -------------------------------------------------------------

    def expressions(self, dims: Sequence[Dim]) -> None:
        coords = {axis.name for dim in dims for axis in dim.axes}
        names = coords | set(self.params or ()) | set(self.file.fixed) | set(self.file.derived)
        parsed: dict[str, Expression] = {}
        for path, text in _expressions(self.file):
            try:
                parsed[path] = Expression(text)
            except ValueError as error:
                self.add(path, str(error))
                continue
            for name in parsed[path].names:
                if self.params is not None and not self.is_open and name not in names:
                    self.add(path, f"unknown name {name!r}; " + suggest(name, names))
        for name in self.file.derived:
            self.known_name(name, f"derived.{name}")
        for cycle in _cycles({n: parsed.get(f"derived.{n}") for n in self.file.derived}):
            self.add(f"derived.{cycle[0]}", "derives from itself: " + " -> ".join(cycle))

    def optimizer(self, dims: Sequence[Dim], fixed: Mapping[str, Any]) -> None:
        if self.params is None or "optimizer" not in self.params:
            return
        coords = {axis.name: axis.values for dim in dims for axis in dim.axes}
        chosen = coords.get(
            "optimizer", (fixed.get("optimizer", self.params["optimizer"].default),)
        )
        if not set(chosen) <= set(OPTIMIZERS):
            return
        taken = frozenset().union(*(OPTIMIZERS[name].takes for name in chosen))
        every = frozenset().union(*(entry.takes for entry in OPTIMIZERS.values()))
        for name, path in _sources(self.file):
            if name in every and name not in taken:
                others = [o for o, entry in OPTIMIZERS.items() if name in entry.takes]
                self.add(
                    path,
                    f"{' and '.join(chosen)} does not take {name}; it takes "
                    f"{', '.join(sorted(taken))}; {name} belongs to {', '.join(others)}",
                )

    # record, analyses --------------------------------------------------------

    def record(self, measures: Mapping[str, Any] | None) -> None:
        from phasecube.engine.experiment import ENGINE_MEASURES

        for key in ("steps", "vector_steps"):
            steps = getattr(self.file.record, key)
            if isinstance(steps, list) and (steps != sorted(set(steps)) or not steps):
                self.add(f"record.{key}", "explicit steps increase and stand once each")
        if measures is None:
            return
        known = measures if self.is_open else {**ENGINE_MEASURES, **measures}
        wanted = self.file.record.measures
        for place, name in enumerate(wanted or ()):
            if not self.is_open and name not in known:
                self.add(
                    f"record.measures[{place}]",
                    f"unknown measure {name!r}; " + suggest(name, known),
                )
        target = self.file.stop.target
        if target is not None:
            recorded = wanted or [n for n, m in known.items() if m.recorded and m.dim is None]
            if target.measure not in recorded:
                self.add(
                    "stop.target.measure",
                    f"{target.measure!r} is not recorded; " + suggest(target.measure, recorded),
                )

    def analyses(self, dims: Sequence[Dim]) -> None:
        names = {dim.name for dim in dims} | {axis.name for dim in dims for axis in dim.axes}
        for place, table in enumerate(self.file.analyses):
            path, kind = f"analyses[{place}]", str(table.get("kind", ""))
            if kind not in ANALYSES:
                self.add(f"{path}.kind", f"unknown analysis {kind!r}; " + suggest(kind, ANALYSES))
                continue
            for option, value in table.items():
                if option != "kind" and option not in ANALYSES[kind]:
                    self.add(
                        f"{path}.{option}", "unknown option; " + suggest(option, ANALYSES[kind])
                    )
                if option in ("x", "y") and value not in names:
                    self.add(
                        f"{path}.{option}", f"{value!r} is no axis; " + suggest(str(value), names)
                    )


def _sources(file: SweepFile) -> Iterator[tuple[str, str]]:
    yield from ((name, f"fixed.{name}") for name in file.fixed)
    yield from ((name, f"axes.{name}") for name in file.axes)
    for zipped, columns in file.zip.items():
        yield from ((name, f"zip.{zipped}.{name}") for name in columns)
    for place, when in enumerate(file.when):
        yield from ((name, f"when[{place}].axes.{name}") for name in when.axes)
    yield from ((name, f"derived.{name}") for name in file.derived)


def _expressions(file: SweepFile) -> Iterator[tuple[str, str]]:
    yield from ((f"where[{place}]", text) for place, text in enumerate(file.where))
    yield from ((f"derived.{name}", text) for name, text in file.derived.items())
    yield from ((f"when[{place}].if", when.if_) for place, when in enumerate(file.when))


def _names_used(file: SweepFile) -> Iterator[str]:
    for _, text in _expressions(file):
        try:
            yield from Expression(text).names
        except ValueError:
            continue  # reported where expressions are checked


def _cycles(derived: Mapping[str, Expression | None]) -> Iterator[list[str]]:
    for start in derived:
        trail, stack = [start], [start]
        while stack:
            expression = derived.get(stack.pop())
            for name in expression.names if expression else ():
                if name == start:
                    yield [*trail, start]
                    stack = []
                    break
                if name in derived and name not in trail:
                    trail.append(name)
                    stack.append(name)
