"""What speaks against everything a study says: half of it run, one seed, mixed code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from phasecube.analysis.caution import Caution, cautions_of
from phasecube.analysis.cube.opened import SCHEMA_VERSION
from phasecube.analysis.order_parameters import IN_ORDER
from phasecube.engine.record import Engine, Outcome

SEED = "seed"
# From a quarter on the survivors' median lies an eighth of all trials off the median of all.
MANY_DIVERGED = 0.25
LOST = (Outcome.FAILED, Outcome.OUT_OF_MEMORY)
Runs = Sequence[Mapping[str, Any]]


def study_cautions(ds: xr.Dataset, runs: Runs = ()) -> tuple[Caution, ...]:
    """Return what speaks against a study as a whole, empty where nothing does.

    Names: half_a_study, one_seed, many_diverged, failed_trials, several_engines,
    several_commits, several_versions, older_cube. `runs` are the lines of runs.jsonl: a row's
    `run` counts them from 1. Only how trials ended is read, no curve. First what was found at
    opening: damaged_cube, lost_records, and what a join says.
    """
    outcome = ds.outcome.compute()
    at_opening = {caution.name: caution for caution in cautions_of(ds.attrs)}
    found = (
        *at_opening.values(),
        None if "older_cube" in at_opening else _older(ds),
        _half(outcome),
        _one_seed(outcome),
        _diverged(outcome),
        _failed(outcome),
        _engines(ds, outcome),
        _commits(ds, outcome, runs),
        _versions(ds, outcome, runs),
    )
    return tuple(caution for caution in found if caution is not None)


def trained_by(ds: xr.Dataset, outcome: xr.DataArray) -> dict[int, int]:
    """Return how many settled trials each line of runs.jsonl trained, by its number."""
    if "run" not in ds:
        return {}
    settled = ~outcome.isin([Outcome.NOT_RUN, Outcome.NOT_PLANNED]).values
    runs = np.broadcast_to(ds.run.values, outcome.shape)[settled]
    numbers, counts = np.unique(runs[runs > 0], return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _older(ds: xr.Dataset) -> Caution | None:
    written = int(ds.attrs.get("schema_version", SCHEMA_VERSION))
    if written == SCHEMA_VERSION:
        return None
    return Caution(
        "older_cube",
        f"the cube was written by schema {written}, this is {SCHEMA_VERSION}; "
        "delete cube.zarr and open the study again to rebuild it from its rows",
    )


def _half(outcome: xr.DataArray) -> Caution | None:
    planned, waiting = _n(outcome != Outcome.NOT_PLANNED), _n(outcome == Outcome.NOT_RUN)
    if not waiting:
        return None
    return Caution(
        "half_a_study",
        f"{waiting:,} of {planned:,} trials have not ended; what stands here is of the others",
    )


def _one_seed(outcome: xr.DataArray) -> Caution | None:
    if SEED not in outcome.dims or outcome.sizes[SEED] < 2:
        if _n(outcome.isin(IN_ORDER)) == 0:
            return None
        return Caution(
            "one_seed", "every cell has one seed: how far chance moves a number is not known"
        )
    ended = outcome.isin(IN_ORDER).sum(SEED)
    alone, cells = _n(ended == 1), _n(ended > 0)
    if not alone:
        return None
    return Caution(
        "one_seed",
        f"{alone:,} of {cells:,} cells have one seed that ended in good order: an interval over "
        "seeds says nothing there",
    )


def _diverged(outcome: xr.DataArray) -> Caution | None:
    settled = _n(~outcome.isin([Outcome.NOT_RUN, Outcome.NOT_PLANNED]))
    diverged = _n(outcome == Outcome.DIVERGED)
    if diverged <= MANY_DIVERGED * settled:
        return None
    return Caution(
        "many_diverged",
        f"{diverged:,} of {settled:,} trials that ended diverged: a median or mean of final "
        "values speaks of the others only",
    )


def _failed(outcome: xr.DataArray) -> Caution | None:
    counts = {o: _n(outcome == o) for o in LOST}
    told = [f"{n:,} {o.name.lower().replace('_', ' ')}" for o, n in counts.items() if n]
    flags = [f"--{o.name.lower().replace('_', '-')}" for o, n in counts.items() if n]
    if not told:
        return None
    return Caution(
        "failed_trials",
        f"{', '.join(told)}: faults of the code or the machine, no result of training; "
        "`phasecube status STUDY` shows the last errors, `phasecube retry STUDY "
        f"{' '.join(flags)}` runs them again",
    )


def _engines(ds: xr.Dataset, outcome: xr.DataArray) -> Caution | None:
    counts = engines(ds, outcome)
    if len(counts) < 2:
        return None
    told = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    return Caution(
        "several_engines",
        f"{told}: rows of different engines differ by rounding; `[resources] engine` fixes one",
    )


def engines(ds: xr.Dataset, outcome: xr.DataArray) -> dict[str, int]:
    """Return how many settled trials each engine trained, by its name in words."""
    if "engine" not in ds:
        return {}
    settled = ~outcome.isin([Outcome.NOT_RUN, Outcome.NOT_PLANNED]).values
    used, counts = np.unique(
        np.broadcast_to(ds.engine.values, outcome.shape)[settled], return_counts=True
    )
    names = [Engine(int(code)).name.lower().replace("_", " ") for code in used]
    return {name: int(n) for name, n, code in zip(names, counts, used, strict=True) if code != 0}


def _commits(ds: xr.Dataset, outcome: xr.DataArray, runs: Runs) -> Caution | None:
    """Tell commits apart, and changes on top of a commit by the diff that was kept of them."""

    def code(run: Mapping[str, Any]) -> tuple[str, ...]:
        kept = run.get("snapshot") or {}
        states = ((n, run.get(f"{n}_code") or {}) for n in ("phasecube", "sweep"))
        return tuple(
            f"{name} {str(state.get('commit'))[:10]}"
            + (f" + {kept.get(name, 'changes')}" if state.get("dirty") else "")
            for name, state in states
            if state
        )

    return _apart(ds, outcome, runs, code, "several_commits", "rows were trained by different code")


def _versions(ds: xr.Dataset, outcome: xr.DataArray, runs: Runs) -> Caution | None:
    """Tell apart what decides the last bits beside the code: versions and the hardware."""

    def ground(run: Mapping[str, Any]) -> tuple[str, ...]:
        hardware = run.get("hardware") or {}
        told = {**(run.get("versions") or {}), **{n: hardware.get(n) for n in ("cpu", "device")}}
        gpus = {"gpus": ", ".join(sorted(set(hardware["gpus"])))} if hardware.get("gpus") else {}
        return tuple(f"{n} {v}" for n, v in {**told, **gpus}.items() if v is not None)

    what = "rows were trained by different versions or on different hardware"
    return _apart(ds, outcome, runs, ground, "several_versions", what)


def _apart(
    ds: xr.Dataset,
    outcome: xr.DataArray,
    runs: Runs,
    told: Callable[[Mapping[str, Any]], tuple[str, ...]],
    name: str,
    what: str,
) -> Caution | None:
    """Return a caution where the runs that trained rows differ in what `told` says of them."""
    groups: dict[str, tuple[tuple[str, ...], int]] = {}
    for number, n in trained_by(ds, outcome).items():
        if number > len(runs) or not runs[number - 1]:
            continue  # its line is torn or gone: nothing is known of it
        words = told(runs[number - 1])
        key = json.dumps(words)
        groups[key] = words, groups.get(key, (words, 0))[1] + n
    if len(groups) < 2:
        return None
    shared = set.intersection(*(set(words) for words, _ in groups.values()))
    said = "; ".join(
        f"{n:,} by {', '.join(w for w in words if w not in shared) or 'what is shared only'}"
        for words, n in groups.values()
    )
    return Caution(name, f"{what}: {said}")


def _n(mask: xr.DataArray) -> int:
    return int(mask.sum())
