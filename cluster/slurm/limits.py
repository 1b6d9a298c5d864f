"""What this cluster allows this user now, read from Slurm: array size, tasks, walltime."""

from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phasecube.cluster.slurm.accounts import (
    ACCOUNT,
    ASSOCIATION,
    QOS,
    QUEUE,
    Bound,
    Row,
    standing_of,
    submit_bounds,
    walltime_bound,
)
from phasecube.cluster.slurm.command import AccountingOffError, SlurmError, slurm
from phasecube.cluster.slurm.settings import SlurmSettings
from phasecube.cluster.slurm.text import (
    NONE,
    config_of,
    count_of,
    record_of,
    rows_of,
    seconds_of_time,
    time_in_words,
)

SLURMS_OWN_ARRAY_SIZE = 1001  # where the configuration does not say
IN_QUEUE = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"})
_STATES = {
    "DOWN": "is DOWN: tasks are taken, and wait until an administrator sets it UP",
    "DRAIN": "is in state DRAIN: it takes no new tasks",
    "INACTIVE": "is INACTIVE: it takes no tasks and starts none",
}


@dataclass(frozen=True)
class Limits:
    """What may be asked for. A `None` says that Slurm names no limit."""

    max_array_size: int  # an array's indices run from 0 to one less
    room: int | None  # tasks that may be submitted now
    room_reason: str
    most_tasks: int | None  # tasks that may be in the queue at once, were it empty
    max_walltime_s: int | None
    walltime_reason: str  # in words that follow "more than"
    default_walltime_s: int | None  # of a job that asks for none
    accounting: bool  # sacct answers
    accounting_fault: str | None  # why the limits of accounts could not be read
    partition: str  # those asked for, or the default one
    partition_fault: str | None  # why nothing would start there, with a remedy


UNASKED = Limits(
    max_array_size=SLURMS_OWN_ARRAY_SIZE,
    room=None,
    room_reason="",
    most_tasks=None,
    max_walltime_s=None,
    walltime_reason="",
    default_walltime_s=None,
    accounting=False,
    accounting_fault=None,
    partition="",
    partition_fault=None,
)


def read_limits(settings: SlurmSettings) -> Limits:
    """Return what the cluster allows now for these settings: 3 calls, 6 with accounting.

    Raises SlurmMissingError and SlurmSilentError where Slurm cannot be asked.
    """
    config = config_of(slurm("scontrol", "show", "config"))
    partitions = [
        record_of(line)
        for line in slurm("scontrol", "-a", "show", "partition", "-o").splitlines()
        if line.strip()
    ]
    asked, partition_fault = _asked(settings.partition, partitions)
    partition_qos = {
        p["PartitionName"]: "" if p.get("QoS", "").upper() in NONE else p["QoS"] for p in asked
    }
    accounts = _Accounts.read(config, settings, partition_qos)
    array_size = count_of(config.get("MaxArraySize", ""))
    bounds, memory = accounts.bounds, count_of(config.get("MaxJobCount", ""))
    queue = rows_of(slurm("squeue", "-h", "-a", "-r", "-t", "all", "-o", "%u|%P|%q|%a|%T"), QUEUE)
    rooms = [(b.allowed - _waiting(queue, b), _room_in_words(b, queue)) for b in bounds]
    if memory is not None:
        # The controller refuses the last one, and counts the finished for as long as it lists them.
        rooms.append(
            (
                memory - 1 - len(queue),
                f"Slurm's controller holds fewer than {memory:,} tasks (MaxJobCount), finished "
                f"ones included for a while; it holds {len(queue):,} now",
            )
        )
    room, room_reason = min(rooms, default=(None, "Slurm names no limit on tasks in the queue"))
    whole = [bound.allowed for bound in bounds] + ([] if memory is None else [memory - 1])
    max_walltime_s, walltime_reason = _walltime(asked, accounts)
    defaults = [seconds_of_time(p.get("DefaultTime", "")) for p in asked]
    return Limits(
        max_array_size=SLURMS_OWN_ARRAY_SIZE if array_size is None else max(1, array_size),
        room=None if room is None else max(0, room),
        room_reason=room_reason,
        most_tasks=min(whole, default=None),
        max_walltime_s=max_walltime_s,
        walltime_reason=walltime_reason,
        default_walltime_s=min((s for s in defaults if s is not None), default=None),
        accounting=accounts.kept,
        accounting_fault=accounts.fault,
        partition=settings.partition or ",".join(partition_qos),
        partition_fault=partition_fault,
    )


