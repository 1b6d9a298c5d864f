"""A Slurm that is not there: its commands on PATH and one process that schedules.

What it refuses, how it words it and which states it shows follow Slurm 22.05, as seen on a
real one. It schedules arrays of one-node tasks and runs them as processes of this machine.
It does not imitate dependencies, reservations, jobs of several nodes, steps that outlive their
srun, or slurmd's own limits on memory.
"""

from __future__ import annotations

from phasecube.cluster.rehearsal.fake_cluster import FakeCluster, FakePartition
from phasecube.cluster.rehearsal.fake_slurm import FakeSlurm, RehearsalError

__all__ = ["FakeCluster", "FakePartition", "FakeSlurm", "RehearsalError"]
