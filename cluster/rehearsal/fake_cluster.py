"""What the imitated cluster has and allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FakePartition:
    """A partition over all nodes; `accounts` and `qos` are None where any may use it."""

    name: str
    max_time_s: float | None = None  # in Slurm's seconds, sixty to a minute
    default_time_s: float | None = None
    accounts: tuple[str, ...] | None = None
    qos: tuple[str, ...] | None = None
    up: bool = True


@dataclass(frozen=True)
class FakeCluster:
    """Nodes, limits and the pace of time; the first partition is the default one."""

    nodes: int = 4
    cpus_per_node: int = 1
    memory_mb: int = 4000
    default_memory_mb: int = 100  # of a task, for each of its cores
    gpus_per_node: int = 0
    gpu_type: str = ""
    features: tuple[str, ...] = ()  # every node has them all
    partitions: tuple[str | FakePartition, ...] = ("main",)
    accounts: tuple[str, ...] | None = None  # None: any name is accepted
    qos: tuple[str, ...] | None = None
    max_array_size: int = 1001  # one more than the highest index
    max_job_count: int = 10000
    max_submit: int | None = None  # tasks of one user in the queue
    max_submit_account: int | None = None  # of one user and account
    max_running: int | None = None  # tasks of one user at once
    accounting: bool = False
    accounts_lag_s: float = 0.0  # how long sacct may know less than squeue
    enforce_limits: bool = True  # EnforcePartLimits: refuse at once what can never run
    requeue_delay_s: float = 0.2
    kill_wait_s: float = 1.0
    min_job_age_s: float = 300.0
    minute_s: float = 60.0  # how long one of Slurm's minutes lasts here
    seed: int = 0

    def all_partitions(self) -> tuple[FakePartition, ...]:
        """Return the partitions, those given by name alone filled in."""
        return tuple(FakePartition(p) if isinstance(p, str) else p for p in self.partitions)

    def partition(self, name: str) -> FakePartition | None:
        """Return the partition of that name, the first one for "", None if there is none."""
        for partition in self.all_partitions():
            if name in ("", partition.name):
                return partition
        return None

    def node_names(self) -> list[str]:
        """Return node1, node2 and so on."""
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    def real_s(self, slurm_s: float) -> float:
        """Return how long `slurm_s` of Slurm's seconds last here, in seconds."""
        return slurm_s * self.minute_s / 60

    def to_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FakeCluster:
        """Return the cluster that `to_json` described."""
        return cls(**{name: _frozen(name, value) for name, value in values.items()})


def _frozen(name: str, value: Any) -> Any:
    if name == "partitions":
        return tuple(
            p if isinstance(p, str) else FakePartition(**{k: _frozen(k, v) for k, v in p.items()})
            for p in value
        )
    return tuple(value) if isinstance(value, list) else value
