"""A journal of Optuna in a file of this machine, safe from writers that are killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    import optuna


class BrokenJournalError(StudyError):
    """A journal of Optuna that cannot be read."""


class KernelLock:
    """A lock on the journal itself, freed by the kernel when its holder dies.

    Optuna's own are files beside it, which stay for half a minute after a kill.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        self._file = self._path.open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let it go."""
        assert self._file is not None
        self._file.close()


def open_journal(path: Path) -> optuna.storages.BaseStorage:
    """Return the journal at `path`, made if it is not there.

    Raises BrokenJournalError where it is no whole one, but for a last line that is cut off.
    """
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    lock = KernelLock(path)
    lock.acquire()
    try:
        _cut_torn_line(path)
    finally:
        lock.release()
    try:
        storage: optuna.storages.BaseStorage = JournalStorage(
            JournalFileBackend(str(path), lock_obj=lock)  # type: ignore[arg-type]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenJournalError(
            f"{path} is no whole journal of Optuna ({error}); delete it: it is written anew from "
            "the study's points"
        ) from error
    return storage


def _cut_torn_line(path: Path) -> None:
    """Cut off what a killed writer left of its last line; the next would be written behind it."""
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
