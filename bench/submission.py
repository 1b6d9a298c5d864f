"""1,000 array tasks are submitted: seconds, calls of sbatch, files; and how fast `status` is then.

    python bench/submission.py [--tasks 1000] [--trials 100000] [--run-tasks 20]

On a real Slurm whose nodes are drained, so that nothing starts; beside submitit's own
map_array of as many tasks in the same run. Files in all are counted on a smaller study
whose tasks do run. Needs slurmctld, slurmd and munged (on Debian: slurm-wlm munge).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "slurm"))

from lab import SlurmLab

from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.run_study import run_study
from phasecube.cluster.slurm.executor import Slurm
from phasecube.cluster.slurm.settings import resolve
from phasecube.cluster.slurm.submit import submit_missing
from phasecube.cluster.study import STORE, Study
from phasecube.cluster.task_marker import TaskMarker, write_marker
from phasecube.engine.record import Outcome, PackRecord, Status
from phasecube.sweeps.sweep import parse_sweep

PACKS_PER_TASK = 2
REPEATS = 5
SWEEP = """
name = "submission"
experiment = "linear_teacher"
fixed = { steps = 20 }
[axes.lr]
values = [0.003, 0.01]
[axes.seed]
integers = { start = 1, stop = SEEDS }
[record]
steps = { every = 10 }
[resources]
pack_size = SIZE
engine = "vmap"
lanes = 25
[cluster.slurm]
walltime = "30min"
packs_per_job = 2
drift = "warn"
"""


def study_of(folder: Path, trials: int, tasks: int) -> Study:
    size = max(1, trials // (tasks * PACKS_PER_TASK))
    text = SWEEP.replace("SEEDS", str(trials // 2)).replace("SIZE", str(size))
    return Study.create(parse_sweep(text, Path(), "submission"), folder)


def files(folder: Path, leave: str = "") -> int:
    found = (p for p in folder.rglob("*") if p.is_file())
    return sum(leave not in p.relative_to(folder).parts for p in found)


@contextmanager
def counted_sbatch(folder: Path) -> Iterator[Callable[[], int]]:
    """Put an sbatch on PATH that notes each call; give how many there were."""
    folder.mkdir()
    log, shim = folder / "calls", folder / "sbatch"
    shim.write_text(f'#!/bin/sh\necho >> {log}\nexec {shutil.which("sbatch")} "$@"\n')
    shim.chmod(0o755)
    log.touch()
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    try:
        yield lambda: len(log.read_text().splitlines())
    finally:
        os.environ["PATH"] = before


def seconds(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def phasecube(*arguments: str) -> float:
    command = [sys.executable, "-m", "phasecube", *arguments]
    return seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def _quiet(line: str) -> None:
    """Say nothing."""


def submission(folder: Path, trials: int, tasks: int) -> Study:
    study = study_of(folder / "study", trials, tasks)
    before = files(study.path, STORE)
    settings = resolve(study.sweep.cluster.slurm, profiles=Path("/nonexistent"))
    with counted_sbatch(folder / "bin") as calls:
        took_s = seconds(lambda: submit_missing(study, settings, {}, _quiet))
        print(f"{'phasecube':34}{took_s:8.2f}{calls():8}{files(study.path, STORE):8}", end="")
        print(f"   {before} of the files before submission; {files(study.path)} with the store's")
    assert sum(len(a.packs) for a in read_arrays(study.path)) == tasks
    return study


def command_line(folder: Path, trials: int, tasks: int) -> None:
    """Time the whole command, planning and start of Python in it."""
    study = study_of(folder / "typed", trials, tasks)
    with counted_sbatch(folder / "bin2") as calls:
        took_s = phasecube("resume", str(study.path), "--to", "slurm")
        name = "phasecube resume, the whole command"
        print(f"{name:34}{took_s:7.2f}{calls():8}{files(study.path, STORE):8}")


def submitit(folder: Path, tasks: int) -> None:
    import submitit

    executor = submitit.SlurmExecutor(folder / "submitit")
    executor.update_parameters(time=30, array_parallelism=tasks)
    with counted_sbatch(folder / "bin3") as calls:
        took_s = seconds(lambda: executor.map_array(abs, range(tasks)))
        print(f"{'submitit map_array':34}{took_s:8.2f}{calls():8}{files(folder / 'submitit'):8}")


def half_done(study: Study) -> None:
    """Settle half of the packs as tasks would, and leave the markers of all tasks."""
    plan = study.plan
    for pack in range(0, plan.n_packs, PACKS_PER_TASK):
        record = PackRecord.empty(plan.pack_size, plan.rule)
        record.status_RF[:, Status.OUTCOME] = Outcome.DONE
        record.status_RF[:, Status.N_RECORDED] = len(plan.rule.steps) - 1
        study.store.write_pack(pack, record)
    (array,) = read_arrays(study.path)
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    for task in range(len(array.packs)):
        marker = TaskMarker("running", f"{array.slurm_id}_{task}", "node1", now, now, settled=1,
                            trial_steps=1000, seconds=1.0, pace={"a": (1000, 1.0)})  # fmt: skip
        write_marker(study.path, array.number, task, marker)


def status(study: Study, what: str) -> None:
    each_s = [phasecube("status", str(study.path)) for _ in range(REPEATS)]
    print(f"status, {what:26}{statistics.median(each_s):8.2f}")


def life(folder: Path, tasks: int) -> None:
    """Run as many tasks to their end and count what they leave."""
    study = study_of(folder / "life", tasks * PACKS_PER_TASK * 25, tasks)
    before, of_store = files(study.path), files(study.path / STORE)
    settings = resolve(study.sweep.cluster.slurm, profiles=Path("/nonexistent"))
    assert run_study(study, executor=Slurm(settings, poll_s=1.0)).finished
    kinds: dict[str, int] = {}
    for path in (p.relative_to(study.path) for p in study.path.rglob("*") if p.is_file()):
        kind = "/".join(path.parts[: 1 if len(path.parts) == 1 else 2])
        kinds[kind] = kinds.get(kind, 0) + 1
    more = files(study.path) - before
    of_packs = sum(n for kind, n in kinds.items() if kind.startswith(STORE)) - of_store
    print(f"\n{tasks} tasks of {PACKS_PER_TASK} packs ran and left {more} files:")
    print(f"  {of_packs / study.plan.n_packs:.2f} a pack in the store", end="")
    print(f", {(more - of_packs) / tasks:.2f} a task beside them")
    print("  " + json.dumps({k: n for k, n in sorted(kinds.items()) if n >= tasks}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--run-tasks", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, SlurmLab(nodes=1, cpus=2) as lab:
        os.environ.update(lab.environment())
        folder = Path(scratch)
        lab.set_node(1, "drain")
        print(f"{args.trials:,} trials, {args.tasks:,} tasks")
        print(f"{'':34}{'seconds':>8}{'sbatch':>8}{'files':>8}")
        study = submission(folder, args.trials, args.tasks)
        command_line(folder, args.trials, args.tasks)
        submitit(folder, args.tasks)
        status(study, "all pending")
        half_done(study)
        status(study, "half of the packs settled")
        lab.clear()
        status(study, "all cancelled")
        life(folder, args.run_tasks)


if __name__ == "__main__":
    main()
