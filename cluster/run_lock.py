"""One `run` per study: who holds it, and since when."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from phasecube.engine.errors import StudyError

LOCK_FILE = "run.lock"
TRIES, TRY_EVERY_S = 4, 0.05  # `status` holds the lock for an instant to see whether anyone does


@dataclass(frozen=True)
class Holder:
    """The process that runs a study."""

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class RunLock:
    """A lock on the study folder for as long as the `with` block lasts; the kernel frees it."""

    def __init__(self, study: Path) -> None:
        self.study = study
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        """Take the lock; raises StudyError that names who has it."""
        try:
            self.study.mkdir(parents=True, exist_ok=True)
            file = (self.study / LOCK_FILE).open("a+", encoding="utf-8")
        except OSError as error:
            raise StudyError(
                f"{self.study} cannot be written: {error.strerror}; choose another folder with "
                "--study, or ask its owner for write permission"
            ) from error
        for attempt in range(TRIES):
            if _try_lock(file, fcntl.LOCK_EX):
                break
            if attempt == TRIES - 1:
                holder = _read_holder(file)
                file.close()
                raise StudyError(
                    f"{self.study} is being run by {holder or 'another process'}; "
                    f"see `phasecube watch {self.study}`, or stop that run first"
                )
            time.sleep(TRY_EVERY_S)
        holder = Holder(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"))
        file.seek(0)
        file.truncate()
        file.write(json.dumps(asdict(holder)))
        file.flush()
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def lock_holder(study: Path) -> Holder | None:
    """Return who runs the study, or None if nobody does."""
    try:
        with (study / LOCK_FILE).open("r", encoding="utf-8") as file:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
            return _read_holder(file) or Holder(0, "an unknown host", "an unknown time")
    except FileNotFoundError:
        return None


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise StudyError(
            f"{file.name} cannot be locked: {error.strerror}; two runs of a study must not "
            "meet, so put it on a file system with locks (mount Lustre with `flock`)"
        ) from error
    return True


def _read_holder(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):
        return None  # between the lock and the line that says whose it is
