"""A real Slurm for tests marked `slurm`: one lab a session, clean before and after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import SlurmLab
from lab_host import NoSlurmHereError


def _started(lab: SlurmLab) -> Iterator[SlurmLab]:
    try:
        lab.start()
    except NoSlurmHereError as error:
        pytest.skip(str(error))
    yield lab
    lab.stop()


def _lent(lab: SlurmLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmLab]:
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    yield lab
    lab.clear()


@pytest.fixture(scope="session")
def _lab_without_accounts() -> Iterator[SlurmLab]:
    yield from _started(SlurmLab(nodes=4, gpus=2))


@pytest.fixture(scope="session")
def _lab_with_accounts() -> Iterator[SlurmLab]:
    yield from _started(SlurmLab(nodes=2, gpus=2, accounting=True))


@pytest.fixture
def slurm_lab(
    _lab_without_accounts: SlurmLab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmLab]:
    """A Slurm of 4 nodes that keeps no accounts; Slurm's commands in the test talk to it."""
    yield from _lent(_lab_without_accounts, monkeypatch)


@pytest.fixture
def slurm_accounts(
    _lab_with_accounts: SlurmLab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmLab]:
    """A Slurm of 2 nodes with accounts: sacct, sacctmgr, QOS and limits work."""
    yield from _lent(_lab_with_accounts, monkeypatch)
