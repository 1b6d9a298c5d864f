"""Rows to fit a law to, from a cube: one a trial at its end, or one a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.lines import recorded
from phasecube.analysis.scaling.points import Points, points_of
from phasecube.analysis.slices import value_at
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome
from phasecube.sweeps.expression import Expression

STEP = "step"
RUN = "run"  # the trial a row is of


def points_from_cube(
    ds: xr.Dataset, measure: str, features: Mapping[str, str], *, step: int | None = None
) -> Points:
    """Return a measure of every trial that ended in good order, at its last record or at `step`.

    `features` maps a law's features to expressions over the sweep's parameters, as
    {"N": "12 * depth * width**2", "D": "steps * batch"}. Where one reads `step`, every record
    is a row, and the rows of a trial are one run. Trials left out are counted in a caution.
    Raises StudyError for a name that the study does not have and for a value that is no number.
    """
    expressions = {name: _expression(text) for name, text in features.items()}
    whole_curves = any(STEP in e.names for e in expressions.values())
    if whole_curves:
        values, dim = recorded(ds, measure)
        values = values.where(ds.outcome.isin([Outcome.DONE, Outcome.PRUNED])).rename({dim: STEP})
    else:
        values = value_at(ds, measure, step)
    frame = values.rename("y").to_dataframe().reset_index()
    frame[RUN] = pd.factorize(_places(frame, values))[0].astype(str)
    missing = frame["y"].isna()
    rows = frame.loc[~missing.to_numpy()].reset_index(drop=True)
    if not len(rows):
        raise StudyError(f"no trial has a value of {measure} yet")
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    for name, expression in expressions.items():
        rows[f"feature {name}"] = _evaluated(expression, features[name], rows, fixed)
    found = points_of(
        rows, "y", {name: f"feature {name}" for name in features}, run=RUN, keep_repeated=True
    )
    n_left_out = int((ds.outcome.isin([Outcome.DIVERGED, Outcome.FAILED])).sum())
    open_ = int((ds.outcome == Outcome.NOT_RUN).sum())
    cautions = list(found.cautions)
    if n_left_out:
        cautions.append(Caution("trials_left_out", f"{n_left_out} diverged or failed"))
    if open_:
        cautions.append(Caution("half_a_study", f"{open_} trials have not ended yet"))
    return replace(found, cautions=tuple(cautions))


def _places(frame: pd.DataFrame, values: xr.DataArray) -> Any:
    dims = [d for d in values.dims if d != STEP]
    return frame[[str(d) for d in dims]].apply(tuple, axis=1) if dims else np.zeros(len(frame))


def _expression(text: str) -> Expression:
    try:
        return Expression(text)
    except ValueError as error:
        raise StudyError(str(error)) from error


def _evaluated(
    expression: Expression, text: str, rows: pd.DataFrame, fixed: Mapping[str, Any]
) -> np.ndarray:
    known = {**fixed, **{str(c): None for c in rows.columns if c not in ("y", RUN)}}
    unknown = [name for name in expression.names if name not in known]
    if unknown:
        raise StudyError(
            f"{text!r} reads {', '.join(unknown)}; here there are {', '.join(sorted(known))}"
        )
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
