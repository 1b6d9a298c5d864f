"""What only the combinations of values show: a trial that no experiment could train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np

from phasecube.engine.errors import Fault, SpecError
from phasecube.engine.experiment import Params
from phasecube.engine.params import Param, branch_faults
from phasecube.engine.schedules import schedule_faults
from phasecube.sweeps.columns import Table, spread
from phasecube.sweeps.faults import first_few
from phasecube.sweeps.parents import PARENT_POINT
from phasecube.sweeps.pruner_rungs import rung_faults
from phasecube.sweeps.record_rule import cadence_faults, measures_of
from phasecube.sweeps.sweep import Sweep

MAX_RECORDS = 100_000
CrossCheck = Callable[[dict[str, Any]], list[tuple[str, str]]]


def combination_faults(
    sweep: Sweep, experiment: Any, schema: Mapping[str, Param], places: Mapping[str, str]
) -> tuple[list[Fault], list[Fault]]:
    """Return the faults of expressions, conditions, cadences, schedules, and of `Params.faults`;
    and what `Params.warnings` says.

    `places` says where the file sets each parameter.
    """
    try:
        table, _ = spread(sweep, schema)
    except SpecError as error:
        # A sampler may well find points where its stand-ins, the ends of the axes, have none.
        return [f for f in error.faults if not sweep.searched or f.path != "where"], []
    faults = _too_many_records(sweep, table)
    if not faults:
        measures = measures_of(experiment, sweep.record)
        faults += cadence_faults(sweep.record, measures, _lengths(table))
        if sweep.pruner is not None:
            faults += rung_faults(sweep.pruner, _lengths(table), _n_seeds(table))
    checks = cross_checks(experiment)
    if checks and PARENT_POINT not in table.columns:  # else the parents' names are not known yet
        checks.append((list(signature(branch_faults).parameters), lambda v: branch_faults(**v)))
    for names, check in checks:
        faults += _cross_faults(table, names, check, places, bool(sweep.searched))
    params_type = getattr(experiment, "params_type", None)
    # Asked of every combination: not where there is nothing to tell.
    if faults or params_type is None or params_type.warnings is Params.warnings:
        return faults, []
    names = list(params_type.model_fields)
    warnings = _cross_faults(table, names, lambda v: params_type(**v).warnings(), places, False)
    return [], warnings


def cross_checks(experiment: Any) -> list[tuple[Sequence[str], CrossCheck]]:
    """Return what judges parameters together: the names it reads, and (name, message) of them.

    The experiment's `Params.faults` and the schedules; a function has neither.
    """
    params_type = getattr(experiment, "params_type", None)
    if params_type is None:
        return []
    return [
        (list(params_type.model_fields), lambda v: params_type(**v).faults()),
        (list(signature(schedule_faults).parameters), lambda v: schedule_faults(**v)),
    ]


def _too_many_records(sweep: Sweep, table: Table) -> list[Fault]:
    """Return the cadences that no store could hold, before they are written out."""
    last = max(_lengths(table))
    faults = []
    for key in ("steps", "vector_steps"):
        cadence = getattr(sweep.record, key)
        every = getattr(cadence, "every", None)
        if every is not None and last // every > MAX_RECORDS:
            message = (
                f"every = {every} of {last:,} steps is {last // every:,} records a trial, more "
                f"than {MAX_RECORDS:,}; raise it, or use {{ log = 100 }}"
            )
            faults.append(Fault(f"record.{key}", message))
    return faults


def _lengths(table: Table) -> list[int]:
    """Return every number of steps that a trial takes."""
    column = table.columns.get("steps")
    return [table.constants["steps"]] if column is None else list(column.values)


def _n_seeds(table: Table) -> int:
    """Return how many seeds the trials have."""
    column = table.columns.get("seed")
    return 1 if column is None else len(np.unique(column.codes))


def _cross_faults(
    table: Table,
    names: Sequence[str],
    faults_of: CrossCheck,
    places: Mapping[str, str],
    some_will_do: bool,
) -> list[Fault]:
    """Return what `faults_of` says, asked once per combination of the parameters `names`.

    With `some_will_do` nothing is at fault as long as one combination is not.
    """
    found: dict[str, list[Fault]] = {}
    for values in table.values_at(names):
        of_these = faults_of(values)
        if some_will_do and not of_these:
            return []
        for name, message in of_these:
            path = places.get(name, f"fixed.{name}")
            found.setdefault(name, []).append(Fault(path, message))
    return [fault for faults in found.values() for fault in first_few(faults)]
