"""Trials as columns: axes multiplied out, sub-spaces, derived parameters, conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import Fault, SpecError
from phasecube.engine.params import Param
from phasecube.sweeps.axis import Dim
from phasecube.sweeps.expression import Expression, at_values
from phasecube.sweeps.faults import first_few
from phasecube.sweeps.schema import typed

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep

CodeArray = npt.NDArray[np.int32]
MaskArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Column:
    """One parameter over all trials: `values[codes[trial]]`."""

    codes: CodeArray
    values: Sequence[Any]
    is_param: bool = True  # False: an axis that only expressions read

    def take(self, trials: npt.NDArray[Any]) -> Column:
        """Return the column of some trials."""
        return Column(self.codes[trials], self.values, self.is_param)

    def compact(self) -> Column:
        """Return the column without the values that no trial has."""
        used, codes = np.unique(self.codes, return_inverse=True)
        return Column(codes.astype(np.int32), [self.values[u] for u in used], self.is_param)


@dataclass(frozen=True)
class Failed:
    """What stands in a column where an expression has no value: a fault if a trial needs it.

    `value` is what the expression gave where only its parameter refuses it.
    """

    fault: Fault
    value: Any = None


class Table:
    """Columns of equal length and the constants beside them; expressions are applied to it."""

    def __init__(
        self, columns: dict[str, Column], constants: dict[str, Any], n_trials: int
    ) -> None:
        self.columns, self.constants, self.n_trials = columns, constants, n_trials

    def __len__(self) -> int:
        return self.n_trials

    def combinations(
        self, names: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return one trial of each combination of the columns `names`, and each trial's one."""
        code = np.zeros(self.n_trials, np.int64)
        n_codes = 1
        for name in names:
            n_values = max(len(self.columns[name].values), 1)
            if n_codes * n_values >= 2**62:
                code = np.unique(code, return_inverse=True)[1].astype(np.int64)
                n_codes = self.n_trials
            code = code * n_values + self.columns[name].codes
            n_codes *= n_values
        first, place = np.unique(code, return_index=True, return_inverse=True)[1:]
        return first, place

    def values_at(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the values of `names`, constants too, once per combination that occurs."""
        varying = [name for name in names if name in self.columns]
        constants = {name: self.constants[name] for name in names if name not in varying}
        columns = [self.columns[name] for name in varying]
        for trial in self.combinations(varying)[0]:
            at = {n: c.values[c.codes[trial]] for n, c in zip(varying, columns)}
            yield {**constants, **at}

    def apply(
        self,
        expression: Expression,
        path: str,
        check: Callable[[Any], Any] = lambda value: value,
    ) -> Column:
        """Return the expression's value of every trial, as `check` returns it.

        Evaluated once per combination of the names it reads. Where the expression or
        `check` raises ValueError, the value is Failed.
        """
        read = [n for n in expression.names if n in self.columns]
        constants = {n: self.constants[n] for n in expression.names if n not in self.columns}
        first, place = self.combinations(read)
        values: dict[tuple[type, Any], int] = {}
        codes = np.empty(len(first), np.int32)
        columns = [self.columns[n] for n in read]
        for i, trial in enumerate(first):
            at = {n: c.values[c.codes[trial]] for n, c in zip(read, columns)}
            value = _value(expression, path, check, {**constants, **at})
            codes[i] = values.setdefault((type(value), value), len(values))
        return Column(codes[place], [value for _, value in values])

    def holds(self, condition: Expression, path: str, faults: list[Fault]) -> MaskArray:
        """Return where the condition is true; where it fails, note the fault and say true."""
        column = self.apply(condition, path, _truth)
        faults += first_few(v.fault for v in column.values if isinstance(v, Failed))
        return np.array([v is not False for v in column.values], bool)[column.codes]

    def keep(self, mask_N: MaskArray) -> None:
        """Drop the trials outside the mask."""
        trials = np.flatnonzero(mask_N)
        self.columns = {n: c.take(trials) for n, c in self.columns.items()}
        self.n_trials = len(trials)

    def resolve(self, schema: Mapping[str, Param]) -> tuple[dict[str, Column], dict[str, Any]]:
        """Return columns that vary and constants; every parameter is in one of them."""
        columns: dict[str, Column] = {}
        constants = {name: value for name, value in self.constants.items() if name in schema}
        for name, column in self.columns.items():
            used = np.unique(column.codes)
            if len(used) == 1 and column.is_param:
                constants[name] = column.values[used[0]]
            else:
                columns[name] = column
        return columns, constants


def _value(
    expression: Expression, path: str, check: Callable[[Any], Any], at: Mapping[str, Any]
) -> Any:
    given = {}
    for name, value in at.items():
        if isinstance(value, Failed) and value.value is None:
            return value
        given[name] = value.value if isinstance(value, Failed) else value
    try:
        value = expression(given)
    except ValueError as error:
        return Failed(Fault(path, str(error)))
    try:
        return check(value)
    except ValueError as error:
        return Failed(Fault(path, f"{error}{at_values(given)}"), value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"a condition is true or false; compare with something, got {value!r}")  # noqa: TRY004
    return value


def spread(sweep: Sweep, schema: Mapping[str, Param]) -> tuple[Table, dict[str, CodeArray]]:
    """Return every trial of a sweep, and its place on each dimension.

    Order: the first dimension varies slowest. A `where` that reads no derived name acts
    before anything is derived, so that it may keep an expression from failing. Raises
    SpecError with all faults that only the combinations of values show.
    """
    faults: list[Fault] = []
    table, index = _multiplied(sweep, schema, faults)
    waiting, conditions = dict(sweep.derived), dict(enumerate(sweep.where))
    while True:
        for place in [p for p, c in conditions.items() if not set(c.names) & set(waiting)]:
            mask = table.holds(conditions.pop(place), f"where[{place}]", faults)
            if not mask.all():
                table.keep(mask)
                index = {name: codes[mask] for name, codes in index.items()}
        ready = [n for n, e in waiting.items() if not set(e.names) & set(waiting)]
        if not ready:
            break
        name = ready[0]
        check = partial(typed, schema, name)
        column = table.apply(waiting.pop(name), f"derived.{name}", check)
        table.columns[name] = Column(column.codes, column.values, name in schema)
    if not len(table):
        faults.append(Fault("where", "leaves no trial; loosen a condition"))
    for name in sweep.derived:
        column = table.columns[name] = table.columns[name].compact()
        faults += first_few(v.fault for v in column.values if isinstance(v, Failed))
    if faults:
        raise SpecError(list(dict.fromkeys(faults)), sweep.name)
    return table, {dim.name: index[dim.name] for dim in sweep.dims}


def _multiplied(
    sweep: Sweep, schema: Mapping[str, Param], faults: list[Fault]
) -> tuple[Table, dict[str, CodeArray]]:
    """Return the product of all dimensions, sub-spaces swept where their conditions hold."""
    plain = [dim for dim in sweep.dims if not dim.subspaces]
    n_trials = int(np.prod([len(dim) for dim in plain], dtype=np.int64))
    index: dict[str, CodeArray] = {}
    after = n_trials
    for dim in plain:
        before, after = n_trials // after, after // len(dim)
        places = np.arange(len(dim), dtype=np.int32)
        index[dim.name] = np.tile(np.repeat(places, after), before)
    constants = {name: param.default for name, param in schema.items()} | dict(sweep.fixed)
    table = Table(_columns(sweep, index, schema), constants, n_trials)
    for dim in sweep.dims:
        if dim.subspaces:
            index = _swept(dim, table, index, faults)
            n_trials = len(index[dim.name])
            table = Table(_columns(sweep, index, schema), constants, n_trials)
    return table, index


def _swept(
    dim: Dim, table: Table, index: Mapping[str, CodeArray], faults: list[Fault]
) -> dict[str, CodeArray]:
    """Return the places with those of `dim`: each trial once per value its sub-space sweeps."""
    owner = np.full(len(table), -1)
    for number, subspace in enumerate(dim.subspaces):
        mask = table.holds(Expression(subspace.condition), f"{subspace.path}.if", faults)
        twice = mask & (owner >= 0)
        if twice.any():
            first = dim.subspaces[owner[np.argmax(twice)]]
            faults.append(
                Fault(
                    f"{subspace.path}.axes.{dim.name}",
                    f"is given by {first.path} too where both {first.condition!r} and "
                    f"{subspace.condition!r} hold; a parameter has one source",
                )
            )
        owner[mask & ~twice] = number
    # Number -1, no sub-space, is the last entry of each list: the place of rest.
    swept = [np.asarray(s.swept, np.int32) for s in dim.subspaces]
    swept.append(np.array([dim.rest], np.int32))
    lengths = np.array([len(s) for s in swept])
    starts = np.cumsum(lengths) - lengths
    repeats = lengths[owner]
    within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    places = np.concatenate(swept)[np.repeat(starts[owner], repeats) + within]
    return {**{n: np.repeat(codes, repeats) for n, codes in index.items()}, dim.name: places}


def _columns(
    sweep: Sweep, index: Mapping[str, CodeArray], schema: Mapping[str, Param]
) -> dict[str, Column]:
    return {
        axis.name: Column(index[dim.name], axis.values, axis.name in schema)
        for dim in sweep.dims
        if dim.name in index
        for axis in dim.axes
    }
