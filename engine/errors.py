"""Every error phasecube raises on purpose.

    PhasecubeError
      SpecError         the sweep file is wrong; .faults lists every fault with its path
      ExperimentError   a researcher's experiment breaks the contract or cannot be loaded
      StoreError        records on disk are missing, torn or of another version
      CheckpointError   no whole checkpoint could be read
      JudgeError        a pruner fails, which is the fault of no trial
      StudyError        the study folder is busy, incomplete or does not fit the sweep

A message says what is wrong, where, and what to do. The command line prints it
without a traceback; exit code 2 for SpecError, 1 for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class PhasecubeError(Exception):
    """The root of all errors that phasecube raises on purpose."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong in a sweep file: where it stands, what is wrong and what to do."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SpecError(PhasecubeError):
    """The sweep file is wrong; `faults` holds every fault found, in file order."""

    def __init__(self, faults: Sequence[Fault], source: str = "the sweep") -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        lines = [f"{source} has {len(self.faults)} {noun}:", *(f"  {f}" for f in self.faults)]
        super().__init__("\n".join(lines))


class ExperimentError(PhasecubeError):
    """A researcher's experiment cannot be loaded or breaks the contract."""


class StoreError(PhasecubeError):
    """Records on disk are missing, torn or of another version."""


class CheckpointError(PhasecubeError):
    """No whole checkpoint could be read."""


class JudgeError(PhasecubeError):
    """A pruner fails while a pack runs."""


class StudyError(PhasecubeError):
    """The study folder is busy, incomplete or does not fit the sweep."""
