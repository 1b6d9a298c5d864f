"""`submit`, `cancel`, `hold`, `release`, `logs`: a study's life on Slurm."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasecube import api
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.stop_signal import StopSignal
from phasecube.cluster.study import Study, exists
from phasecube.commands.display import Display
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    from phasecube.cluster.job_array import JobArray
    from phasecube.cluster.slurm.settings import SlurmSettings
    from phasecube.sweeps.sweep import Sweep

MANY = 100  # tasks: cancelling so many asks first
FLAGS = (
    "profile", "partition", "account", "qos", "constraint", "gres", "gpus", "cpus", "memory",
    "walltime", "throttle", "packs_per_job", "processes", "setup", "sbatch", "python",
    "notice_s", "requeues", "drift",
)  # fmt: skip


def submit(arguments: argparse.Namespace) -> int:
    """Submit a sweep, or what its study lacks of it."""
    if arguments.to == "ray":
        return _run_on_ray(arguments)
    sweep = api.read(arguments.sweep, arguments.settings)
    path = arguments.study or api.STUDIES / sweep.name
    if arguments.dry_run:
        return _dry_run(sweep, path, flags_of(arguments))
    with StopSignal() as stop, RunLock(path):
        study = api.prepare(sweep, path, print)
        return send_on(study, arguments, stop)


def _run_on_ray(arguments: argparse.Namespace) -> int:
    from phasecube.commands.running import run

    if arguments.dry_run:
        raise StudyError("--dry-run shows what Slurm would get; before --to ray, `phasecube plan`")
    print("Ray keeps no queue: this command stays until the sweep is done")
    return run(arguments)


def send_on(study: Study, arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Submit what the study lacks, and follow it with --follow; return the exit code."""
    from phasecube.cluster.search import next_batch
    from phasecube.cluster.slurm.submit import submit_missing

    next_batch(study, print)
    flags = {**last_flags(study.path), **flags_of(arguments)}
    settings, flags = settings_of(study.sweep, flags, last_memory(study.path))
    if arguments.follow:
        return _follow(study, settings, flags, stop)
    pace = _probed(study) if arguments.probe else None
    sent = submit_missing(study, settings, flags, print, pace)
    if sent:
        print(f"see how it stands: phasecube status {study.path}")
    return 0


def _follow(
    study: Study, settings: SlurmSettings, flags: Mapping[str, Any], stop: StopSignal
) -> int:
    from phasecube.cluster.run_study import RunResult, run_study
    from phasecube.cluster.search import run_batches
    from phasecube.cluster.slurm.executor import Slurm

    def run() -> RunResult:
        with Display() as display:
            executor = Slurm(settings, flags, say=display.say, leave_on_stop=True)
            return run_study(study, stop=stop, show=display.show, executor=executor)

    result = run_batches(study, run, print)
    if result.finished:
        api.finish(study.path)
        print(f"the cube: phasecube.open({str(study.path)!r})")
        return 0
    if stop():
        print(f"its jobs go on; look again with: phasecube status {study.path}")
        return 128 + stop.number
    print(f"{result.packs_left:,} packs are left; why: phasecube status {study.path}")
    return 1


def flags_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given on the command line, by the names of [cluster.slurm]."""
    given = {name: getattr(arguments, name, None) for name in FLAGS}
    return {name: value for name, value in given.items() if value not in (None, [])}


def last_flags(study: Path) -> dict[str, Any]:
    """Return the flags of the study's last submission: going on repeats them."""
    array = _last_array(study)
    return dict(array.flags) if array is not None else {}


def last_memory(study: Path) -> str | None:
    """Return the memory of the last submission's tasks, as a flag takes it."""
    array = _last_array(study)
    memory_mb = array.settings["memory_mb"] if array is not None else None
    return None if memory_mb is None else f"{memory_mb}M"


def _last_array(study: Path) -> JobArray | None:
    from phasecube.cluster.job_array import read_arrays

    # What was refused is not asked for again: no flag takes back a wrong --account.
    return next((array for array in reversed(read_arrays(study)) if not array.refused), None)


def settings_of(
    sweep: Sweep, flags: dict[str, Any], memory_before: str | None = None
) -> tuple[SlurmSettings, dict[str, Any]]:
    """Return what is asked for, and the flags with a factor of memory made an amount."""
    from phasecube.cluster.slurm.settings import resolve

    threads = sweep.resources.threads
    memory = str(flags.get("memory", ""))
    if not memory.startswith("x"):
        return resolve(sweep.cluster.slurm, flags, threads=threads), flags
    before = {**flags, "memory": memory_before}
    settings = resolve(sweep.cluster.slurm, before, threads=threads).with_memory(memory)
    return settings, {**flags, "memory": f"{settings.memory_mb}M"}


def _probed(study: Study) -> Mapping[str, tuple[int, float]]:
    from phasecube.cluster.engine_choices import group_id, group_keys
    from phasecube.cluster.probe import seconds_per_trial_step

    names = {g: group_id(key) for g, key in group_keys(study.plan).items()}
    found = seconds_per_trial_step(study.plan)
    return {names[g]: (1_000_000, seconds * 1e6) for g, seconds in found.items()}