def user_name() -> str:
    """Return the name that Slurm knows the user by: that of the process's user id."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return getpass.getuser()  # a container without a list of users


@dataclass(frozen=True)
class _Accounts:
    """What accounting adds: limits on tasks and on walltime."""

    kept: bool
    bounds: Sequence[Bound] = ()
    walltime: Bound | None = None
    instead_of_partition: bool = False
    fault: str | None = None

    @classmethod
    def read(
        cls, config: Mapping[str, str], settings: SlurmSettings, partition_qos: Mapping[str, str]
    ) -> _Accounts:
        kept = config.get("AccountingStorageType", "").endswith("slurmdbd")
        enforced = config.get("AccountingStorageEnforce", "").lower().split(",")
        if not kept or not {"limits", "safe"} & set(enforced):
            return cls(kept)
        user, cluster = user_name(), f"cluster={config.get('ClusterName', '')}"
        try:
            associations = _sacctmgr(
                "user", user, "withassoc", "where", cluster, columns=ASSOCIATION
            )
            account_rows = _sacctmgr("assoc", "where", cluster, "user=", columns=ACCOUNT)
            qos_rows = _sacctmgr("qos", columns=QOS)
        except AccountingOffError:
            return cls(kept=False)
        except SlurmError as error:
            said = (error.said or str(error)).splitlines()[0]
            return cls(kept, fault=f"the limits of accounts and QOS could not be read: {said}")
        standing = standing_of(user, settings.account, settings.qos, partition_qos, associations)
        walltime, instead = walltime_bound(standing, qos_rows, partition_qos)
        bounds = submit_bounds(standing, qos_rows, account_rows, partition_qos)
        return cls(kept, bounds, walltime, instead)


def _sacctmgr(what: str, *where: str, columns: str) -> list[dict[str, str]]:
    return rows_of(
        slurm("sacctmgr", "-n", "-P", "show", what, *where, f"format={columns}"), columns
    )


def _waiting(queue: Sequence[Row], bound: Bound) -> int:
    return sum(1 for row in queue if row["state"] in IN_QUEUE and bound.scope.holds(row))


def _room_in_words(bound: Bound, queue: Sequence[Row]) -> str:
    return (
        f"{bound.whose} {bound.allowed:,} tasks in the queue ({bound.name}); "
        f"{_waiting(queue, bound):,} are there now"
    )


def _asked(
    named: str | None, partitions: Sequence[dict[str, str]]
) -> tuple[list[dict[str, str]], str | None]:
    """Return the partitions that tasks go to, and why none would start there, if so."""
    known = {p["PartitionName"]: p for p in partitions if "PartitionName" in p}
    offer = f"this cluster has: {', '.join(known) or 'none that you may see'}"
    remedy = "give one by partition in [cluster.slurm] or by --partition"
    if named is None:
        found = [p for p in known.values() if p.get("Default") == "YES"]
        if not found:
            return [], f"no partition is given and the cluster has no default; {remedy}; {offer}"
    else:
        names = [name.strip() for name in named.split(",")]
        if unknown := [name for name in names if name not in known]:
            return [known[n] for n in names if n in known], (
                f"there is no partition {unknown[0]!r}; {remedy}; {offer}"
            )
        found = [known[name] for name in names]
    if any(p.get("State") == "UP" for p in found):
        return found, None
    first = found[0]
    state = _STATES.get(first.get("State", ""), f"is in state {first.get('State')!r}, not UP")
    return found, f"partition {first['PartitionName']} {state}; {remedy}; {offer}"


def _walltime(asked: Sequence[Row], accounts: _Accounts) -> tuple[int | None, str]:
    found: list[tuple[int, str]] = []
    if (bound := accounts.walltime) is not None:
        text = f"the {time_in_words(bound.allowed)} that {bound.whose} allows ({bound.name})"
        found.append((bound.allowed, text))
    for partition in [] if accounts.instead_of_partition else asked:
        if (seconds := seconds_of_time(partition.get("MaxTime", ""))) is not None:
            name = partition["PartitionName"]
            text = f"the {time_in_words(seconds)} that partition {name} allows (MaxTime)"
            found.append((seconds, text))
    return min(found, default=(None, "Slurm names no limit on walltime"))
