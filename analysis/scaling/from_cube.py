"""Rows to fit a law to, from a cube: one a trial at its end, or one a record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.cube.joined import STUDY
from phasecube.analysis.lines.arranged import recorded
from phasecube.analysis.lines.slices import value_at
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.analysis.order_parameters import IN_ORDER
from phasecube.analysis.report.study_cautions import study_cautions
from phasecube.analysis.scaling.convention import Convention, Count, Flop, declared_features
from phasecube.analysis.scaling.points import Points, points_of
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.expression import Expression

STEP = "step"
TRAINED = "steps_trained"  # of the record that counts, in the expressions of declared counts
RUN = "run"  # the trial a row is of
CELL = "cell"
FEATURE = " (feature)"
DECAYING = ("cosine",)  # schedules under which a run half way is no run of half the length
TOLD = frozenset({"half_a_study", "one_seed", "older_cube", "several_versions"})
Records = Literal["last", "all"]


@dataclass(frozen=True)
class Asked:
    """What rows are made of; the options of the analyses of the same names.

    `features` None: those that the experiment declares, for a law of `needed`.
    """

    measure: str
    features: Mapping[str, str] | None = None
    needed: tuple[str, ...] = ("N", "D")
    step: int | None = None
    records: Records = "last"
    from_step: int = 0
    average: tuple[str, ...] = ()
    count: Count = "all"
    flop: Flop = "6ND"


def points_from_cube(
    ds: xr.Dataset, measure: str, features: Mapping[str, str] | None = None, **options: Any
) -> Points:
    """Return a measure of every trial that ended in good order, at its last record or at `step`.

    `features` maps a law's features to expressions over the sweep's parameters, as
    {"N": "12 * depth * width**2", "D": "steps * batch"}. Where one reads `step`, or with
    records = "all", every record is a row, and the rows of a trial are one run; records at which
    a feature is 0, as D before the first step, are left out. Options are the fields of Asked.
    Trials left out are counted in a caution.
    Raises StudyError for a name that the study does not have and for a value that is no number.
    """
    return rows_of(ds, Asked(measure, features, **options))


def rows_of(ds: xr.Dataset, asked: Asked) -> Points:
    """Return the rows of a cube; `points_from_cube` says which."""
    cautions = _of_the_study(ds)
    every = asked.records == "all" or any(
        STEP in _expression(text).names for text in (asked.features or {}).values()
    )
    features = asked.features or declared_features(
        ds.attrs, set(asked.needed), asked.count, asked.flop, TRAINED
    )
    values, cell_dims, said = _values(ds, asked, every=every)
    cautions += said
    frame = values.rename("y").to_dataframe().reset_index()
    dims = [str(d) for d in values.dims]
    frame[RUN] = _codes(frame, [d for d in dims if d != STEP])
    frame[CELL] = _codes(frame, [d for d in dims if d not in cell_dims])
    if STEP in frame:
        frame[TRAINED] = frame[STEP]
        frame = frame.loc[frame[STEP] >= asked.from_step]
    rows = frame.loc[~frame["y"].isna().to_numpy()].reset_index(drop=True)
    if not len(rows):
        raise StudyError(f"no trial has a value of {asked.measure} yet")
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    for name, text in features.items():
        rows[_column(name)] = _evaluated(_expression(text), text, rows, fixed)
    if every:
        at_none = (rows[[_column(n) for n in features]] == 0).any(axis=1) & (rows[STEP] == 0)
        rows = rows.loc[~at_none].reset_index(drop=True)
        if fixed.get("schedule") in DECAYING:
            cautions.append(
                Caution(
                    "records_under_a_decaying_rate",
                    f"with a {fixed['schedule']} schedule a run half way is no run of half the "
                    'length: take records = "last"',
                )
            )
    _check_y(rows, asked.measure, dims)
    found = points_of(
        rows, "y", {name: _column(name) for name in features}, run=RUN, keep_repeated=True
    )
    declared = asked.features is None
    convention = Convention(asked.count if declared else "", "exact" if "C" in features else "6ND")
    read = tuple(f"{name} = {text}" for name, text in features.items())
    found = replace(
        found,
        cautions=(*found.cautions, *cautions),
        convention=convention,
        read=(f"y = {asked.measure}", *read),
        cell_N=rows[CELL].to_numpy(),
        sorts={},
    )
    return found.averaged() if cell_dims else found


def _values(
    ds: xr.Dataset, asked: Asked, *, every: bool
) -> tuple[xr.DataArray, set[str], list[Caution]]:
    """Return y, the dims it is averaged over, and what was left out."""
    cell_dims = {d for d in asked.average if d in ds.outcome.dims}
    unknown = set(asked.average) - set(sweep_dims(ds)) - {"seed"}
    if unknown:
        raise StudyError(
            f"average names {', '.join(sorted(unknown))}; the axes are {', '.join(sweep_dims(ds))}"
        )
    final = value_at(ds, asked.measure, asked.step)
    cautions: list[Caution] = []
    in_order = ds.outcome.isin(IN_ORDER)
    lost = int((in_order & final.isnull()).sum())
    if lost:
        message = f"{lost} trials ended in good order without a value of {asked.measure}; left out"
        cautions.append(Caution("rows_without_a_number", message))
    if every:
        values, dim = recorded(ds, asked.measure)
        return values.where(in_order).rename({dim: STEP}), cell_dims, cautions
    trained = ds.stopped_at if asked.step is None else xr.full_like(ds.stopped_at, asked.step)
    if asked.step is None and "cadence_steps" in ds[asked.measure].attrs:
        values, dim = recorded(ds, asked.measure)
        trained = values[dim].where(values.notnull()).max(dim)
    return final.assign_coords({TRAINED: trained}), cell_dims, cautions


def _column(feature: str) -> str:
    """Return the column of a feature; its name comes first, where no unit is read: M is D / N."""
    return feature + FEATURE


def _of_the_study(ds: xr.Dataset) -> list[Caution]:
    found = [c for c in study_cautions(ds) if c.name in TOLD]
    n_left_out = int((ds.outcome.isin([Outcome.DIVERGED, Outcome.FAILED])).sum())
    if n_left_out:
        found.append(Caution("trials_left_out", f"{n_left_out} diverged or failed"))
    if STUDY in ds.dims and "schema_version" not in ds.attrs:
        found.append(
            Caution("schema_versions_differ", "the joined cubes were written by several schemas")
        )
    if ds.attrs.get("conflicts"):
        found.append(Caution("studies_differ", "; ".join(map(str, ds.attrs["conflicts"]))))
    return found


def _check_y(rows: pd.DataFrame, measure: str, dims: Sequence[str]) -> None:
    bad = rows.loc[rows["y"] <= 0]
    if len(bad):
        where = ", ".join(f"{d} = {bad.iloc[0][d]}" for d in dims if d in rows)
        raise StudyError(
            f"{measure} is {bad.iloc[0]['y']:g} at {where}: a power law needs values above 0; fit "
            "an error or a loss, and not what was taken off one"
        )


def _codes(frame: pd.DataFrame, dims: Sequence[str]) -> Any:
    """Return one name for each place on some dims."""
    if not dims:
        return np.zeros(len(frame), np.int64).astype(str)
    return frame.groupby(list(dims), sort=False, dropna=False).ngroup().astype(str)


def _expression(text: str) -> Expression:
    try:
        return Expression(text)
    except ValueError as error:
        raise StudyError(str(error)) from error


def _evaluated(
    expression: Expression, text: str, rows: pd.DataFrame, fixed: Mapping[str, Any]
) -> np.ndarray:
    own = ("y", RUN, CELL)
    known = {**fixed, **{str(c): None for c in rows.columns if c not in own}}
    unknown = [name for name in expression.names if name not in known]
    if unknown:
        told = sorted(k for k in known if not k.endswith(FEATURE) and k != TRAINED)
        raise StudyError(f"{text!r} reads {', '.join(unknown)}; here there are {', '.join(told)}")
    read = [name for name in expression.names if name in rows.columns]
    constants = {name: fixed[name] for name in expression.names if name not in read}
    if not read:
        return np.full(len(rows), _number(expression, text, constants))
    code, combinations = pd.factorize(rows[read].apply(tuple, axis=1))
    values = [
        _number(expression, text, {**constants, **dict(zip(read, map(_plain, at), strict=True))})
        for at in combinations
    ]
    return np.asarray(values)[code]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _number(expression: Expression, text: str, at: Mapping[str, Any]) -> float:
    try:
        return float(expression(at))
    except (TypeError, ValueError) as error:
        raise StudyError(f"{text!r} gives no number here: {error}") from error
