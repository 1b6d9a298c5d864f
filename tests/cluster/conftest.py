"""Clusters for the tests of submission: one a module, emptied after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_user import User, emptied, fake_slurm

from phasecube.cluster.ray_start import RayPlace
from phasecube.cluster.ray_tune import Ray
from phasecube.cluster.rehearsal import FakeSlurm
from phasecube.cluster.slurm.executor import Slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSlurm]:
    """Two nodes of one core."""
    with fake_slurm(tmp_path_factory.mktemp("cluster")) as slurm:
        yield slurm


@pytest.fixture
def user(cluster: FakeSlurm, tmp_path: Path) -> Iterator[User]:
    """A user of the module's cluster."""
    with emptied(cluster):
        yield User(tmp_path, cluster)


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows a study looks five times a second, not every ten seconds."""
    monkeypatch.setitem(Slurm.__init__.__kwdefaults__, "poll_s", 0.2)


@pytest.fixture(scope="session")
def ray_here() -> Iterator[Ray]:
    """A Ray of two packs at once on this machine: its start takes seconds, so all share it."""
    with Ray(RayPlace(processes=2)) as ray:
        yield ray
