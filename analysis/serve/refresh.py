"""A study that is written while it is looked at: opened anew when it changed, never half.

Whether something changed is told by a few file times, so that asking costs nothing at any
size. What was read is believed only if the cube under it is still the one that was opened.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import xarray as xr

from phasecube.analysis.cube.opened import CUBE, PLAN, STORE, open_study
from phasecube.analysis.grokking import GrokkingRule
from phasecube.analysis.serve.progress import Ask
from phasecube.analysis.serve.state import Offer, offer
from phasecube.engine.errors import PhasecubeError, StudyError

Answer = TypeVar("Answer")
Stamp = tuple[tuple[int, int, int] | None, ...]
# A file system may give two writes one time; what is younger than this is looked at again.
YOUNG_S = 2.0
TRIES = 4  # to read between two consolidations
PATIENCE = 5  # looking takes at most a fifth of the time, however large the study


@dataclass(frozen=True)
class Snapshot:
    """A study as it stood at one moment: `number` grows with every change of its records."""

    ds: xr.Dataset
    offer: Offer
    number: int


class LiveStudy:
    """The study at `path` as it stands; safe to use from several threads.

    `refresh_s`: how often it is looked at, at most; `rule`: by which phases are told.
    """

    def __init__(
        self,
        path: Path,
        *,
        progress: Ask,
        refresh_s: float = 5.0,
        rule: GrokkingRule | None = None,
        open_: Callable[[Path], xr.Dataset] | None = None,
    ) -> None:
        self.path = path
        self._refresh_s = refresh_s
        self._open = open_ or (lambda p: open_study(p, chunks="auto"))
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._cube: Stamp | None = None
        self._due_s = 0.0
        self._ask, self._rule = progress, rule
        self.problem = ""
        self.progress = progress()
        self._snapshot = self._opened(0)

    @property
    def snapshot(self) -> Snapshot:
        """Return the study as it was last opened."""
        return self._snapshot

    def is_due(self) -> bool:
        """Return whether it is time to look again."""
        return time.monotonic() >= self._due_s

    def look(self) -> Snapshot:
        """Return the study, opened anew if its files changed; `problem` says what went wrong.

        A study that cannot be opened just now keeps the last snapshot.
        """
        with self._lock:
            began_s = time.monotonic()
            try:
                if self._stamp is None or _stamp(self.path) != self._stamp:
                    self._take(self._opened(self._snapshot.number + 1))
                self.progress = self._ask()
                self.problem = ""
            except (PhasecubeError, OSError, ValueError, KeyError) as error:
                self._stamp = None
                self.problem = f"the study cannot be read just now ({_one_line(error)})"
            finally:
                now_s = time.monotonic()
                self._due_s = now_s + max(self._refresh_s, PATIENCE * (now_s - began_s))
            return self._snapshot

    def read(self, question: Callable[[Snapshot], Answer]) -> tuple[Snapshot, Answer]:
        """Return the answer of one unbroken state of the study, and that state.

        Where the cube was replaced while it was read, the study is opened and asked again.
        Raises what `question` raises of a study that held still, StudyError for one that never
        did.
        """
        for _ in range(TRIES):
            with self._lock:
                snapshot, cube = self._snapshot, self._cube
            error: Exception | None = None
            try:
                answer = question(snapshot)
            except Exception as raised:  # noqa: BLE001 - judged below, raised if the cube held still
                error = raised
            if _stamp_of_cube(self.path) == cube:
                if error is not None:
                    raise error
                return snapshot, answer
            with self._lock:
                self._take(self._opened(self._snapshot.number + 1))
        raise StudyError(f"{self.path} was consolidated again and again while it was read")

    def _take(self, found: Snapshot) -> None:
        if _digests(found.ds) != _digests(self._snapshot.ds):
            self._snapshot = found
        else:  # the same records, perhaps out of another file
            self._snapshot = Snapshot(found.ds, found.offer, self._snapshot.number)

    def _opened(self, number: int) -> Snapshot:
        before, cube = _stamp(self.path), _stamp_of_cube(self.path)
        ds = self._open(self.path)
        found = Snapshot(ds, offer(ds, self._rule), number)
        # What changed while it was opened, or may have within one tick of the file system's
        # clock, is opened once more at the next look.
        young = any(t is not None and time.time() - t[1] / 1e9 < YOUNG_S for t in before)
        self._stamp = None if young or before != _stamp(self.path) else before
        self._cube = cube
        return found


def _digests(ds: xr.Dataset) -> tuple[object, object]:
    return ds.attrs.get("plan_digest"), ds.attrs.get("status_digest")


def _stamp(study: Path) -> Stamp:
    """Return what tells the files of a study from later ones; renames touch their folder."""
    return (*_stamps(study / PLAN, study / STORE / "status"), *_stamp_of_cube(study))


def _stamp_of_cube(study: Path) -> Stamp:
    return _stamps(study / CUBE / "zarr.json")


def _stamps(*paths: Path) -> Stamp:
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - one system call, every few seconds
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
