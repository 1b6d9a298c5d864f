"""`serve`: live maps of a study in the browser."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from phasecube.cluster.job_array import JOBS
from phasecube.cluster.status import StudyStatus, read_status
from phasecube.cluster.study import Study
from phasecube.commands.display import duration, words
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

if TYPE_CHECKING:
    from phasecube.analysis.serve.progress import Progress

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(arguments: argparse.Namespace) -> int:
    """Serve the page of a study until interrupted."""
    study = Study(arguments.study)
    _ = study.plan  # rebuilt where its file is gone: the cube is read through it
    try:
        from phasecube.analysis.serve.server import serve as serve_page
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("panel", "bokeh", "param", "tornado"):
            raise
        raise StudyError(
            f"panel is not installed ({error}); pip install 'phasecube[serve]'"
        ) from error

    def ready(url: str) -> None:
        print(f"{study.path}: {url}; Ctrl-C ends it", flush=True)
        if arguments.address not in LOCAL:
            print(
                "note: whoever reaches this address sees the study and can have its report "
                "written; there is no password. Over ssh: docs/serve.md",
                flush=True,
            )
        elif arguments.browser and _has_display():
            import webbrowser

            webbrowser.open(url)

    path = study.path.resolve()
    serve_page(
        path,
        address=arguments.address,
        port=arguments.port,
        refresh_s=arguments.refresh,
        progress=lambda: progress_of(path),
        ready=ready,
    )
    print("ended", flush=True)
    return 0


def _has_display() -> bool:
    """Return whether a browser would open a window here, not in the terminal of an ssh."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def progress_of(path: Path) -> Progress:
    """Return how the study stands, for its page."""
    from phasecube.analysis.serve.progress import Progress

    found = read_status(path)
    order = [o.name for o in Outcome if o is not Outcome.NOT_RUN] + ["NOT_RUN"]
    outcomes = tuple((words(n), found.outcomes[n]) for n in order if found.outcomes.get(n))
    return Progress(outcomes, tuple(_said(found)), found.holder is not None)


def _said(found: StudyStatus) -> list[str]:
    packs = f"{found.packs_settled:,} of {found.packs:,} packs settled"
    if found.settled == found.n_trials:
        said = [f"Finished: {packs}"]
    elif found.holder is not None:
        said = [f"Running in {found.holder}: {packs}"]
        progress = found.progress
        if progress is not None:
            said[0] += f", {progress.packs_running} in training"
            said[0] += f", {progress.rate:,.0f} trial-steps/s" if progress.rate > 0 else ""
            eta_s = progress.eta_s
            said[0] += f", {duration(eta_s)} left" if eta_s is not None else ""
    elif (found.path / JOBS).exists():
        said = [f"Sent to Slurm: {packs}; `phasecube status` asks how its tasks are"]
    else:
        said = [f"Not running: {packs}; go on with `phasecube resume {found.path}`"]
    written_s = _last_write_s(found.path)
    if written_s is not None:
        said[0] += f"; last write {duration(max(0.0, time.time() - written_s))} ago"
    said[0] += "."
    if found.failures:
        said.append(f"Last failure: {found.failures[-1].error[:200]}")
    return said


def _last_write_s(path: Path) -> float | None:
    """Return when a pack was published last; a rename into it touches the folder."""
    try:
        return (path / "store.zarr" / "status").stat().st_mtime
    except OSError:
        return None
