"""`phasecube.run`, `open`, `open_tree`: what the command line does, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasecube.cluster.job_array import JOBS
from phasecube.cluster.run_lock import RunLock
from phasecube.cluster.run_study import run_study
from phasecube.cluster.search import first_points, run_batches
from phasecube.cluster.study import PLAN, Study, exists
from phasecube.cluster.sweep_file import changed_code, read_sweep_text
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr

    from phasecube.sweeps.sweep import Sweep

STUDIES = Path("studies")
Say = Callable[[str], None]


def open(  # noqa: A001 phasecube.open(study) is what a user says
    study: Path | str, *, chunks: Any = None
) -> xr.Dataset:
    """Return the study as one Dataset over the sweep's axes and `step`, finished or running.

    With `chunks` the values are dask arrays. Raises StudyError if there is no study.
    """
    from phasecube.analysis.cube.opened import open_study

    return open_study(_with_plan(Path(study)), chunks=chunks)


def open_tree(study: Path | str, *, chunks: Any = None) -> xr.DataTree:
    """Return the study as a DataTree, finished or running: vector measures in groups.

    The root is the Dataset of `open` without them; each child is named for the labels of the
    measures in it. With `chunks` the values are dask arrays. Raises StudyError if there is no
    study.
    """
    from phasecube.analysis.cube.tree import open_tree

    return open_tree(_with_plan(Path(study)), chunks=chunks)


def _with_plan(path: Path) -> Path:
    if exists(path) and not (path / PLAN).exists():
        _ = Study(path).plan  # derived, and gone: it is written anew
    return path


def run(
    sweep: Sweep | Path | str,
    study: Path | str | None = None,
    *,
    settings: Sequence[str] = (),
    processes: int | None = None,
) -> xr.Dataset:
    """Run a sweep here, or what its study lacks of it, and return the study's Dataset.

    `study` is studies/NAME unless given; `settings` are "key=value" replacements.
    """
    if isinstance(sweep, str | Path):
        sweep = read(Path(sweep), settings)
    elif settings:
        raise StudyError("settings replace values of a sweep file; pass its path, not a Sweep")
    path = Path(study) if study is not None else STUDIES / sweep.name
    with RunLock(path):
        found = prepare(sweep, path)
        leave = living_packs(found)
        run_batches(found, lambda: run_study(found, processes=processes, leave=leave))
    return open(finish(path))


def read(path: Path, settings: Sequence[str] = ()) -> Sweep:
    """Return the sweep in the file at `path`, `settings` applied; SpecError with every fault."""
    from phasecube.sweeps.sweep import parse_sweep

    text = read_sweep_text(path, settings)
    return parse_sweep(text.text, text.folder, text.source)


def prepare(sweep: Sweep, path: Path, say: Say = lambda line: None) -> Study:  # noqa: ARG005
    """Return the study at `path`, made or extended to hold `sweep`; the caller has its lock."""
    from phasecube.cluster.sweep_file import SweepText

    for warning in sweep.warnings:
        say(f"warning: {warning}")
    if not exists(path):
        study = Study.create(first_points(sweep), path)
        say(f"{path}: a new study of {study.plan.n_trials:,} trials")
        return study
    study = Study(path)
    if study.sweep.name != sweep.name:
        raise StudyError(
            f"{path} holds the sweep {study.sweep.name!r}, this one is {sweep.name!r}; "
            "choose another folder with --study"
        )
    changed = changed_code(SweepText(sweep.text, sweep.folder, sweep.name), path)
    if changed is not None:
        say(
            f"note: {changed} differs from the one that {path} keeps, which its rows ran on; "
            "raise `version` in it if its numbers change"
        )
    proposal = study.propose(sweep)
    what = proposal.difference
    if what.is_empty:
        say(f"{path}: the study's {what.n_kept:,} trials")
    else:
        say(
            f"{path}: {what.n_new:,} new trials, {what.n_kept:,} kept, "
            f"{what.n_orphaned:,} no longer named (kept on disk)"
        )
    if what.n_invalidated:
        say(f"  {what.n_invalidated:,} places on the axes now name another trial:")
        for name, before, now in what.changes:
            say(f"    {name}: {before!r} -> {now!r}")
    if not what.is_empty or changed or not study.keeps(sweep):
        study.adopt(proposal)
    return study


def was_submitted(path: Path) -> bool:
    """Return whether the study has been sent to a cluster."""
    return (path / JOBS).exists()


def living_packs(study: Study) -> set[int]:
    """Return the packs that tasks on a cluster may have; the caller holds the study's lock.

    Raises SlurmSilentError where tasks were submitted and Slurm cannot say how they are.
    """
    if not was_submitted(study.path):
        return set()
    from phasecube.cluster.slurm.queue import standing_queue

    return standing_queue(study).live_packs()


def finish(path: Path) -> Path:
    """Write the cube of a study as it stands and return the study's path."""
    from phasecube.analysis.cube.consolidate import consolidate

    consolidate(path)
    return path
