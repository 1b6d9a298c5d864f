"""The trials behind each figure of a report: how many, how they ended, and their digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from phasecube.analysis.cube.selection import chosen
from phasecube.analysis.labels import in_words
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.analysis.report.outcome_places import MEANINGS, outcome_sentence
from phasecube.analysis.report.outcome_places import in_words as named
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

ROWS_IN_TEXT = 100_000  # more trials are written as Parquet, once for the whole study
MOST_FILES = 40  # one file a selection; with more selections all share that of the study


@dataclass(frozen=True)
class Behind:
    """What a figure says of its trials, and the file that names them, empty where none does."""

    sentence: str
    href: str


@dataclass
class FigureTrials:
    """Writes one table of trials for each selection that some figure shows."""

    ds: xr.Dataset
    folder: Path
    _known: dict[str, Behind] = field(default_factory=dict)

    def behind(self, select: Mapping[str, Any]) -> Behind:
        """Return what is known of the trials at the values of `select`, and write their table."""
        key = in_words(select)
        if key not in self._known:
            self._known[key] = self._found(select)
        return self._known[key]

    def _found(self, select: Mapping[str, Any]) -> Behind:
        try:
            part, meant = chosen(self.ds, select)
        except StudyError:  # a figure that picks places no selection can name
            part, meant = chosen(self.ds, {})
        outcome = part.outcome.where(meant, int(Outcome.NOT_PLANNED))
        counts = {o: int((outcome == o).sum()) for o in MEANINGS}
        return Behind(outcome_sentence(counts), self._written(part, meant))

    def _written(self, part: xr.Dataset, meant: xr.DataArray) -> str:
        if "digest" not in part:
            return ""
        large = self.ds.outcome.size > ROWS_IN_TEXT
        if large or len(self._known) >= MOST_FILES:
            part, meant = chosen(self.ds, {})
        files = self.folder / "tables"
        stem = (
            "trials" if bool(meant.size == self.ds.outcome.size) else f"trials-{len(self._known)}"
        )
        path = files / f"{stem}.{'parquet' if large else 'csv'}"
        if not path.exists():
            table = trials_table(part, meant)
            if large:
                table.to_parquet(path, index=False)
            else:
                table.to_csv(path, index=False)
        return f"tables/{path.name}"


def trials_table(ds: xr.Dataset, meant: xr.DataArray) -> pd.DataFrame:
    """Return one row a planned trial that is meant: its place on the axes, outcome and digest."""
    dims = sweep_dims(ds)
    outcome = ds.outcome.transpose(*dims).values
    at = np.nonzero((meant.transpose(*dims).values) & (outcome != Outcome.NOT_PLANNED))
    columns: dict[str, Any] = {}
    for name, coord in ds.coords.items():
        if coord.dims and set(coord.dims) <= set(dims):
            values = coord.transpose(*(d for d in dims if d in coord.dims)).values
            columns[str(name)] = values[
                tuple(at[dims.index(str(d))] for d in dims if d in coord.dims)
            ]
    names = {int(o): named(o) for o in Outcome}
    columns["outcome"] = pd.Series(outcome[at]).map(names).to_numpy()
    for name in ("n_recorded", "stopped_at", "run"):
        if name in ds:
            columns[name] = ds[name].broadcast_like(ds.outcome).transpose(*dims).values[at]
    digest = ds.digest.broadcast_like(ds.outcome).transpose(*dims).values[at]
    columns["digest"] = digest.astype(object)
    return pd.DataFrame(columns)
