"""What it takes to export a study and to bin its curves: seconds and peak memory by size.

    python bench/export.py [--trials 100000] [--steps 50 200] [--folder /tmp]

A made-up cube of four measures of noise and one vector measure, in the chunks that `consolidate`
chooses. Every question has a process of its own: its seconds without imports and its peak memory,
imports included; `open` reads one row of cells. What holds one window of each measure at once
does not grow with the steps.
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
import warnings
from pathlib import Path
from typing import Any

MEASURES, LABELS, VECTOR_STEPS = 4, 8, 5
TASKS = ("open", "curves", "vectors", "netcdf", "binned numpy", "binned dask")


def make(path: Path, n_trials: int, n_steps: int) -> None:
    """Write the cube measure by measure."""
    import numpy as np
    import xarray as xr

    from phasecube.analysis.cube.chunking import chunks_on_disk

    side = n_trials // 10
    dims, shape = ("lr", "seed"), (side, 10)
    rng = np.random.default_rng(0)
    coords = {"lr": np.geomspace(1e-4, 1, side), "seed": np.arange(10), "step": np.arange(n_steps)}
    text = np.dtypes.StringDType()
    digests = np.array([f"{i:032x}" for i in range(side * 10)], text)
    small = {
        "outcome": (dims, np.ones(shape, np.uint8)),
        "n_recorded": (dims, np.full(shape, n_steps, np.int32)),
        "digest": (dims, digests.reshape(shape)),
    }
    xr.Dataset(small, coords).to_zarr(path, zarr_format=3)
    curves = {f"m{i}": ("step", (n_steps,)) for i in range(MEASURES)}
    for name, (_, inner) in curves.items():
        values = rng.normal(size=(*shape, *inner)).astype("f4")
        _append(path, name, xr.Variable((*dims, "step"), values), chunks_on_disk)
    vector = rng.normal(size=(*shape, VECTOR_STEPS, LABELS)).astype("f4")
    _append(path, "norm", xr.Variable((*dims, "vector_step", "layer"), vector), chunks_on_disk)


def _append(path: Path, name: str, variable: Any, chunks_on_disk: Any) -> None:
    import numpy as np
    import xarray as xr

    coords = {}
    if "layer" in variable.dims:
        coords = {
            "vector_step": np.arange(VECTOR_STEPS) * 10,
            "layer": np.array([f"l{i}" for i in range(LABELS)], np.dtypes.StringDType()),
        }
    encoding = {name: {"chunks": chunks_on_disk(variable)}}
    xr.Dataset({name: variable}, coords).to_zarr(path, mode="a", encoding=encoding)


def ask(path: Path, task: str, folder: Path) -> dict[str, Any]:
    """Return seconds and peak memory of one task."""
    import numpy as np
    import xarray as xr

    from phasecube.analysis.cube.chunking import in_chunks
    from phasecube.analysis.cube.export import write_netcdf
    from phasecube.analysis.cube.long_tables import write_curves, write_vectors
    from phasecube.analysis.cube.step_bins import binned

    ds = xr.open_zarr(path, chunks=None)
    lazy = in_chunks(ds, "auto")
    scalars = [f"m{i}" for i in range(MEASURES)]
    target = folder / "out"
    start = time.perf_counter()
    if task == "curves":
        write_curves(lazy, target)
    elif task == "vectors":
        write_vectors(lazy, "layer", target)
    elif task == "netcdf":
        write_netcdf(lazy, target)
    elif task == "binned numpy":
        binned(ds[scalars].load(), 10)
    elif task == "binned dask":
        binned(lazy[scalars], 10).compute()
    else:
        assert np.isfinite(lazy.m0.isel(lr=0).values).all()
    seconds = time.perf_counter() - start
    size = target.stat().st_size / 2**20 if target.exists() else 0.0
    target.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_GB": peak, "file_MB": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of zarr, about consolidated metadata
    if asked.make:
        make(asked.make, asked.trials, asked.steps[0])
        return
    if asked.task:
        path, task = Path(asked.task[0]), asked.task[1]
        print(json.dumps(ask(path, task, path.parent)))
        return
    print(f"{asked.trials:,} trials x {MEASURES} measures, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"{'task':14} {'steps':>6} {'s':>7} {'peak GB':>8} {'file MB':>8}")
    for steps in asked.steps:
        folder = Path(tempfile.mkdtemp(dir=asked.folder))
        try:
            made = [sys.executable, __file__, "--trials", str(asked.trials)]
            made += ["--steps", str(steps), "--make", str(folder / "c.zarr")]
            subprocess.run(made, check=True)
            for task in TASKS:
                command = [sys.executable, __file__, "--task", str(folder / "c.zarr"), task]
                found = json.loads(
                    subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                )
                print(f"{task:14} {steps:6} {found['seconds']:7.1f} {found['peak_GB']:8.2f} "
                      f"{found['file_MB']:8.0f}", flush=True)  # fmt: skip
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
