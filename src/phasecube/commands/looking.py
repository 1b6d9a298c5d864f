"""`status`, `watch`, `show`: how a study stands. Status and watch read with numpy alone."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from phasecube.cluster.status import StudyStatus, read_status
from phasecube.commands.display import duration, words

N_SHOWN_STEPS = 24


def status(arguments: argparse.Namespace) -> int:
    """Print how the study stands now."""
    found = read_status(arguments.study)
    if arguments.json:
        print(json.dumps(asdict(found), default=str, indent=1))
    else:
        print("\n".join(lines(found)))
    return 0


def watch(arguments: argparse.Namespace) -> int:
    """Print it again and again until nobody runs the study."""
    live = sys.stdout.isatty()
    height = 0
    while True:
        found = read_status(arguments.study)
        text = lines(found)
        if live and height:
            # Up over what was printed, and clear from there: no flicker, nothing imported.
            print(f"\x1b[{height}A\x1b[J", end="")
        print("\n".join(text), flush=True)
        height = len(text)
        if found.holder is None:
            return 0
        time.sleep(arguments.every)


def lines(found: StudyStatus) -> list[str]:
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
    elif found.settled < found.n_trials:
        said.append(f"not running; go on with: phasecube resume {found.path}")
    if found.failures:
        said.append("last failures:")
        said += [f"  row {f.row}: {f.error[:100]}  ({f.log}, {f.at})" for f in found.failures]
        said.append(
            "mend your file and take it over with `phasecube run SWEEP`, then: "
            f"phasecube retry {found.path} --failed"
        )
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
    """Print the study's axes and what it records, or the records of one trial."""
    from phasecube.cluster.study import Study

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
