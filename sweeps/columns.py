"""Trials as columns: axes multiplied out, sub-spaces, derived parameters, conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import Fault, SpecError
from phasecube.engine.params import Param
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.sweep import Sweep

CodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Column:
    """One parameter over all trials: `values[codes[trial]]`."""

    codes: CodeArray
    values: Sequence[Any]
    is_param: bool = True  # False: an axis that only expressions read

    def take(self, trials: npt.NDArray[Any]) -> Column:
        """Return the column of some trials."""
        return Column(self.codes[trials], self.values, self.is_param)


class Table:
    """Columns of equal length and the constants beside them; expressions are applied to it."""

    def __init__(
        self, columns: dict[str, Column], constants: dict[str, Any], n_trials: int
    ) -> None:
        self.columns, self.constants, self.n_trials = columns, constants, n_trials

    def __len__(self) -> int:
        return self.n_trials

    def apply(self, expression: Expression, path: str) -> Column:
        """Return the expression's value of every trial.

        Evaluated once per combination of the names it reads. Raises SpecError where it fails.
        """
        read = [n for n in expression.names if n in self.columns]
        constants = {n: self.constants[n] for n in expression.names if n not in self.columns}
        code = np.zeros(self.n_trials, np.int64)
        for name in read:
            code = code * len(self.columns[name].values) + self.columns[name].codes
        found, first, place = np.unique(code, return_index=True, return_inverse=True)
        values: list[Any] = []
        known: dict[tuple[type, Any], int] = {}
        codes = np.empty(len(found), np.int32)
        for i, trial in enumerate(first):
            at = {n: c.values[c.codes[trial]] for n, c in self.columns.items() if n in read}
            try:
                value = expression({**constants, **at})
            except ValueError as error:
                raise SpecError([Fault(path, str(error))]) from error
            codes[i] = known.setdefault((type(value), value), len(values))
            if codes[i] == len(values):
                values.append(value)
        return Column(codes[place], values)

    def keep(self, mask_N: npt.NDArray[np.bool_]) -> None:
        """Drop the trials outside the mask."""
        trials = np.flatnonzero(mask_N)
        self.columns = {n: c.take(trials) for n, c in self.columns.items()}
        self.n_trials = len(trials)

    def resolve(self, schema: Mapping[str, Param]) -> tuple[dict[str, Column], dict[str, Any]]:
        """Return columns that vary and constants; every parameter is in one of them."""
        columns: dict[str, Column] = {}
        constants: dict[str, Any] = {
            n: v for n, v in self.constants.items() if n in schema or not schema
        }
        for name, column in self.columns.items():
            used = np.unique(column.codes)
            if len(used) == 1 and column.is_param:
                constants[name] = column.values[used[0]]
            else:
                columns[name] = column
        return columns, constants


def spread(sweep: Sweep, schema: Mapping[str, Param]) -> tuple[Table, dict[str, CodeArray]]:
    """Return every trial of a sweep, and its place on each dimension.

    Order: the first dimension varies slowest. Raises SpecError where an expression fails
    or gives a value that its parameter does not take.
    """
    plain = [dim for dim in sweep.dims if not dim.condition]
    shape = tuple(len(dim) for dim in plain)
    n_trials = int(np.prod(shape, dtype=np.int64))
    index: dict[str, CodeArray] = {}
    after = n_trials
    for dim in plain:
        before, after = n_trials // after, after // len(dim)
        places = np.arange(len(dim), dtype=np.int32)
        index[dim.name] = np.tile(np.repeat(places, after), before)
    constants = {name: param.default for name, param in schema.items()} | dict(sweep.fixed)
    for dim in sweep.dims:
        if dim.condition:
            here = _columns(sweep, index, schema)
            table = Table(here, constants, n_trials)
            holds = table.apply(Expression(dim.condition), f"when: {dim.name}")
            mask = np.array([bool(v) for v in holds.values])[holds.codes]
            repeats = np.where(mask, len(dim.swept), 1)
            index = {name: np.repeat(codes, repeats) for name, codes in index.items()}
            within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            places = np.asarray(dim.swept, np.int32)[within]
            index[dim.name] = np.where(np.repeat(mask, repeats), places, dim.rest).astype(np.int32)
            n_trials = int(repeats.sum())
    table = Table(_columns(sweep, index, schema), constants, n_trials)
    _derive(sweep, table, schema)
    _exclude(sweep, table, index)
    return table, {dim.name: index[dim.name] for dim in sweep.dims}


def _columns(
    sweep: Sweep, index: Mapping[str, CodeArray], schema: Mapping[str, Param]
) -> dict[str, Column]:
    return {
        axis.name: Column(index[dim.name], axis.values, axis.name in schema or not schema)
        for dim in sweep.dims
        if dim.name in index
        for axis in dim.axes
    }


def _derive(sweep: Sweep, table: Table, schema: Mapping[str, Param]) -> None:
    waiting = dict(sweep.derived)
    faults: dict[Fault, None] = {}
    while waiting:
        ready = [n for n, e in waiting.items() if not set(e.names) & set(waiting)]
        for name in ready:
            path = f"derived.{name}"
            column = table.apply(waiting.pop(name), path)
            values = []
            for value in column.values:
                try:
                    values.append(schema[name].validate(value) if name in schema else value)
                except ValueError as error:
                    text = f"{str(error)[0].lower()}{str(error)[1:]}, got {value!r}"
                    faults[Fault(path, text)] = None
            if len(values) == len(column.values):
                table.columns[name] = Column(column.codes, values, name in schema)
    if faults:
        raise SpecError(list(faults), sweep.name)


def _exclude(sweep: Sweep, table: Table, index: dict[str, CodeArray]) -> None:
    mask = np.ones(len(table), bool)
    for place, condition in enumerate(sweep.where):
        holds = table.apply(condition, f"where[{place}]")
        mask &= np.array([bool(v) for v in holds.values])[holds.codes]
    if not mask.all():
        table.keep(mask)
        for name, codes in index.items():
            index[name] = codes[mask]
