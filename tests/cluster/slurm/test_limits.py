"""What the cluster allows, from what a real Slurm 22.05 with accounting printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasecube.cluster.slurm import limits as limits_module
from phasecube.cluster.slurm.command import AccountingOffError, SlurmError
from phasecube.cluster.slurm.limits import Limits, read_limits
from phasecube.cluster.slurm.settings import resolve
from phasecube.cluster.slurm.text import record_of, seconds_of_time, time_in_words
from phasecube.sweeps.slurm_section import SlurmSection

CONFIG = """Configuration data as of 2026-11-21T11:20:18
AccountingStorageEnforce = associations,limits,qos
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = ci
MaxArraySize            = 10001
MaxJobCount             = 20000
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at host is UP
"""
PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL "
    "Default={default} QoS={qos} DefaultTime={time} DisableRootJobs=NO ExclusiveUser=NO "
    "GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime={most} MinNodes=0 LLN=NO "
    "MaxCPUsPerNode=UNLIMITED "
    "Nodes=node[1-2] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO "
    "OverTimeLimit=NONE PreemptMode=OFF State={state} TotalCPUs=8 TotalNodes=2 "
    "SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED "
    "MaxMemPerNode=UNLIMITED TRES=cpu=8,mem=8000M,node=2,billing=8,gres/gpu=4"
)


def partition(name: str, most: str, time: str = "NONE", **other: str) -> str:
    values = {"default": "NO", "qos": "N/A", "state": "UP", **other}
    return PARTITION.format(name=name, most=most, time=time, **values)


PARTITIONS = [
    partition("main", "UNLIMITED", default="YES"),
    partition("big", "3-00:00:00", "00:30:00", qos="partq"),
    partition("off", "01:30:00", state="DRAIN"),
    partition("shut", "60:00", state="DOWN"),
]
# Cluster|User|Default|Account|Parent|Partition|MaxSubmit|GrpSubmit|MaxWall|QOS|DefaultQOS
USERS = ["ci|ann|root|ci|||5||04:00:00|normal,small|", "ci|ann|root|root||||||normal|"]
# Cluster|User|Account|Parent|GrpSubmit
ACCOUNTS = ["ci||root||", "ci||lab|root|25", "ci||ci|lab|"]
# Name|Flags|MaxSubmitPU|MaxSubmitPA|GrpSubmit|MaxWall
QOS = ["normal|||||", "small||6|40|50|02:00:00", "partq||30|||1-00:00:00"]
OTHERS = ["bob|main|normal|ci|RUNNING"] * 3 + ["bob|main|small|lab|PENDING"] * 2


class Cluster:
    """Answers as Slurm would, from text; counts the calls."""

    def __init__(self) -> None:
        self.config, self.partitions, self.users = CONFIG, PARTITIONS, USERS
        self.accounts, self.qos, self.queue = ACCOUNTS, QOS, list[str]()
        self.sacctmgr_fault: SlurmError | None = None
        self.calls: list[tuple[str, ...]] = []

    def slurm(self, command: str, *arguments: str) -> str:
        self.calls.append((command, *arguments))
        if command == "sacctmgr":
            if self.sacctmgr_fault is not None:
                raise self.sacctmgr_fault
            tables = {"user": self.users, "assoc": self.accounts, "qos": self.qos}
            return "\n".join(tables[arguments[3]]) + "\n"
        if command == "squeue":
            return "".join(f"{line}\n" for line in self.queue)
        assert command == "scontrol"
        return self.config if "config" in arguments else "\n".join(self.partitions) + "\n"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(limits_module, "slurm", cluster.slurm)
    monkeypatch.setattr(limits_module, "user_name", lambda: "ann")
    return cluster


@pytest.fixture
def limits_of(cluster: Cluster) -> Callable[..., Limits]:
    def read(**section: Any) -> Limits:
        return read_limits(resolve(SlurmSection(**section), {}, Path("/nowhere/clusters.toml")))

    return read


Read = Callable[..., Limits]


def test_without_other_limits_the_controllers_memory_is_the_room(limits_of: Read) -> None:
    found = limits_of()
    assert (found.max_array_size, found.room, found.most_tasks) == (10001, 19999, 19999)
    assert found.room_reason == (
        "Slurm's controller holds fewer than 20,000 tasks (MaxJobCount), finished ones included "
        "for a while; it holds 0 now"
    )


def test_finished_tasks_take_the_controllers_memory_and_no_other_room(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.queue = ["ann|main|normal|ci|COMPLETED"] * 4
    assert limits_of(account="root").room == 19995
    assert limits_of(account="ci").room == 5


def test_the_association_limits_what_its_user_has_in_the_queue(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.queue = [*OTHERS, "ann|main|normal|ci|PENDING", "ann|main|normal|root|PENDING"]
    found = limits_of(account="ci")
    assert (found.room, found.most_tasks) == (4, 5)
    assert found.room_reason == (
        "account ci lets ann have 5 tasks in the queue (MaxSubmitJobs); 1 are there now"
    )


def test_a_limit_of_a_qos_goes_before_that_of_an_account(limits_of: Read) -> None:
    """So does Slurm: of 5 by the account and 6 by the QOS it takes 6 tasks."""
    found = limits_of(account="ci", qos="small")
    assert found.room == 6
    assert found.room_reason == (
        "QOS small lets a user have 6 tasks in the queue (MaxSubmitJobsPerUser); 0 are there now"
    )


def test_a_qos_limits_its_account_and_all_its_users_too(cluster: Cluster, limits_of: Read) -> None:
    cluster.queue = ["bob|main|small|ci|RUNNING"] * 37
    assert limits_of(account="ci", qos="small").room == 3
    cluster.queue = ["bob|main|small|lab|RUNNING"] * 48
    found = limits_of(account="ci", qos="small")
    assert (found.room, "all users together" in found.room_reason) == (2, True)


def test_the_account_above_limits_all_the_accounts_below(cluster: Cluster, limits_of: Read) -> None:
    cluster.users = ["ci|ann|ci|ci|||||||"]
    cluster.queue = [*OTHERS, *["carl|main|normal|ci|PENDING"] * 10]
    found = limits_of()
    assert found.room == 25 - 15
    assert found.room_reason == (
        "account lab lets all its users together have 25 tasks in the queue (GrpSubmitJobs); "
        "15 are there now"
    )


def test_room_is_never_below_none(cluster: Cluster, limits_of: Read) -> None:
    cluster.queue = ["ann|main|normal|ci|PENDING"] * 9
    assert limits_of(account="ci").room == 0


def test_the_qos_of_a_partition_goes_before_the_tasks_own(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.queue = ["ann|big|normal|root|RUNNING"] * 2
    found = limits_of(account="ci", qos="small", partition="big")
    assert found.room == 30 - 2
    assert found.walltime_reason == "the 1-00:00:00 that QOS partq allows (MaxWall)"


def test_a_qos_that_says_so_goes_before_that_of_its_partition(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.qos = ["small|OverPartQOS,PartitionTimeLimit|6|||5-00:00:00", QOS[2]]
    found = limits_of(account="ci", qos="small", partition="big")
    assert (found.room, found.max_walltime_s) == (6, 5 * 86400)


def test_an_association_of_the_partition_goes_before_that_of_all(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.users = [*USERS, "ci|ann|root|ci||off|2|||normal|"]
    cluster.queue = ["ann|main|normal|ci|RUNNING", "ann|off|normal|ci|RUNNING"]
    assert limits_of(account="ci", partition="off").room == 1
    assert limits_of(account="ci", partition="main").room == 3


def test_the_default_qos_of_the_association_is_the_tasks(cluster: Cluster, limits_of: Read) -> None:
    cluster.users = ["ci|ann|ci|ci|||||||small"]
    assert limits_of().room == 6


def test_walltime_is_the_least_of_partition_and_accounting(limits_of: Read) -> None:
    found = limits_of(account="ci", partition="off")
    assert found.max_walltime_s == 90 * 60
    assert found.walltime_reason == "the 01:30:00 that partition off allows (MaxTime)"
    found = limits_of(account="ci")
    assert found.max_walltime_s == 4 * 3600
    assert found.walltime_reason == "the 04:00:00 that account ci allows (MaxWall)"
    assert limits_of(account="ci", qos="small").max_walltime_s == 2 * 3600
    assert limits_of().max_walltime_s is None


def test_the_default_walltime_is_that_of_the_partition(limits_of: Read) -> None:
    assert limits_of(partition="big").default_walltime_s == 1800
    assert limits_of().default_walltime_s is None


def test_the_default_partition_serves_where_none_is_given(limits_of: Read) -> None:
    assert (limits_of().partition, limits_of().partition_fault) == ("main", None)


def test_an_unknown_partition_names_the_known_ones(limits_of: Read) -> None:
    assert limits_of(partition="nope").partition_fault == (
        "there is no partition 'nope'; give one by partition in [cluster.slurm] or by --partition; "
        "this cluster has: main, big, off, shut"
    )


def test_a_cluster_without_a_default_partition_wants_one_named(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.partitions = PARTITIONS[1:]
    assert (limits_of().partition_fault or "").startswith(
        "no partition is given and the cluster has no default; give one by partition"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("off", "partition off is in state DRAIN: it takes no new tasks; give one by partition"),
        ("shut", "partition shut is DOWN: tasks are taken, and wait until an administrator sets"),
    ],
)
def test_a_partition_that_is_not_up_is_told(limits_of: Read, name: str, words: str) -> None:
    assert (limits_of(partition=name).partition_fault or "").startswith(words)


def test_one_partition_of_several_that_is_up_is_enough(limits_of: Read) -> None:
    assert limits_of(partition="off,main").partition_fault is None


def test_a_cluster_without_accounts_is_not_asked_for_them(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.config = CONFIG.replace("storage/slurmdbd", "storage/none")
    found = limits_of(account="ci", qos="small")
    assert (found.accounting, found.room, found.max_walltime_s) == (False, 19999, None)
    assert [call for call in cluster.calls if call[0] == "sacctmgr"] == []


def test_limits_that_the_cluster_does_not_enforce_are_none(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.config = CONFIG.replace("associations,limits,qos", "associations")
    found = limits_of(account="ci")
    assert (found.accounting, found.room) == (True, 19999)


def test_accounts_that_do_not_answer_are_told_and_the_rest_is_read(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.sacctmgr_fault = SlurmError("sacctmgr: Connection refused")
    found = limits_of(account="ci")
    assert (found.room, found.accounting) == (19999, True)
    assert found.accounting_fault == (
        "the limits of accounts and QOS could not be read: sacctmgr: Connection refused"
    )


def test_sacctmgr_that_says_there_are_no_accounts_is_believed(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.sacctmgr_fault = AccountingOffError("sacctmgr: this cluster keeps no accounts")
    assert limits_of().accounting is False


def test_a_user_without_an_association_has_no_limits_of_one(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.users = []
    assert limits_of().room == 19999


def test_few_commands_are_asked(cluster: Cluster, limits_of: Read) -> None:
    limits_of(account="ci")
    assert len(cluster.calls) == 6


def test_a_configuration_that_names_no_limits_leaves_slurms_own_array_size(
    cluster: Cluster, limits_of: Read
) -> None:
    cluster.config = "ClusterName = ci\n"
    found = limits_of()
    assert (found.max_array_size, found.room) == (1001, None)
    assert found.room_reason == "Slurm names no limit on tasks in the queue"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60:00", 3600),
        ("1-00:00:00", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("04:00:00", 14400),
        ("90", 5400),
        ("UNLIMITED", None),
        ("INFINITE", None),
        ("infinite", None),
        ("NONE", None),
        ("N/A", None),
        ("Partition_Limit", None),
        ("", None),
    ],
)
def test_a_time_of_slurms_is_read_in_all_its_shapes(text: str, seconds: int | None) -> None:
    assert seconds_of_time(text) == seconds


@pytest.mark.parametrize("seconds", [60, 5400, 86400, 131400])
def test_a_time_in_words_is_read_back_as_it_was(seconds: int) -> None:
    assert seconds_of_time(time_in_words(seconds)) == seconds


def test_a_record_is_read_with_the_equal_signs_of_its_values() -> None:
    record = record_of(PARTITIONS[1])
    assert record["TRES"] == "cpu=8,mem=8000M,node=2,billing=8,gres/gpu=4"
    assert (record["MaxTime"], record["QoS"]) == ("3-00:00:00", "partq")
