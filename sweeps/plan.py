"""Sweep to Plan: every trial as a place in columns, named by its digest, cut into packs.

A plan of 10^6 trials holds no object per trial: one int32 code per trial and column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import SpecError
from phasecube.engine.experiment import Measure
from phasecube.engine.params import Param
from phasecube.engine.record import RecordRule, StopRule
from phasecube.engine.trials import Trials
from phasecube.sweeps.axis import Dim
from phasecube.sweeps.columns import Column, spread
from phasecube.sweeps.counts import counts_of
from phasecube.sweeps.digest import DIGEST_BYTES, RowArray, content, distinct, find
from phasecube.sweeps.parents import name_trials
from phasecube.sweeps.points import with_points
from phasecube.sweeps.record_rule import measures_of, record_rule
from phasecube.sweeps.schema import schema_of
from phasecube.sweeps.sweep import Sweep

CodeArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep. Arrays have one entry a trial, in the order of the axes.

    `index[dim]` is the place on a dimension, `columns[name]` a parameter that varies,
    `constants` those that do not; `group` is the static shape, `row` the place in the store.
    Rows of the store that no trial of the plan names are padding or orphaned.
    """

    sweep: Sweep
    experiment: str
    version: int
    dims: tuple[Dim, ...]
    index: Mapping[str, CodeArray]
    columns: Mapping[str, Column]
    constants: Mapping[str, Any]
    static: frozenset[str]
    digests: npt.NDArray[np.uint8]  # [N, 16]
    group: CodeArray
    row: RowArray
    pack_size: int
    n_packs: int
    rule: RecordRule
    measures: Mapping[str, Measure]
    counts: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def n_trials(self) -> int:
        """Return the number of trials: places on the axes that share a digest count once."""
        return len(np.unique(self.row))

    @property
    def stop(self) -> StopRule:
        """Return when a trial ends before its last step."""
        return self.sweep.stop

    @property
    def n_rows(self) -> int:
        """Return the rows of the store, padding and orphans included."""
        return self.n_packs * self.pack_size

    def params(self, trial: int) -> dict[str, Any]:
        """Return every resolved parameter of one trial, auxiliary axes left out."""
        varying = {n: c.values[c.codes[trial]] for n, c in self.columns.items() if c.is_param}
        return {**self.constants, **varying}

    def content(self, trial: int) -> dict[str, Any]:
        """Return what the digest of one trial is taken over."""
        return content(self.experiment, self.version, self.stop, self.params(trial))

    @cached_property
    def row_digests(self) -> npt.NDArray[np.uint8]:
        """Return uint8 [rows, 16]: the digest of each row the plan names, zeros elsewhere."""
        digests_R16 = np.zeros((self.n_rows, DIGEST_BYTES), np.uint8)
        digests_R16[self.row] = self.digests
        return digests_R16

    @cached_property
    def _by_row(self) -> npt.NDArray[np.int64]:
        trial_R = np.full(self.n_rows, -1, np.int64)
        trial_R[self.row] = np.arange(len(self))
        return trial_R

    def trials_in(
        self, pack: int, wanted_K: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the trials of one pack, in lane order; `wanted_K` [pack size] chooses lanes."""
        trials_K = self._by_row[pack * self.pack_size : (pack + 1) * self.pack_size]
        keep_K = trials_K >= 0 if wanted_K is None else (trials_K >= 0) & wanted_K
        found: npt.NDArray[np.int64] = trials_K[keep_K]
        return found

    def trials_of(self, pack: int, wanted_K: npt.NDArray[np.bool_] | None = None) -> Trials:
        """Return the trials of one pack as the engine takes them."""
        chosen = self.trials_in(pack, wanted_K)
        columns = {n: c for n, c in self.columns.items() if c.is_param}
        static = {n: v for n, v in self.constants.items() if n in self.static}
        for name, column in columns.items():
            if name in self.static and len(chosen):
                static[name] = column.values[column.codes[chosen[0]]]
        varying = {n: [v] * len(chosen) for n, v in self.constants.items() if n not in self.static}
        for name, column in columns.items():
            if name not in self.static:
                varying[name] = [column.values[code] for code in column.codes[chosen]]
        return Trials(self.row[chosen] - pack * self.pack_size, static, varying)

    def packs(self) -> npt.NDArray[np.int64]:
        """Return the numbers of the packs that hold trials of the plan."""
        return np.unique(self.row // self.pack_size)

    def missing(self, status_RF: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Return the packs that hold a trial whose row in the store is not settled."""
        from phasecube.engine.record import Outcome, Status

        open_N = status_RF[self.row, Status.OUTCOME] == Outcome.NOT_RUN
        return np.unique(self.row[open_N] // self.pack_size)

    def write(self, path: Path) -> None:
        """Write plan.parquet by rename."""
        from phasecube.sweeps.plan_file import write_plan

        write_plan(self, path)

    def continue_from(self, old_R16: npt.NDArray[np.uint8], pack_size: int) -> Plan:
        """Return the plan over a store that exists: trials it holds keep their rows.

        New trials are appended as new packs; rows the plan does not name are orphaned.
        """
        row = find(self.digests, old_R16)
        new = row < 0
        n_old = -(-len(old_R16) // pack_size)
        row[new], n_new = _rows(self.digests[new], self.group[new], pack_size, n_old)
        return replace(self, row=row, pack_size=pack_size, n_packs=n_old + n_new)


def read_plan(path: Path | str) -> Plan:
    """Return the plan in the file at `path`; raise StudyError where it is not whole."""
    from phasecube.sweeps import plan_file

    return plan_file.read_plan(path)


def expand(sweep: Sweep) -> Plan:
    """Return the plan of a sweep."""
    from phasecube.engine.load import load_experiment

    experiment = load_experiment(sweep.experiment, sweep.folder)
    named = {*sweep.fixed, *(axis.name for axis in sweep.axes), *sweep.derived}
    schema = schema_of(experiment, named)
    table, index = spread(sweep, schema)
    columns, constants = table.resolve(schema)
    static = frozenset(n for n in {**columns, **constants} if n in schema and schema[n].static)
    group, representatives = _groups(columns, static, len(table))
    constant = content(experiment.name, experiment.version, sweep.stop, constants)
    columns, digests = name_trials(constant, columns, index, sweep.dims, len(table))
    pack_size = _pack_size(sweep.resources.pack_size, len(digests), int(np.bincount(group).max()))
    row, n_packs = _rows(digests, group, pack_size, 0)
    measures = measures_of(experiment, sweep.record)
    trials = _trials_at(representatives, columns, constants)
    if sweep.points:  # the store's arrays must hold the points to come, too
        trials += _stand_in_trials(sweep, schema)
    lengths = list(dict.fromkeys(trial["steps"] for trial in trials))
    rule = record_rule(experiment, sweep.record, measures, lengths, trials, sweep.pruner)
    return Plan(
        sweep,
        experiment.name,
        experiment.version,
        sweep.dims,
        index,
        columns,
        constants,
        static,
        digests,
        group,
        row,
        pack_size,
        n_packs,
        rule,
        measures,
        counts_of(experiment),
    )


def _trials_at(
    places: Sequence[int], columns: Mapping[str, Column], constants: Mapping[str, Any]
) -> list[dict[str, Any]]:
    params = {n: c for n, c in columns.items() if c.is_param}
    return [{**constants, **{n: c.values[c.codes[i]] for n, c in params.items()}} for i in places]


def _stand_in_trials(sweep: Sweep, schema: Mapping[str, Param]) -> list[dict[str, Any]]:
    """Return a trial of each static shape among the stand-ins of a searched sweep's points."""
    try:
        table, _ = spread(with_points(sweep, ()), schema)
    except SpecError:
        return []  # no stand-in is within `where`
    columns, constants = table.resolve(schema)
    static = frozenset(n for n in columns if n in schema and schema[n].static)
    return _trials_at(_groups(columns, static, len(table))[1], columns, constants)


def _groups(
    columns: Mapping[str, Column], static: frozenset[str], n_trials: int
) -> tuple[CodeArray, list[int]]:
    """Return each trial's static group, numbered by first appearance, and a trial of each."""
    code = np.zeros(n_trials, np.int64)
    for name, column in columns.items():
        if name in static:
            # Entries of a zip, points of a search among them, may have equal values.
            values: dict[tuple[type, Any], int] = {}
            same = [values.setdefault((type(v), v), len(values)) for v in column.values]
            code = code * len(values) + np.asarray(same, np.int64)[column.codes]
            code = np.unique(code, return_inverse=True)[1].astype(np.int64)
    first = np.unique(code, return_index=True)[1]
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[code].astype(np.int32), np.sort(first).tolist()


def _pack_size(asked: int | str, n_trials: int, largest_group: int) -> int:
    if isinstance(asked, int):
        return asked
    size = 64 if n_trials <= 4096 else 256 if n_trials <= 65_536 else 1024
    return min(size, 1 << max(largest_group - 1, 0).bit_length())


def _rows(
    digests: npt.NDArray[np.uint8], group: CodeArray, pack_size: int, first_pack: int
) -> tuple[RowArray, int]:
    """Return the row of each place and the number of packs; a pack never mixes groups.

    Places of one digest share a row: a trial is trained once however often it is named.
    """
    if len(group) == 0:
        return np.zeros(0, np.int64), 0
    first, place = distinct(digests)
    order = np.lexsort((first, group[first]))  # by group, then as the axes run
    sizes = np.bincount(group[first])
    packs = -(-sizes // pack_size)
    starts = np.cumsum(packs) - packs  # first pack of each group
    within = np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row = np.empty(len(first), np.int64)
    row[order] = (first_pack + np.repeat(starts, sizes)) * pack_size + within
    return row[place], int(packs.sum())
