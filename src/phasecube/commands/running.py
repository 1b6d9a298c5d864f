"""`run`, `resume`, `retry`, `verify`."""

from __future__ import annotations

import argparse
from pathlib import Path

from phasecube import api
from phasecube.cluster.executor import Executor
from phasecube.cluster.retry import RETRIED, reset_trials
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.run_study import RunResult, run_study
from phasecube.cluster.search import run_batches
from phasecube.cluster.stop_signal import StopSignal
from phasecube.cluster.study import Study
from phasecube.commands.display import Display, words
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome


def run(arguments: argparse.Namespace) -> int:
    """Run a sweep, or what its study lacks of it."""
    sweep = api.read(arguments.sweep, arguments.settings)
    path = arguments.study or api.STUDIES / sweep.name
    with StopSignal() as stop, RunLock(path):
        study = api.prepare(sweep, path, print)
        if arguments.to == "ray":
            return _go_on_ray(study, arguments, stop)
        return _go_on(study, stop, arguments.processes)


def resume(arguments: argparse.Namespace) -> int:
    """Go on with a study, where it ran last."""
    study = Study(arguments.study)
    with StopSignal() as stop, RunLock(study.path):
        study.refresh()
        return _go_on_there(study, arguments, stop)


def retry(arguments: argparse.Namespace) -> int:
    """Make trials not run and run them."""
    chosen = [o for o in RETRIED if getattr(arguments, o.name.lower())]
    if not chosen and not arguments.torn:
        flags = ", ".join(f"--{words(o.name).replace(' ', '-')}" for o in RETRIED)
        raise StudyError(f"say which trials to retry: {flags}, --torn")
    study = Study(arguments.study)
    with StopSignal() as stop, RunLock(study.path):
        study.refresh()
        living = api.living_packs(study)
        counts = reset_trials(study, chosen, torn=arguments.torn, leave=living)
        if not counts:
            asked = [words(o.name) for o in chosen] + ["torn"] * arguments.torn
            print(f"{study.path}: no trial is {' or '.join(asked)}")
            return 0
        print(", ".join(f"{n:,} {words(name)}" for name, n in counts.items()), "to run again")
        return _go_on_there(study, arguments, stop)


def verify(arguments: argparse.Namespace) -> int:
    """Run some trials again in other company and compare them with the store, bit for bit."""
    from phasecube.cluster.verify import verify_trials

    study = Study(arguments.study, writes=False)
    study.refresh()  # its rows are of today's parameters, or that is said first
    torn = study.store.torn_packs()
    for message in torn.values():
        print(message)
    verdicts = verify_trials(study, arguments.trials)
    differing = 0
    for verdict in verdicts:
        differing += bool(verdict.differences)
        state = "differs" if verdict.differences else "same bits"
        print(f"{verdict.digest[:12]}  {verdict.engine.lower():14} {verdict.company:24} {state}")
        for line in verdict.differences:
            print(f"    {line}")
    if not verdicts:
        print(f"{study.path}: no settled trial to verify yet")
    return 1 if differing or torn else 0


def _go_on_there(study: Study, arguments: argparse.Namespace, stop: StopSignal) -> int:
    to = arguments.to or ("slurm" if api.was_submitted(study.path) else "here")
    if to == "here":
        return _go_on(study, stop, arguments.processes)
    if to == "ray":
        return _go_on_ray(study, arguments, stop)
    from phasecube.commands.slurm import send_on

    return send_on(study, arguments, stop)


def _go_on_ray(study: Study, arguments: argparse.Namespace, stop: StopSignal) -> int:
    from phasecube.cluster.ray_start import RayPlace
    from phasecube.cluster.ray_tune import Ray

    resources = study.sweep.resources
    asked = arguments.processes or resources.processes
    place = RayPlace(
        arguments.address,
        asked if isinstance(asked, int) else None,
        resources.threads,
        resources.device,
        arguments.packs_per_gpu,
    )
    with Ray(place) as executor:
        return _go_on(study, stop, None, executor)


def _go_on(
    study: Study, stop: StopSignal, processes: int | None, executor: Executor | None = None
) -> int:
    living = api.living_packs(study)
    if living:
        print(f"{len(living):,} packs are in living Slurm tasks and left to them")

    def run() -> RunResult:
        with Display() as display:
            return run_study(
                study, stop=stop, show=display.show,
                executor=executor, processes=processes, leave=living,
            )  # fmt: skip

    result = run_batches(study, run, print)
    if not result.finished and not stop() and living:
        print(f"the rest is left to its Slurm tasks: phasecube status {study.path}")
        return 0
    if not result.finished:
        there = f" --to {executor.name}" if executor is not None else ""
        print(f"stopped; go on with: phasecube resume {study.path}{there}")
        return 128 + stop.number if stop.number else 1
    api.finish(study.path)
    _say_what_next(study.path, result.snapshot.outcomes.get(Outcome.FAILED.name, 0))
    return 0


def _say_what_next(path: Path, n_failed: int) -> None:
    if n_failed:
        print(f"{n_failed:,} failed; why: phasecube status {path}")
    print(f"the cube: phasecube.open({str(path)!r}); the page: phasecube report {path}")
