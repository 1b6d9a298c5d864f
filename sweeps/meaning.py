"""The tables of a file against its experiment: typed values, dimensions, one source a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phasecube.engine.errors import Fault
from phasecube.engine.optimizers import OPTIMIZERS
from phasecube.engine.params import Param
from phasecube.sweeps.axis import Axis, AxisSection, Dim, SubSpace
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.schema import sources, typed
from phasecube.sweeps.sections import SweepFile

# Coordinates and variables that every cube has.
RESERVED = frozenset(
    {"step", "vector_step", "trial", "row", "outcome", "n_recorded", "stopped_at", "engine"}
    | {"run", "digest"}
)


class Meaning:
    """One walk over a file; each method notes the faults of one section in `faults`.

    `schema` is None where the experiment could not be loaded: then names and values are
    taken as they stand. `used` are the names that expressions read.
    """

    def __init__(
        self,
        file: SweepFile,
        schema: Mapping[str, Param] | None,
        used: frozenset[str],
        taken: frozenset[str],
        faults: list[Fault],
    ) -> None:
        self.file, self.schema, self.used, self.faults = file, schema, used, faults
        self.taken = RESERVED | taken

    def add(self, path: str, message: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(path, message))

    def typed(self, name: str, path: str, value: Any) -> Any:
        """Return `value` in the parameter's type, noting a fault where it has none."""
        try:
            return typed(self.schema or {}, name, value)
        except ValueError as error:
            self.add(path, str(error))
            return value

    def known_name(self, name: str, path: str) -> None:
        """Note a fault where `name` is neither a parameter nor read by an expression."""
        if self.schema is not None and name not in self.schema and name not in self.used:
            self.add(path, "unknown parameter; " + suggest(name, self.schema))

    def fixed(self) -> dict[str, Any]:
        """Return the fixed values, typed."""
        for name in self.file.fixed:
            self.known_name(name, f"fixed.{name}")
        return {n: self.typed(n, f"fixed.{n}", v) for n, v in self.file.fixed.items()}

    def axis(self, name: str, section: AxisSection, path: str) -> Axis:
        """Return the axis of a table, its values typed, each once."""
        if name in self.taken:
            self.add(path, f"{name!r} is a name the cube keeps for itself; call the axis otherwise")
        else:
            self.known_name(name, path)
        values = self._typed_values(name, section, path)
        return Axis(name, tuple(values), section.shown_scale(), section.unit, section.label)

    def _typed_values(self, name: str, section: AxisSection, path: str) -> list[Any]:
        limit = self.file.resources.max_trials
        if section.size > limit:
            self.add(
                path,
                f"has {section.size:,} values, more than resources.max_trials = {limit:,}; "
                "take values out, or raise the limit",
            )
            return []
        values: dict[tuple[type, Any], None] = {}
        for place, value in enumerate(self._values(name, section)):
            at = f"{path}.values[{place}]" if section.values else path
            found = self.typed(name, at, value)
            if (type(found), found) in values:
                self.add(at, f"{found!r} stands twice on this axis; name each value once")
            values[type(found), found] = None
        return [value for _, value in values]

    def _values(self, name: str, section: AxisSection) -> list[Any]:
        param = self.schema.get(name) if self.schema else None
        values = section.expanded()
        if section.geometric and param is not None and param.field.annotation is int:
            return [round(v) for v in values]  # widths of equal ratios: 32, 45, 64
        return values

    def dims(self, fixed: Mapping[str, Any]) -> tuple[Dim, ...]:
        """Return the dimensions in the order of axes, zips, sub-spaces."""
        axes = [
            Dim(name, (self.axis(name, section, f"axes.{name}"),))
            for name, section in self.file.axes.items()
            if not section.is_searched
        ]
        return (*axes, *self._zips(), *self._subspaces(fixed))

    def _zips(self) -> list[Dim]:
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
            if name in self.taken:
                self.add(path, f"{name!r} is a name the cube keeps for itself; call it otherwise")
            elif name in self.file.axes:
                self.add(path, f"the dimension {name!r} exists already; call the zip otherwise")
            elif self.schema and name in self.schema and name not in columns:
                self.add(path, f"{name!r} is a parameter; call the zip otherwise")
            dims.append(self._zip(name, columns))
        return dims

    def _zip(self, name: str, columns: Mapping[str, Sequence[Any]]) -> Dim:
        axes = []
        for column, values in columns.items():
            path = f"zip.{name}.{column}"
            if column in self.taken:
                self.add(path, f"{column!r} is a name the cube keeps for itself; call it otherwise")
            else:
                self.known_name(column, path)
            typed = [self.typed(column, f"{path}[{i}]", v) for i, v in enumerate(values)]
            axes.append(Axis(column, tuple(typed)))
        rows = list(zip(*(axis.values for axis in axes)))
        for place, row in enumerate(rows):
            if row in rows[:place]:
                self.add(f"zip.{name}", f"entry {place} repeats entry {rows.index(row)}")
        return Dim(name, tuple(axes))

    def _subspaces(self, fixed: Mapping[str, Any]) -> list[Dim]:
        """Return one dimension a parameter; several sub-spaces may sweep the same one."""
        found: dict[str, list[tuple[SubSpace, Axis]]] = {}
        for place, when in enumerate(self.file.when):
            for name, section in when.axes.items():
                if section.is_searched:
                    continue
                path = f"when[{place}].axes.{name}"
                axis = self.axis(name, section, path)
                if self.schema is None:
                    continue
                if name not in fixed and (
                    name not in self.schema or self.schema[name].default is None
                ):
                    self.add(path, f"has no value elsewhere; give one in [fixed], {name} = ...")
                    continue
                subspace = SubSpace(when.if_, (), f"when[{place}]")
                found.setdefault(name, []).append((subspace, axis))
        return [self._subspace(name, parts, fixed) for name, parts in found.items()]

    def _subspace(
        self, name: str, parts: Sequence[tuple[SubSpace, Axis]], fixed: Mapping[str, Any]
    ) -> Dim:
        assert self.schema is not None
        rest = fixed[name] if name in fixed else self.schema[name].default
        every = dict.fromkeys(v for _, axis in parts for v in axis.values)
        values = tuple(every) if rest in every else (rest, *every)
        first = parts[0][1]
        subspaces = tuple(
            SubSpace(s.condition, tuple(values.index(v) for v in axis.values), s.path)
            for s, axis in parts
        )
        whole = Axis(name, values, first.scale, first.unit, first.label)
        return Dim(name, (whole,), subspaces, values.index(rest))

    def sources(self) -> None:
        """Note each parameter that is given twice."""
        seen: dict[str, str] = {}
        for name, path in sources(self.file):
            first = seen.setdefault(name, path)
            # A sub-space may refine a fixed value: outside it, the fixed value holds. Two
            # sub-spaces may sweep one parameter: whether they overlap, only trials show.
            beside = path.startswith("when[") and first.startswith(("fixed.", "when["))
            if first != path and not beside:
                self.add(path, f"{name!r} is given by {first} too; a parameter has one source")

    def optimizers(self, dims: Sequence[Dim], fixed: Mapping[str, Any]) -> list[str] | None:
        """Return the optimizers of the sweep, None where they are not known beforehand."""
        if self.schema is None or "optimizer" not in self.schema:
            return None
        coords = {axis.name: axis.values for dim in dims for axis in dim.axes}
        default = (fixed.get("optimizer", self.schema["optimizer"].default),)
        chosen = list(coords.get("optimizer", default))
        known = "optimizer" not in self.file.derived and set(chosen) <= set(OPTIMIZERS)
        return chosen if known else None

    def takes(self, chosen: Sequence[str]) -> None:
        """Note each parameter that none of these optimizers takes."""
        taken = frozenset().union(*(OPTIMIZERS[name].takes for name in chosen))
        every = frozenset().union(*(entry.takes for entry in OPTIMIZERS.values()))
        for name, path in sources(self.file):
            if name in every and name not in taken:
                others = [o for o, entry in OPTIMIZERS.items() if name in entry.takes]
                self.add(
                    path,
                    f"{' and '.join(chosen)} does not take {name}; it takes "
                    f"{', '.join(sorted(taken))}; {name} belongs to {', '.join(others)}",
                )

    def size(self, dims: Sequence[Dim], points: int = 1) -> None:
        """Note a sweep that is too large, without multiplying it out."""
        n_cells, sizes = points, [f"sampler.points {points}"] if points > 1 else []
        for dim in dims:
            swept = [len(subspace.swept) for subspace in dim.subspaces]
            size = max(swept) if swept else len(dim)
            n_cells *= max(size, 1)
            sizes.append(f"{dim.name} {size}")
        limit = self.file.resources.max_trials
        if n_cells > limit:
            self.add(
                "axes",
                f"{' x '.join(sizes)} = {n_cells:,} cells, more than resources.max_trials = "
                f"{limit:,}; take values out, or raise the limit",
            )
