"""The sentences that explain a refusal: what is wrong, which setting, what the cluster offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from phasecube.cluster.slurm.limits import Limits
from phasecube.cluster.slurm.offers import (
    accounts_offered,
    nodes_offered,
    partitions_offered,
    qos_offered,
)
from phasecube.cluster.slurm.settings import SlurmSettings, flag_of
from phasecube.cluster.slurm.text import time_in_words
from phasecube.sweeps.summary import count


@dataclass(frozen=True)
class Case:
    """A refusal: what sbatch said, what was asked for, what the cluster allowed just before."""

    said: str
    settings: SlurmSettings
    limits: Limits | None


def _give(key: str) -> str:
    """Return how a setting is given: in the sweep file, or as a flag."""
    return f"`{key}` in [cluster.slurm], or {flag_of(key)}"


def _asked(text: str | int | None) -> str:
    return "" if text is None else f" {text!r}"


def _in_partition(settings: SlurmSettings) -> str:
    return f" in partition {settings.partition!r}" if settings.partition else ""


def partition(case: Case) -> str:
    """Say that there is no such partition."""
    return (
        f"there is no partition{_asked(case.settings.partition)}; give {_give('partition')}"
        f"{partitions_offered()}"
    )


def no_partition(case: Case) -> str:  # noqa: ARG001
    """Say that there is no default partition."""
    return f"the cluster has no default partition; give {_give('partition')}{partitions_offered()}"


def partition_closed(case: Case) -> str:
    """Say that the partition takes no jobs."""
    return (
        f"partition{_asked(case.settings.partition)} takes no jobs now ({case.said}); give another "
        f"by {_give('partition')}{partitions_offered()}"
    )


def partition_forbidden(case: Case) -> str:
    """Say that the partition is not for this user."""
    return (
        f"you may not use partition{_asked(case.settings.partition)} ({case.said}); give another "
        f"by {_give('partition')}, or ask the cluster's administrators{partitions_offered()}"
    )


def account(case: Case) -> str:
    """Say that the account is none of the user's."""
    asked = case.settings.account
    what = f"account {asked!r} does not exist, or is not yours" if asked else "you have no account"
    return f"{what}{_in_partition(case.settings)}; give {_give('account')}{accounts_offered()}"


def qos_unknown(case: Case) -> str:
    """Say that the QOS is none of the user's."""
    asked = case.settings.qos
    what = f"QOS {asked!r} does not exist, or is not yours" if asked else "the default QOS is none"
    return f"{what}; give {_give('qos')}{qos_offered()}"


def qos_used_up(case: Case) -> str:
    """Say that the account has used up its share of the QOS."""
    return (
        f"your account has used up what QOS{_asked(case.settings.qos)} grants; give another by "
        f"{_give('qos')}{qos_offered()}"
    )


def submit_limit(case: Case) -> str:
    """Say that too many tasks are in the queue."""
    word = case.said.split("; ")[0]
    room = f": {case.limits.room_reason}" if case.limits is not None else ""
    return f"too many tasks are in the queue already ({word}){room}"


def policy(case: Case) -> str:
    """Say that an account or QOS forbids it."""
    walltime = ""
    if case.limits is not None and case.limits.max_walltime_s is not None:
        walltime = f" (no more than {case.limits.walltime_reason})"
    return (
        f"it asks for more than your account or QOS allows ({case.said}); ask for less by "
        f"`walltime`{walltime}, `cpus`, `memory` or `gpus` in [cluster.slurm], or for another "
        "`qos` or `account`"
    )


def array(case: Case) -> str:
    """Say that the array is too large."""
    if case.limits is None:
        return "a job array of it may not have so many tasks (MaxArraySize); give `packs_per_job`"
    return (
        f"a job array has no more than {case.limits.max_array_size:,} tasks here (MaxArraySize); "
        f"put more packs into a task by {_give('packs_per_job')}"
    )


def time(case: Case) -> str:
    """Say that the walltime is too long."""
    asked = time_in_words(case.settings.walltime_s)
    most = ""
    if case.limits is not None and case.limits.max_walltime_s is not None:
        most = f" (no more than {case.limits.walltime_reason})"
    return (
        f"a walltime of {asked} is more than is allowed{_in_partition(case.settings)}; give "
        f"less by {_give('walltime')}{most}: a task whose time runs out goes on in a further one"
        f"{'' if most else partitions_offered()}"
    )


def gres(case: Case) -> str:
    """Say that there is no such device."""
    asked = case.settings.gres or (f"gpu:{case.settings.gpus}" if case.settings.gpus else None)
    return (
        f"the cluster knows no such device as{_asked(asked) or ' asked for'}; give "
        f"{_give('gres')}, or {_give('gpus')}{nodes_offered(case.settings.partition)}"
    )


def feature(case: Case) -> str:
    """Say that there is no such feature."""
    return (
        f"no node has the feature{_asked(case.settings.constraint)}; give "
        f"{_give('constraint')}{nodes_offered(case.settings.partition)}"
    )


def memory(case: Case) -> str:
    """Say that no node has the memory."""
    amount = case.settings.memory_mb
    asked = "the memory of a task" if amount is None else f"{amount:,} MB of memory for a task"
    where, nodes = _in_partition(case.settings), nodes_offered(case.settings.partition)
    return f"no node{where} has {asked}; give {_give('memory')}{nodes}"


def cores(case: Case) -> str:
    """Say that no node has the cores."""
    where, nodes = _in_partition(case.settings), nodes_offered(case.settings.partition)
    return (
        f"no node{where} gives a task {count(case.settings.cpus, 'core')}; ask for less by "
        f"{_give('cpus')} (or fewer `processes`){nodes}"
    )


def nowhere(case: Case) -> str:
    """Say that no node has all of it."""
    s = case.settings
    asked = [count(s.cpus, "core")]
    asked += [] if s.memory_mb is None else [f"{s.memory_mb:,} MB"]
    asked += [] if s.gpus is None else [f"{s.gpus} GPUs"]
    asked += [part for part in (s.gres, s.constraint) if part is not None]
    return (
        f"no node{_in_partition(s)} has what a task asks for ({', '.join(asked)}); ask for less by "
        f"`cpus`, `memory`, `gpus`, `gres` or `constraint` in [cluster.slurm]"
        f"{nodes_offered(s.partition)}"
    )


def sbatch(what: str) -> Callable[[Case], str]:
    """Return the rule for what only a line of the user's own can cause."""

    def explain(case: Case) -> str:
        return f"{what} ({case.said}); see `sbatch` in [cluster.slurm], and --sbatch"

    return explain


def plain(what: str) -> Callable[[Case], str]:
    """Return the rule for what no setting changes."""
    return lambda case: f"{what} ({case.said})"
