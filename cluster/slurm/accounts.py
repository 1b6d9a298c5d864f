"""What accounts and qualities of service allow a user: which limits of theirs bind a submission."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from phasecube.cluster.slurm.text import count_of, seconds_of_time

Row = Mapping[str, str]
ASSOCIATION = (
    "Cluster,User,DefaultAccount,Account,ParentName,Partition,MaxSubmit,GrpSubmit,MaxWall,QOS,"
    "DefaultQOS"
)
ACCOUNT = "Cluster,User,Account,ParentName,GrpSubmit"
QOS = "Name,Flags,MaxSubmitPU,MaxSubmitPA,GrpSubmit,MaxWall"
QUEUE = "user,partition,qos,account,state"
PER_USER, GROUP = "MaxSubmitJobsPerUser", "GrpSubmitJobs"


@dataclass(frozen=True)
class Scope:
    """Which tasks of the queue a limit counts; None: whatever they have there."""

    user: str | None = None
    accounts: frozenset[str] | None = None
    partition: str | None = None
    qos: str | None = None
    qos_partitions: frozenset[str] = frozenset()  # whose tasks count for the QOS, too

    def holds(self, row: Row) -> bool:
        """Return whether the limit counts the task of this row."""
        partitions = row["partition"].split(",")  # a waiting task may name several
        return (
            (self.user is None or row["user"] == self.user)
            and (self.accounts is None or row["account"] in self.accounts)
            and (self.partition is None or self.partition in partitions)
            and (
                self.qos is None
                or row["qos"] == self.qos
                or not self.qos_partitions.isdisjoint(partitions)
            )
        )


@dataclass(frozen=True)
class Bound:
    """One limit: its amount (tasks, or seconds), Slurm's name of it, whose it is in words."""

    allowed: int
    name: str
    whose: str
    scope: Scope = Scope()


@dataclass(frozen=True)
class Standing:
    """Who asks, and as what: names in lower case, "" where the cluster has none."""

    user: str
    account: str
    qos: str
    association: Row


def standing_of(
    user: str, account: str | None, qos: str | None, partitions: Iterable[str], rows: Iterable[Row]
) -> Standing:
    """Return the association of `rows` that a job of the user would run in, and its QOS.

    What is not given (None) is the user's default.
    """
    own = [row for row in rows if row["User"] == user]
    default = next((row["DefaultAccount"] for row in own if row["DefaultAccount"]), "")
    account = (account or default).lower()
    fitting = [row for row in own if row["Account"] == account]
    within = set(partitions)
    # An association of a partition goes before that of all partitions.
    fitting.sort(key=lambda row: row["Partition"] not in within)
    usable = [row for row in fitting if row["Partition"] in within or not row["Partition"]]
    association: Row = usable[0] if usable else {}
    allowed = [name for name in association.get("QOS", "").split(",") if name]
    fallback = allowed[0] if len(allowed) == 1 else "normal" if "normal" in allowed else ""
    return Standing(
        user, account, (qos or association.get("DefaultQOS") or fallback).lower(), association
    )


def submit_bounds(
    standing: Standing,
    qos_rows: Iterable[Row],
    account_rows: Iterable[Row],
    partition_qos: Mapping[str, str],
) -> list[Bound]:
    """Return the limits on tasks in the queue that bind, a QOS's limit before an account's.

    `partition_qos` has the QOS of each partition asked for, "" where it has none.
    """
    order = _qos_order(standing, list(qos_rows), partition_qos)
    user, account = standing.user, standing.account
    only = frozenset({account})
    bounds: list[Bound] = []
    for column, name, who, scope in (
        ("MaxSubmitPU", PER_USER, "a user", Scope(user=user)),
        ("MaxSubmitPA", "MaxSubmitJobsPerAccount", "an account", Scope(accounts=only)),
        ("GrpSubmit", GROUP, "all users together", Scope()),
    ):
        setting = (row for row in order if count_of(row[column]) is not None)
        if (row := next(setting, None)) is not None:
            shared = frozenset(p for p, qos in partition_qos.items() if qos == row["Name"])
            scope = replace(scope, qos=row["Name"], qos_partitions=shared)
            whose = f"QOS {row['Name']} lets {who} have"
            bounds.append(Bound(count_of(row[column]) or 0, name, whose, scope))
    by_qos = {bound.name for bound in bounds}
    own = standing.association
    mine = Scope(user, only, own.get("Partition") or None)
    whose = f"account {account} lets {user} have"
    if PER_USER not in by_qos and (allowed := count_of(own.get("MaxSubmit", ""))) is not None:
        bounds.append(Bound(allowed, "MaxSubmitJobs", whose, mine))
    if GROUP not in by_qos:
        if (allowed := count_of(own.get("GrpSubmit", ""))) is not None:
            bounds.append(Bound(allowed, GROUP, whose, mine))
        bounds += _group_bounds(account, list(account_rows))
    return bounds


def walltime_bound(
    standing: Standing, qos_rows: Iterable[Row], partition_qos: Mapping[str, str]
) -> tuple[Bound | None, bool]:
    """Return the walltime, in seconds, that QOS or account allow, and whether it stands for all.

    True: a QOS takes the place of the partition's own limit.
    """
    order = _qos_order(standing, list(qos_rows), partition_qos)
    instead = any("PartitionTimeLimit" in row["Flags"].split(",") for row in order)
    for row in order:
        if (allowed := seconds_of_time(row["MaxWall"])) is not None:
            return Bound(allowed, "MaxWall", f"QOS {row['Name']}"), instead
    allowed = seconds_of_time(standing.association.get("MaxWall", ""))
    if allowed is None:
        return None, instead
    return Bound(allowed, "MaxWall", f"account {standing.account}"), instead


def _qos_order(
    standing: Standing, qos_rows: list[Row], partition_qos: Mapping[str, str]
) -> list[Row]:
    """Return the QOS that bind; the first that sets a limit decides it."""
    by_name = {row["Name"].lower(): row for row in qos_rows}
    own = [by_name[standing.qos]] if standing.qos in by_name else []
    of_partitions = [by_name[q.lower()] for q in partition_qos.values() if q.lower() in by_name]
    over = any("OverPartQOS" in row["Flags"].split(",") for row in own)
    return [*own, *of_partitions] if over else [*of_partitions, *own]


def _group_bounds(account: str, account_rows: list[Row]) -> list[Bound]:
    """Return the limits of the account and of all above it, each over all accounts below."""
    rows = {row["Account"]: row for row in account_rows if not row["User"]}
    bounds = []
    name, seen = account, set[str]()
    while name in rows and name not in seen:
        seen.add(name)
        if (allowed := count_of(rows[name]["GrpSubmit"])) is not None:
            whose = f"account {name} lets all its users together have"
            bounds.append(Bound(allowed, GROUP, whose, Scope(accounts=_below(name, rows))))
        name = rows[name]["ParentName"]
    return bounds


def _below(top: str, rows: Mapping[str, Row]) -> frozenset[str]:
    found = {top}
    while more := {n for n, row in rows.items() if row["ParentName"] in found} - found:
        found |= more
    return frozenset(found)
