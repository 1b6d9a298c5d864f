"""`status`, `watch`, `show`: how a study stands. Status and watch read with numpy alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from phasecube.cluster.job_array import JOBS
from phasecube.cluster.status import StudyStatus, read_status
from phasecube.commands.display import duration, words

if TYPE_CHECKING:
    from phasecube.cluster.slurm.overview import JobsOverview

N_SHOWN_STEPS = 24
SLURM_EVERY_S = 10.0


def status(arguments: argparse.Namespace) -> int:
    """Print how the study stands now."""
    found, jobs = read_status(arguments.study), _jobs(arguments.study)
    if arguments.json:
        both = asdict(found) | {"jobs": None if jobs is None else asdict(jobs)}
        print(json.dumps(both, default=str, indent=1))
    else:
        print("\n".join([*lines(found, jobs), *job_lines(jobs)]))
    return 0


def _jobs(path: Path) -> JobsOverview | None:
    if not (path / JOBS).exists():
        return None
    from phasecube.cluster.slurm.overview import jobs_overview
    from phasecube.cluster.study import Study

    return jobs_overview(Study(path))


def watch(arguments: argparse.Namespace) -> int:
    """Print it again and again until nobody runs the study, here or on Slurm."""
    live = sys.stdout.isatty()
    height = 0
    while True:
        found, jobs = read_status(arguments.study), _jobs(arguments.study)
        text = [*lines(found, jobs), *job_lines(jobs)]
        if live and height:
            # Up over what was printed, and clear from there: no flicker, nothing imported.
            print(f"\x1b[{height}A\x1b[J", end="")
        print("\n".join(text), flush=True)
        height = len(text)
        if found.holder is None and (jobs is None or not jobs.live):
            return 0
        # squeue loads a whole cluster's controller, a study's own files nobody's.
        time.sleep(arguments.every if jobs is None else max(arguments.every, SLURM_EVERY_S))


def lines(found: StudyStatus, jobs: JobsOverview | None = None) -> list[str]:
    """Return the status in lines."""
    said = [
        f"{found.path}: {found.settled:,} of {found.n_trials:,} trials settled, "
        f"{found.packs_settled:,} of {found.packs:,} packs"
    ]
    for name, count in sorted(found.outcomes.items()):
        begun = f", {found.n_begun:,} of them begun" if name == "NOT_RUN" and found.n_begun else ""
        said.append(f"  {words(name):14} {count:>9,}{begun}")
    if found.n_orphaned:
        said.append(f"  {'orphaned':14} {found.n_orphaned:>9,}  (no longer named by the sweep)")
    if found.holder is not None:
        said.append(f"running in {found.holder}{_pace(found)}")
    elif found.settled < found.n_trials and not (jobs is not None and jobs.live):
        said.append(f"not running; go on with: phasecube resume {found.path}")
    if found.searched is not None:
        n, budget = found.searched
        is_asking = found.holder is not None or found.settled < found.n_trials or n >= budget
        more = "" if is_asking else f"; `phasecube resume {found.path}` asks the next batch"
        said.append(f"searched: {n:,} of {budget:,} points{more}")
    if found.failures:
        said.append("last failures:")
        said += [f"  row {f.row}: {f.error[:100]}  ({f.log}, {f.at})" for f in found.failures]
        said.append(
            "mend your file and take it over with `phasecube run SWEEP`, then: "
            f"phasecube retry {found.path} --failed"
        )
    return said


def job_lines(jobs: JobsOverview | None) -> list[str]:
    """Return in lines how the study's Slurm tasks stand."""
    if jobs is None:
        return []
    said = []
    if jobs.elsewhere is not None:
        said.append(f"note: {jobs.elsewhere}")
    if jobs.silent is not None:
        said.append(f"unknown: {jobs.silent}")
    counts = [f"{n:,} {words(state)}" for state, n in sorted(jobs.tasks.items())]
    said.append(f"Slurm tasks: {', '.join(counts) or 'none'}")
    if jobs.live:
        said.append(f"  {jobs.packs_live:,} packs are in living tasks")
    said += [f"  {n:,} wait: {reason}" for reason, n in jobs.waiting.items()]
    if jobs.cpu_hours:
        gpu = f", {jobs.gpu_hours:.3g} GPU-hours" if jobs.gpu_hours else ""
        said.append(f"  remaining cost: about {jobs.cpu_hours:.3g} CPU-hours{gpu}")
    for end in jobs.ends:
        said.append(f"  task {end.name} {words(end.state)}: {end.said or 'see its log'}")
        said += [f"    | {line[:110]}" for line in end.last_lines]
    return said


def _pace(found: StudyStatus) -> str:
    progress = found.progress
    if progress is None:
        return ""
    pace = f": {progress.packs_running} packs in training"
    if progress.rate > 0:
        pace += f", {progress.rate:,.0f} trial-steps/s"
    if progress.eta_s is not None:
        pace += f", {duration(progress.eta_s)} left"
    return pace


def show(arguments: argparse.Namespace) -> int:
    """Print the study's axes and what it records, the records of one trial, or a query's table."""
    from phasecube.cluster.study import Study
    from phasecube.commands.querying import asks, show_query

    if asks(arguments):
        return show_query(arguments)
    study = Study(arguments.study)
    if arguments.digest is None:
        print("\n".join(_study_lines(study)))
    else:
        print("\n".join(_trial_lines(study, arguments.digest)))
    return 0


def _study_lines(study: object) -> list[str]:
    from phasecube.cluster.engine_choices import engine_counts
    from phasecube.cluster.study import Study
    from phasecube.sweeps.forecast import forecast
    from phasecube.sweeps.summary import describe

    assert isinstance(study, Study)
    engines = engine_counts(study.path)
    return [
        *describe(study.plan, forecast(study.plan)),
        *(f"engine     {text} for {count} shapes" for text, count in engines.items()),
        "",
        *lines(read_status(study.path)),
    ]


def _trial_lines(study: object, digest: str) -> list[str]:
    import numpy as np

    from phasecube.cluster.study import Study
    from phasecube.engine.record import Engine, Outcome, Status
    from phasecube.sweeps.explain import explain, find_trial

    assert isinstance(study, Study)
    plan, store = study.plan, study.store
    row = int(plan.row[find_trial(plan, digest)])
    record = store.read_pack(row // plan.pack_size)
    lane = row % plan.pack_size
    status_F = record.status_RF[lane]
    n_recorded = int(status_F[Status.N_RECORDED])
    said = [*explain(plan, digest), ""]
    said.append(f"outcome    {words(Outcome(int(status_F[Status.OUTCOME])).name)}")
    if status_F[Status.STOPPED_AT] >= 0:
        said.append(f"stopped at step {status_F[Status.STOPPED_AT]:,}")
    said.append(f"engine     {words(Engine(int(status_F[Status.ENGINE])).name)}")
    said.append(f"run        line {status_F[Status.RUN]} of runs.jsonl")
    if n_recorded:
        names = plan.rule.scalars
        width = max(12, *(len(name) + 2 for name in names))
        said += ["", f"{'step':>10}" + "".join(f"{name:>{width}}" for name in names)]
        places = np.unique(np.linspace(0, n_recorded - 1, N_SHOWN_STEPS).round().astype(int))
        for place in places:
            values = record.scalars_RMS[lane, :, place]
            said.append(
                f"{plan.rule.steps[place]:>10,}" + "".join(f"{v:>{width}.6g}" for v in values)
            )
    return said
