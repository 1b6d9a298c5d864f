"""What a page says of a study beside its figures: the plan, and where the numbers come from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.labels import format_value, name_and_unit, tick_labels
from phasecube.analysis.maps.phase_diagram import sweep_dims
from phasecube.analysis.report.study_cautions import trained_by

LISTED = 12  # values of an axis that are all written out
MOST_ORIGINS = 12
TIME = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class Facts:
    """What a page says of a study beside its Dataset; all optional.

    `study` is the folder's name, for the commands on the page; `runs` the lines of runs.jsonl,
    an empty one where a line is torn; `written` the first and the last write to the store.
    """

    packs: int | None = None
    runs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    study: str = "STUDY"
    written: tuple[str, str] | None = None


@dataclass(frozen=True)
class Origin:
    """Runs that agree in code, versions and hardware, and how many trials they trained."""

    runs: str
    started: str
    trials: int
    run: Mapping[str, Any]


def facts_of(study: Path, packs: int) -> Facts:
    """Return what the files of a study say."""
    return Facts(packs, read_runs(study / "runs.jsonl"), study.resolve().name, _written(study))


def read_runs(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the lines of runs.jsonl in their places; {} for one that was torn by a kill."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    runs = []
    for line in lines:
        try:
            run = json.loads(line)
        except ValueError:
            run = {}
        runs.append(run if isinstance(run, dict) else {})
    return tuple(runs)


def _written(study: Path) -> tuple[str, str] | None:
    """Return when the oldest and the newest file of the store's values were written."""
    files = (study / "store.zarr").glob("scalars/c*")
    times = [p.stat().st_mtime for p in files if p.is_file()]
    if not times:
        return None
    first, last = (time.strftime(TIME, time.gmtime(t)) for t in (min(times), max(times)))
    return first, last


def origins(ds: xr.Dataset, facts: Facts) -> tuple[list[Origin], int]:
    """Return where the rows come from, the origins of most trials first, and how many are left out.

    Runs that trained no row are left out wherever others did.
    """
    trained = trained_by(ds, ds.outcome.compute())
    groups: dict[str, list[int]] = {}
    for number, run in enumerate(facts.runs, 1):
        if run and (number in trained or not trained):
            told = {n: run.get(n) for n in ("phasecube_code", "sweep_code", "versions", "hardware")}
            key = json.dumps([told, run.get("host")], sort_keys=True, default=str)
            groups.setdefault(key, []).append(number)
    found = [_origin(numbers, facts.runs, trained) for numbers in groups.values()]
    found.sort(key=lambda origin: -origin.trials)
    return found[:MOST_ORIGINS], max(0, len(found) - MOST_ORIGINS)


def _origin(
    numbers: Sequence[int], runs: Sequence[Mapping[str, Any]], trained: Mapping[int, int]
) -> Origin:
    starts = [str(runs[n - 1]["started"]) for n in numbers if "started" in runs[n - 1]]
    if len(numbers) == 1:
        words = f"run {numbers[0]}"
    elif len(numbers) <= LISTED:
        words = f"runs {', '.join(map(str, numbers))}"
    else:
        words = f"{len(numbers):,} runs from {numbers[0]} to {numbers[-1]}"
    started = " to ".join(dict.fromkeys((min(starts), max(starts)))) if starts else "unknown"
    return Origin(words, started, sum(trained.get(n, 0) for n in numbers), runs[numbers[0] - 1])


def axes_of(ds: xr.Dataset) -> list[dict[str, Any]]:
    """Return name, meaning, number and values of each axis and of what lies along it."""
    found = []
    for dim in sweep_dims(ds):
        for name, coord in ds.coords.items():
            if coord.dims != (dim,):
                continue
            values = tick_labels(coord.values)
            text = ", ".join(values if len(values) <= LISTED else (*values[:5], "…", *values[-2:]))
            found.append(
                {
                    "name": str(name),
                    "along": "" if name == dim else dim,
                    "label": name_and_unit(coord),
                    "n": len(values),
                    "values": text,
                }
            )
    return found


def fixed_of(ds: xr.Dataset) -> list[tuple[str, str]]:
    """Return the parameters that all trials share, with their values; "none" for an empty one."""
    values = json.loads(ds.attrs.get("fixed", "{}"))
    return [(name, format_value(value) or "none") for name, value in sorted(values.items())]


def recorded_of(ds: xr.Dataset) -> list[tuple[str, str, str]]:
    """Return name, meaning and kind ("" or the labels' dim) of each measure."""
    dims = {*sweep_dims(ds), "step", "vector_step"}
    return [
        (str(n), name_and_unit(v), ", ".join(str(d) for d in v.dims if d not in dims))
        for n, v in ds.data_vars.items()
        if {"step", "vector_step"} & set(v.dims)
    ]


def steps_of(ds: xr.Dataset) -> str:
    """Return the recorded steps in words."""
    steps = ds.step.values
    if len(steps) < 2:
        return f"step {', '.join(map(str, steps))}"
    gaps = np.unique(np.diff(steps))
    spacing = f"every {gaps[0]}" if len(gaps) == 1 else f"{gaps[0]} to {gaps[-1]} apart"
    return f"{len(steps)} steps from {steps[0]} to {steps[-1]}, {spacing}"


def seeds_of(ds: xr.Dataset) -> str:
    """Return the seeds of the study in words."""
    if "seed" in ds.coords and ds.seed.ndim == 1:
        values = tick_labels(ds.seed.values)
        text = ", ".join(values if len(values) <= LISTED else (*values[:3], "…", values[-1]))
        return f"{len(values)} ({text})"
    fixed = json.loads(ds.attrs.get("fixed", "{}"))
    return f"one ({fixed['seed']})" if "seed" in fixed else "no axis of seeds"
