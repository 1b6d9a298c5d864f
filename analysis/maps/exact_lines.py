"""Boundaries that are known in closed form or to quadrature, by the names a sweep file gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from phasecube.engine.errors import StudyError


def _quadratic_mean_square(values: Mapping[str, float]) -> float:
    from phasecube.engine.tasks.sgd_stability import gaussian_mean_square_lr

    return gaussian_mean_square_lr(values["batch"], values["dimension"])


def _sphere_mean_square(values: Mapping[str, float]) -> float:
    from phasecube.engine.tasks.sgd_stability import sphere_mean_square_lr

    return sphere_mean_square_lr(values["batch"], values["dimension"])


def _quadratic_almost_sure(values: Mapping[str, float]) -> float:
    from phasecube.engine.tasks.sgd_stability import gaussian_almost_sure_lr

    return gaussian_almost_sure_lr(int(values["batch"]), int(values["dimension"])).value


def _directpred_collapse(values: Mapping[str, float]) -> float:
    from phasecube.engine.tasks.directpred import critical_decay

    return critical_decay(values["augmentation"], values["target_ratio"])


@dataclass(frozen=True)
class ExactLine:
    """A boundary known in closed form: what it is called, and the parameters it takes."""

    label: str
    parameters: tuple[str, ...]
    lr: Callable[[Mapping[str, float]], float]


EXACT: Mapping[str, ExactLine] = {
    "sgd_gaussian_mean_square": ExactLine(
        "mean square, 2B / (d + 1 + B)", ("batch", "dimension"), _quadratic_mean_square
    ),
    "sgd_sphere_mean_square": ExactLine(
        "mean square, 2B / (d − 1 + B)", ("batch", "dimension"), _sphere_mean_square
    ),
    "sgd_gaussian_almost_sure": ExactLine(
        "almost every run, Lyapunov exponent 0", ("batch", "dimension"), _quadratic_almost_sure
    ),
    "quartic_convergence": ExactLine("2 / sharpness = 1", (), lambda _: 1.0),
    "quartic_divergence": ExactLine("divergence at 2", (), lambda _: 2.0),
    "directpred_collapse": ExactLine(
        "collapse, τ² / (4 (1 + s²))", ("augmentation", "target_ratio"), _directpred_collapse
    ),
}


def exact_line(
    name: str, places: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]
) -> np.ndarray:
    """Return the exact learning rate at each place: `places` holds columns of one length.

    `fixed` fills in what no column gives. Raises StudyError where the line is unknown or
    lacks a parameter.
    """
    if name not in EXACT:
        raise StudyError(f"exact: there is no line {name!r}; there are {', '.join(EXACT)}")
    line = EXACT[name]
    for parameter in line.parameters:
        if parameter not in places and parameter not in fixed:
            raise StudyError(f"the exact line {name} needs {parameter!r}, which the study lacks")
    n = max((len(column) for column in places.values()), default=1)
    rows = [
        {p: float(places[p][i] if p in places else fixed[p]) for p in line.parameters}
        for i in range(n)
    ]
    return np.array([line.lr(row) for row in rows])


def fixed_numbers(ds: xr.Dataset) -> dict[str, float]:
    """Return the numbers that all trials of a study share."""
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    return {n: v for n, v in fixed.items() if isinstance(v, int | float)}
