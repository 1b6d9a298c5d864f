"""A study of 10^5 to 10^6 trials x 12 measures x 200 steps: made, consolidated, asked.

    python bench/scale.py [--trials 100000] [--folder /tmp] [--repeats 3] [--only WORD]

The study is made by the real plan and the real store. A curve is a power law that falls to a
floor, every trial with its own, with 2 % of multiplicative noise that is independent from step
to step: the mantissas are as hard to compress as those of measured losses. A fifth of the
trials was pruned and a twentieth diverged, each at a step of its own, so that the last record
of a trial is not the last of the cube. Every question is asked in a process of its own, which
tells its seconds (imports left out) and its peak memory (imports included); the best of
`--repeats` counts, NumPy and Dask in turns. Files are in the page cache as far as it reaches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the parent stays small: a child's peak begins at what its parent held
    import xarray as xr

SWEEP = """
name = "scale"
experiment = "trivial.py:Twelve"
fixed = {{ steps = 199 }}
[axes.lr]
geometric = {{ start = 1e-4, stop = 1e-1, count = {side} }}
[axes.weight_decay]
linear = {{ start = 0.0, stop = 1.5, count = {side} }}
[axes.curvature]
linear = {{ start = 1.0, stop = 4.0, count = 10 }}
[axes.seed]
integers = {{ start = 0, stop = 9 }}
[record]
steps = {{ every = 1 }}
[resources]
max_trials = 4_000_000
"""
NUMPY_TRIALS = 200_000  # above it plain NumPy would hold all measures at once: 10 GB and more
# Asked of the rows, then of the cube. With two ways: on NumPy and on Dask, in turns.
OF_ROWS = {"open": "", "map": "", "last of all": ""}
OF_CUBE = {
    "open": "plan + open <= 3 s",
    "map": "<= 10 s, <= 4 GB",
    "last of all": "",
    "query": "",
    "query all": "",
    "onset": "",
    "median": "<= 300 s, <= 6 GB",
    "quantiles": "<= 300 s, <= 6 GB",
}
ALL_STEPS = ("median", "quantiles")  # of every measure: what comes out is large too
Answer = dict[str, Any]


def make(study_path: Path, side: int) -> Answer:
    """Plan the study, make its store and write every pack as a worker does."""
    import numpy as np

    import phasecube
    from phasecube.engine.record import Engine, Outcome, PackRecord, Status
    from phasecube.engine.store import Store
    from phasecube.sweeps.plan import expand
    from phasecube.sweeps.sweep import parse_sweep

    folder = study_path.parent
    shutil.copy(Path(__file__).with_name("trivial.py"), folder)
    start = time.perf_counter()
    sweep = parse_sweep(SWEEP.format(side=side), folder)
    expand(sweep)
    plan_s = time.perf_counter() - start
    start = time.perf_counter()
    study = phasecube.Study.create(sweep, study_path)
    create_s = time.perf_counter() - start
    plan, store = study.plan, Store(study_path / "store.zarr")
    random = np.random.default_rng(0)
    n_steps = len(plan.rule.steps)
    age_S = np.log1p(np.arange(n_steps)).astype("f4")
    write_s = 0.0
    for pack in plan.packs():
        record = PackRecord.empty(plan.pack_size, plan.rule)
        shape_RM = record.scalars_RMS.shape[:2]
        fall_RM, floor_RM, top_RM = random.random((3, *shape_RM), np.float32)
        curves_RMS = np.exp(-(0.2 + fall_RM)[..., None] * age_S) * (1 + top_RM)[..., None]
        curves_RMS += floor_RM[..., None]
        noise_RMS = random.standard_normal(record.scalars_RMS.shape, np.float32)
        record.scalars_RMS[:] = curves_RMS * (1 + np.float32(0.02) * noise_RMS)
        fate_R = random.random(shape_RM[0])
        ended_R = np.where(fate_R < 0.25, random.integers(1, n_steps, shape_RM[0]), n_steps)
        outcome_R = np.where(fate_R < 0.25, Outcome.PRUNED, Outcome.DONE)
        record.status_RF[:, Status.OUTCOME] = np.where(fate_R < 0.05, Outcome.DIVERGED, outcome_R)
        record.status_RF[:, Status.N_RECORDED] = ended_R
        record.status_RF[:, Status.STOPPED_AT] = plan.rule.steps[ended_R - 1]
        record.status_RF[:, Status.ENGINE] = Engine.VMAP_FORWARD
        start = time.perf_counter()
        store.write_pack(int(pack), record)
        write_s += time.perf_counter() - start
    return {
        "seconds": plan_s + create_s + write_s,
        "plan_s": plan_s,
        "create_s": create_s,
        "write_s": write_s,
        "trials": plan.n_trials,
        "pack_size": plan.pack_size,
    }


def timed(action: Callable[[], Any]) -> Answer:
    """Return its seconds, of the clock and of all cores, and a number that tells what came out."""
    import numpy as np

    start, start_cpu = time.perf_counter(), time.process_time()
    found = action()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    return {"seconds": seconds, "cpu_s": cpu_s, "check": float(np.nansum(found))}


def measures(ds: xr.Dataset) -> list[str]:
    return [str(n) for n, v in ds.data_vars.items() if "step" in v.dims]


def summed(ds: xr.Dataset) -> list[float]:
    import numpy as np

    return [float(np.nansum(ds[name].values, dtype=np.float64)) for name in measures(ds)]


def ask(question: str, path: Path) -> Answer:
    """Answer one question in this process."""
    import dask  # noqa: F401 imports are not what is measured
    import numpy as np

    import phasecube
    from phasecube.analysis.cube.consolidate import consolidate
    from phasecube.analysis.cube.query import query
    from phasecube.analysis.cube.step_bins import quantiles
    from phasecube.analysis.order_parameters import final_value, onset

    what, _, kind = question.partition(" on ")
    start = time.perf_counter()
    if what == "consolidate":
        return timed(lambda: [len(consolidate(path).name)])
    if what == "open":
        return timed(lambda: [phasecube.open(path).sizes["step"]])
    ds = phasecube.open(path, chunks="auto" if kind == "Dask" else None)
    open_s = time.perf_counter() - start
    by_seed: dict[str, Any] = {"reduce": [("seed", "median")]}

    def median_of_all() -> list[float]:
        return summed(ds[measures(ds)].median("seed").compute())

    def quantiles_of_all() -> list[float]:
        return summed(quantiles(ds[measures(ds)], "seed", [0.25, 0.5, 0.75]).compute())

    actions: dict[str, Callable[[], Any]] = {
        "map": lambda: final_value(ds, "measure_3").median(["curvature", "seed"]).values,
        "last of all": lambda: [float(final_value(ds, n).sum()) for n in measures(ds)],
        "query": lambda: query(ds, **by_seed, measures=["measure_3"])["measure_3_seed_median"],
        "query all": lambda: query(ds, **by_seed).filter(like="seed_median").to_numpy(),
        "onset": lambda: onset(ds, "measure_3", 0.5, above=False).step.values,
        "median": median_of_all,
        "quantiles": quantiles_of_all,
    }
    found = timed(actions[what])
    return {
        **found,
        "seconds": found["seconds"] + open_s,
        "steps": np.prod(ds.sizes["step"]).item(),
    }


def in_a_child(question: str, path: Path, **more: int) -> Answer:
    """Return what a fresh process answers, with its peak memory in GB."""
    command = [sys.executable, __file__, "--child", question, "--folder", str(path)]
    command += [f"--{name}={value}" for name, value in more.items()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Answer = json.loads(done.stdout.splitlines()[-1])
    return found


def files_and_bytes(folder: Path) -> tuple[int, int]:
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return len(found), sum(path.stat().st_size for path in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--child", default="")
    parser.add_argument("--side", type=int, default=0)
    args = parser.parse_args()
    if args.child:
        found = (
            make(args.folder, args.side) if args.child == "make" else ask(args.child, args.folder)
        )
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(json.dumps({**found, "peak_gb": peak_gb}))
        return
    folder = args.folder / f"phasecube-scale-{args.trials}"
    try:
        table(folder, max(2, round((args.trials / 100) ** 0.5)), args)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


def table(folder: Path, side: int, args: argparse.Namespace) -> None:
    path = folder / "study"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = in_a_child("make", path, side=side)
        print(f"{made['trials']:,} trials x 12 measures x 200 steps, packs of {made['pack_size']}")
        for name in ("plan_s", "create_s", "write_s"):
            print(f"  {name:32}{made[name]:9.2f} s")
        print(f"  {'peak of all that':32}{'':22}{made['peak_gb']:8.2f} GB", flush=True)
    if not (path / "cube.zarr").exists():
        for question, aim in OF_ROWS.items():
            told("rows", question, aim, path, args)
        told("rows", "consolidate", "", path, args)
    for question, aim in OF_CUBE.items():
        if question in ALL_STEPS and side**2 * 100 > NUMPY_TRIALS:
            told("cube", question, aim, path, args, ways=("Dask",))
        else:
            told("cube", question, aim, path, args)
    for name in ("store.zarr", "cube.zarr"):
        n_files, n_bytes = files_and_bytes(path / name)
        print(f"  {name:32}{n_files:9,} files{n_bytes / 1e9:8.2f} GB")


def told(
    where: str,
    question: str,
    aim: str,
    path: Path,
    args: argparse.Namespace,
    ways: tuple[str, ...] = ("NumPy", "Dask"),
) -> None:
    """Ask in each way, in turns, and print the best of each."""
    if args.only not in question:
        return
    once = question in ("open", "consolidate")
    repeats = 1 if question == "consolidate" else args.repeats
    names = [question] if once else [f"{question} on {way}" for way in ways]
    found: dict[str, list[Answer]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            found[name].append(in_a_child(name, path))
    best = {name: min(answers, key=lambda a: a["seconds"]) for name, answers in found.items()}
    for name, one in best.items():
        cpu_s = min(a["cpu_s"] for a in found[name])
        line = f"  {where} {name:27}{one['seconds']:9.2f} s {cpu_s:9.2f} CPU s"
        print(f"{line}{one['peak_gb']:8.2f} GB  {one['check']:.9g}  {aim}", flush=True)
    if len(best) == 2:
        numpy, by_dask = best.values()
        if not abs(numpy["check"] - by_dask["check"]) <= 1e-9 * abs(numpy["check"]):
            raise SystemExit(f"{question}: Dask says something else than NumPy")
        ratio = by_dask["seconds"] / numpy["seconds"]
        print(f"       Dask / NumPy {ratio:.2f}  (aim: <= 1.3)")


if __name__ == "__main__":
    main()
