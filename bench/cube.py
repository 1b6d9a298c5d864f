"""The store and the cube at 10,240 trials x 12 measures x 200 steps.

    python bench/cube.py

Rows of noise are written pack by pack as workers do, consolidated, opened and read.
Beside each reading stands the same question asked of the row store, and of one
.npz file per trial (what a folder of results is), in the same run on the same disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import phasecube
from phasecube.analysis.cube.consolidate import consolidate
from phasecube.engine.record import Engine, Outcome, PackRecord, Status
from phasecube.engine.store import Store
from phasecube.sweeps.sweep import parse_sweep

N_FILES_PER_TRIAL = 2_000  # of the 10,240: the rest would only take longer
SWEEP = """
name = "cube"
experiment = "trivial.py:Twelve"
fixed = { steps = 199 }
[axes.lr]
geometric = { start = 1e-4, stop = 1e-1, count = 32 }
[axes.weight_decay]
linear = { start = 0.0, stop = 1.5, count = 16 }
[axes.curvature]
linear = { start = 1.0, stop = 4.0, count = 4 }
[axes.seed]
integers = { start = 0, stop = 4 }
[record]
steps = { every = 1 }
"""


def best_s(action: Callable[[], Any], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def files_and_bytes(folder: Path) -> tuple[int, int]:
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return len(found), sum(path.stat().st_size for path in found)


def fill(study: phasecube.Study) -> float:
    """Write every pack as a worker does; seconds."""
    random = np.random.default_rng(0)
    store, plan = Store(study.path / "store.zarr"), study.plan
    seconds = 0.0
    for pack in plan.packs():
        record = PackRecord.empty(plan.pack_size, plan.rule)
        record.scalars_RMS[:] = random.standard_normal(record.scalars_RMS.shape).cumsum(-1)
        record.status_RF[:, Status.OUTCOME] = Outcome.DONE
        record.status_RF[:, Status.N_RECORDED] = len(plan.rule.steps)
        record.status_RF[:, Status.STOPPED_AT] = plan.rule.steps[-1]
        record.status_RF[:, Status.ENGINE] = Engine.VMAP_FORWARD
        start = time.perf_counter()
        store.write_pack(int(pack), record)
        seconds += time.perf_counter() - start
    return seconds


def files_per_trial(ds: xr.Dataset, folder: Path) -> tuple[float, float]:
    """Seconds to write one file per trial, and to read one measure's last value of all."""
    names = [str(n) for n in ds.data_vars if str(n).startswith("measure_")]
    flat = {n: ds[n].values.reshape(-1, ds.sizes["step"])[:N_FILES_PER_TRIAL] for n in names}
    start = time.perf_counter()
    for trial in range(N_FILES_PER_TRIAL):
        np.savez(folder / f"{trial}.npz", **{n: values[trial] for n, values in flat.items()})
    written = time.perf_counter() - start

    def read() -> list[float]:
        found = []
        for trial in range(N_FILES_PER_TRIAL):
            with np.load(folder / f"{trial}.npz") as file:
                found.append(file["measure_3"][-1])
        return found

    return written, best_s(read, 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "trivial.py").write_text(Path(__file__).with_name("trivial.py").read_text())
        study = phasecube.Study.create(parse_sweep(SWEEP, folder), folder / "study")
        n = study.plan.n_trials
        write_s = fill(study)

        def open_rows() -> xr.Dataset:
            return phasecube.open(study.path)

        rows_open_s = best_s(open_rows)
        rows = open_rows()
        rows_last_s = best_s(lambda: open_rows().measure_3.isel(step=-1).values)
        start = time.perf_counter()
        consolidate(study.path)
        consolidate_s = time.perf_counter() - start
        open_s = best_s(lambda: phasecube.open(study.path))
        ds = phasecube.open(study.path)
        last_s = best_s(lambda: phasecube.open(study.path).measure_3.isel(step=-1).values)
        argmin_s = best_s(lambda: ds.measure_3.isel(step=-1).mean("seed").argmin("lr").values)
        every_s = best_s(lambda: ds.mean("seed").compute(), 2)
        if not np.array_equal(rows.measure_3.values, ds.measure_3.values):
            raise SystemExit("the cube is not the rows")
        code = f"import phasecube; phasecube.open({str(study.path)!r})"
        cold_s = best_s(lambda: subprocess.run([sys.executable, "-c", code], check=True), 3)
        store_files, store_bytes = files_and_bytes(study.path / "store.zarr")
        cube_files, cube_bytes = files_and_bytes(study.path / "cube.zarr")
        npz = folder / "npz"
        npz.mkdir()
        npz_write_s, npz_read_s = files_per_trial(ds, npz)
    scale = n / N_FILES_PER_TRIAL
    print(f"{n:,} trials x 12 measures x 200 steps, {n * 12 * 200 * 4 / 1e6:.0f} MB of float32")
    rows_of_table = [
        ("write all packs", write_s, f"{1e3 * write_s / n:.3f} ms a trial"),
        ("  one .npz per trial", npz_write_s * scale, f"x {npz_write_s * scale / write_s:.1f}"),
        ("consolidate into the cube", consolidate_s, f"{1e3 * consolidate_s / n:.3f} ms a trial"),
        ("open the cube, warm", open_s, "aim: <= 0.1 s"),
        ("open the row store", rows_open_s, f"x {rows_open_s / open_s:.1f}"),
        ("open in a cold process", cold_s, "imports included"),
        ("last value of one measure: cube", last_s, "aim: <= 0.05 s, opening included"),
        ("  row store", rows_last_s, f"x {rows_last_s / last_s:.1f}"),
        ("  one .npz per trial", npz_read_s * scale, f"x {npz_read_s * scale / last_s:.0f}"),
        ("best lr of each cell (argmin)", argmin_s, ""),
        ("mean over seeds, all measures", every_s, ""),
    ]
    for name, seconds, remark in rows_of_table:
        print(f"  {name:34}{seconds:9.4f} s   {remark}")
    print(f"  store.zarr {store_files} files, {store_bytes / 1e6:.0f} MB")
    print(f"  cube.zarr  {cube_files} files, {cube_bytes / 1e6:.0f} MB")
    print(f"  in all     {store_files + cube_files} files (aim: <= 1,000)")


if __name__ == "__main__":
    main()
