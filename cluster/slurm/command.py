"""Slurm's own commands, run once and answered in text; every failure is a SlurmError."""

from __future__ import annotations

import os
import shutil
import subprocess

from phasecube.engine.errors import StudyError

TIMEOUT_S = 60.0  # slurmctld may take MessageTimeout (10 s) several times over
SBATCH_TIMEOUT_S = 180.0  # where the controller is full, sbatch waits and asks 15 times
SILENT = (
    "Unable to contact slurm controller",
    "Transport endpoint is not connected",
    "Socket timed out",
    "Connection refused",
    "Could not establish a configuration source",
)
NO_ACCOUNTING = ("accounting storage is disabled", "accounting_storage/slurmdbd' is supported")


class SlurmError(StudyError):
    """Slurm did not do what it was asked. `said` is its own text."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class SlurmMissingError(SlurmError):
    """The command is not on PATH."""


class SlurmSilentError(SlurmError):
    """The controller does not answer: nothing is known of any job."""


class AccountingOffError(SlurmError):
    """The cluster keeps no accounts: sacct and sacctmgr know nothing."""


def slurm(command: str, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
    """Return what a Slurm command prints.

    Raises SlurmMissingError, SlurmSilentError, AccountingOffError, and SlurmError with the
    text of any other refusal.
    """
    path = shutil.which(command)
    if path is None:
        raise SlurmMissingError(
            f"{command} is not on PATH, so this machine can submit nothing to Slurm; "
            "log in to the cluster's login node, or load its Slurm module"
        )
    # Without it squeue cuts the list of a pending array's tasks after 64 characters.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmSilentError(f"{command} did not answer within {timeout_s:g} s") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
    if any(text in said for text in SILENT):
        raise SlurmSilentError(f"Slurm's controller does not answer {command} ({said})", said)
    if any(text in said for text in NO_ACCOUNTING):
        raise AccountingOffError(f"{command}: this cluster keeps no accounts", said)
    raise SlurmError(f"{command}: {said}", said)
