"""Datasets in the layout of the cube, made from curves whose onsets are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from phasecube.engine.record import Engine, Outcome


def study_dataset(
    coords: Mapping[str, Sequence[Any]],
    steps: Sequence[int],
    measures: Mapping[str, np.ndarray],
    outcome: np.ndarray | Outcome = Outcome.DONE,
    n_recorded: np.ndarray | int | None = None,
) -> xr.Dataset:
    """Return a cube over `coords` and step; `measures` (..., step) broadcast over the dims."""
    dims = list(coords)
    shape = tuple(len(v) for v in coords.values())
    recorded = np.broadcast_to(len(steps) if n_recorded is None else n_recorded, shape)
    written_S = np.arange(len(steps)) < recorded[..., None]
    ds = xr.Dataset(
        {
            name: (
                [*dims, "step"],
                np.where(written_S, np.broadcast_to(v, (*shape, len(steps))), np.nan).astype("f4"),
                {"units": "1", "long_name": name.replace("_", " ")},
            )
            for name, v in measures.items()
        },
        coords={**{k: np.asarray(v) for k, v in coords.items()}, "step": np.asarray(steps)},
    )
    ds["outcome"] = (dims, np.broadcast_to(outcome, shape).astype(np.uint8))
    ds["n_recorded"] = (dims, recorded.astype(np.int32))
    last = np.where(recorded > 0, np.asarray(steps)[np.maximum(recorded - 1, 0)], -1)
    ds["stopped_at"] = (dims, last.astype(np.int32))
    ds["engine"] = (dims, np.full(shape, Engine.VMAP_FORWARD, np.uint8))
    ds["run"] = (dims, np.zeros(shape, np.int32))
    return ds


def jump(steps: Sequence[int], at: Sequence[float] | np.ndarray | float) -> np.ndarray:
    """Return curves (..., step) that are 0 before `at` and 1 from it on; inf never jumps."""
    return (np.asarray(steps) >= np.asarray(at, float)[..., None]).astype(float)
