"""The processes of a Slurm lab: found by what their environment says, ended whatever happens.

Nothing needs to be noted down, so one process can end what another has started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

DAEMON = "PHASECUBE_SLURM_LAB"  # in the environment of every daemon: the folder of its lab


def processes(folder: Path) -> set[int]:
    """Return the ids of the lab's daemons, its jobs' processes, and all that these started."""
    found = set(started_with({DAEMON: str(folder)}))
    found |= {
        pid
        for pid, variables in started_with({"SLURM_CONF": str(folder / "slurm.conf")}).items()
        if "SLURM_JOB_ID" in variables
    }
    parents = {int(p.name): _parent(p) for p in _process_folders()}
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return found
        found |= children


def end_processes(folder: Path) -> None:
    """Kill all processes of the lab in `folder`; return when none is left."""
    kill_all(lambda: processes(folder))


def kill_all(find: Callable[[], set[int]], timeout_s: float = 30.0) -> None:
    """Kill what `find` finds until it finds none. Raises TimeoutError."""
    # A job may start another process while its own are being killed: until none is found.
    end = time.monotonic() + timeout_s
    while found := find():
        if time.monotonic() > end:
            raise TimeoutError(f"processes {sorted(found)} do not end when killed")
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _process_folders() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _parent(process: Path) -> int | None:
    """Return the parent's id, or None for a process that has ended."""
    try:
        _, _, rest = (process / "stat").read_text().rpartition(")")
    except (OSError, ValueError):
        return None
    state, parent, *_ = rest.split()
    return None if state == "Z" else int(parent)


def started_with(wanted: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """Return the environments of all living processes that were started with `wanted`."""
    found = {}
    for process in _process_folders():
        try:
            words = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        if wanted.items() <= variables.items() and _parent(process) is not None:
            found[int(process.name)] = variables
    return found


def watch(folder: Path) -> subprocess.Popen[bytes]:
    """Return a process that ends the lab when this one ends, however it ends."""
    return subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )


if __name__ == "__main__":
    sys.stdin.read()  # returns when the process that holds the other end is gone
    end_processes(Path(sys.argv[1]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