def _dry_run(sweep: Sweep, path: Path, flags: dict[str, Any]) -> int:
    from phasecube.cluster.search import first_points
    from phasecube.cluster.slurm.command import SlurmMissingError, SlurmSilentError
    from phasecube.cluster.slurm.limits import UNASKED
    from phasecube.cluster.slurm.propose import Asked, forecast_lines, propose
    from phasecube.cluster.slurm.queue import Queue, standing_queue
    from phasecube.cluster.slurm.script import batch_script

    settings, flags = settings_of(sweep, {**last_flags(path), **flags}, last_memory(path))
    with tempfile.TemporaryDirectory() as scratch:
        if exists(path):
            study = Study(path)
            plan, queue = study.propose(sweep).plan, standing_queue(study, keep=False)
        else:
            study = Study.create(first_points(sweep), Path(scratch) / "study")
            plan, queue = study.plan, Queue([])
        status_RF = study.store.read_status(n_rows=plan.n_rows)
        asked = Asked(path, plan, status_RF, settings, flags, run=0)
        missing = plan.missing(status_RF).tolist()
        try:
            proposed = propose(asked, missing, queue)
        except (SlurmMissingError, SlurmSilentError) as error:
            unknown = replace(UNASKED, accounting_fault=f"{error}; its limits are not known")
            proposed = propose(asked, missing, queue, unknown)
    for line in forecast_lines(proposed, settings):
        print(line)
    if proposed.live:
        print(f"{proposed.live:,} packs are in living tasks and left alone")
    if proposed.waiting:
        print(f"{len(proposed.waiting):,} packs would wait: {proposed.limits.room_reason}")
    for array in proposed.arrays:
        sizes = sorted({len(packs) for packs in array.packs})
        print(f"\narray {array.number}: {len(array.packs):,} tasks of {_span(sizes)} each")
        if array is proposed.arrays[0]:
            print(batch_script(path, array).rstrip())
    if not proposed.arrays:
        print("nothing would be submitted")
    return 0


def _span(sizes: list[int]) -> str:
    few = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"{few} {'pack' if few == '1' else 'packs'}"


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel tasks of a study; those that run write a checkpoint."""
    from phasecube.cluster.job_state import JobState
    from phasecube.cluster.slurm.cancel import cancel_tasks

    states = {
        None: (JobState.PENDING, JobState.RUNNING),
        "pending": (JobState.PENDING,),
        "running": (JobState.RUNNING,),
    }[arguments.state]
    study = Study(arguments.study)
    queue, tasks = _chosen(study, states, arguments.where)
    n_tasks = sum(map(len, tasks.values()))
    if not n_tasks:
        print(f"{study.path}: no living task is chosen")
        return 0
    if arguments.dry_run:
        print(f"{n_tasks:,} tasks would be cancelled")
        return 0
    if n_tasks >= MANY and not arguments.yes and not _agrees(f"cancel {n_tasks:,} tasks?"):
        return 1
    cancel_tasks(study.path, queue, tasks)
    print(
        f"{n_tasks:,} tasks cancelled; what ran has a checkpoint, and "
        f"`phasecube resume {study.path}` submits it again"
    )
    return 0


def hold(arguments: argparse.Namespace) -> int:
    """Hold pending tasks back, or let them go: `arguments.action`."""
    from phasecube.cluster.job_state import JobState
    from phasecube.cluster.slurm.cancel import hold_tasks

    study = Study(arguments.study)
    queue, tasks = _chosen(study, (JobState.PENDING,), arguments.where)
    n_tasks = hold_tasks(queue, tasks, arguments.action)
    done = {"hold": "held", "release": "released"}[arguments.action]
    print(f"{study.path}: {n_tasks:,} pending tasks {done}")
    return 0


def _chosen(study: Study, states: Any, where: str | None) -> Any:
    from phasecube.cluster.job_array import read_arrays
    from phasecube.cluster.slurm.choose import choose_tasks
    from phasecube.cluster.slurm.queue import read_queue

    queue = read_queue(study.path, read_arrays(study.path), moved=True)
    if queue.silent is not None:
        raise StudyError(f"{queue.silent}; nothing was done")
    return queue, choose_tasks(study, queue, states, where)


def _agrees(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print("no answer: say --yes")
        return False


def logs(arguments: argparse.Namespace) -> int:
    """Print the end of a task's log: of the one named, else the last that ended badly, or any."""
    from phasecube.cluster.slurm.overview import jobs_overview, last_lines
    from phasecube.cluster.slurm.script import LOGS, log_path

    study = Study(arguments.study)
    if arguments.task is not None:
        path = log_path(study.path, arguments.task)
    else:
        found = jobs_overview(study)
        bad = [end.log for end in found.ends] if found is not None else []
        newest = sorted((study.path / LOGS).glob("*.log"), key=lambda p: p.stat().st_mtime)
        if not bad and not newest:
            raise StudyError(f"{study.path}: no task has written a log yet")
        path = Path(bad[-1]) if bad else newest[-1]
    if not path.exists():
        raise StudyError(f"{path} does not exist: the task has not started, or is no task of this")
    print(f"== {path}")
    print("\n".join(last_lines(path, arguments.lines)))
    return 0
