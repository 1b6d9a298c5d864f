"""What sbatch refused, in a sentence: what is wrong, which setting, what the cluster offers."""

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

_PREFIXES = ("sbatch: error: ", "Batch job submission failed: ")
# Texts of Slurm 20 to 24. A refusal may name several: the first of this order explains it.
_SUBMIT_LIMITS = (
    "SubmitJob",  # AssocMaxSubmitJobLimit, QOSMaxSubmitJobPerUserLimit, AssocGrpSubmitJobsLimit
    "temporarily unable to accept job",  # MaxJobCount
    "Resource temporarily unavailable",
    "Reached the maximum number of jobs",
)
_ARRAY = "Invalid job array specification"


def is_submit_limit(said: str) -> bool:
    """Return whether Slurm refused because too many tasks are in the queue: room comes of itself.

    A refusal for walltime or size has the same sentence of Slurm's, and is none.
    """
    if any(text in said for text in _SUBMIT_LIMITS):
        return True
    policy = "job submit limit, user's size and/or time limits" in said
    return policy and not any(word in said for word in ("PerJob", "PerNode", "QOSMin"))


def is_array_too_large(said: str) -> bool:
    """Return whether Slurm refused the indices of a job array."""
    return _ARRAY in said


def explain_refusal(said: str, settings: SlurmSettings, limits: Limits | None = None) -> str:
    """Return what sbatch `said`, explained, with a remedy that names the setting.

    A text that is not known is returned as it stands. What the cluster offers is asked of
    Slurm; where that fails, too, the sentence goes without it.
    """
    short = _short(said)
    for rule in _RULES:
        if any(text in said for text in rule.texts):
            return f"Slurm refused the job array: {rule.explain(_Case(short, settings, limits))}"
    return f"Slurm refused the job array: {short}"


@dataclass(frozen=True)
class _Case:
    said: str
    settings: SlurmSettings
    limits: Limits | None


@dataclass(frozen=True)
class _Rule:
    texts: tuple[str, ...]
    explain: Callable[[_Case], str]


def _short(said: str) -> str:
    """Return the text without what sbatch puts before every line, on one line."""
    lines = []
    for line in said.splitlines():
        rest = line.strip()
        for prefix in _PREFIXES:
            rest = rest.removeprefix(prefix)
        if rest and rest not in lines:
            lines.append(rest)
    return "; ".join(lines)


def _give(key: str) -> str:
    """Return how a setting is given: in the sweep file, or as a flag."""
    return f"`{key}` in [cluster.slurm], or {flag_of(key)}"


def _asked(text: str | int | None) -> str:
    return "" if text is None else f" {text!r}"


def _in_partition(settings: SlurmSettings) -> str:
    return f" in partition {settings.partition!r}" if settings.partition else ""


def _partition(case: _Case) -> str:
    return (
        f"there is no partition{_asked(case.settings.partition)}; give {_give('partition')}"
        f"{partitions_offered()}"
    )


def _no_partition(case: _Case) -> str:  # noqa: ARG001
    return f"the cluster has no default partition; give {_give('partition')}{partitions_offered()}"


def _partition_closed(case: _Case) -> str:
    return (
        f"partition{_asked(case.settings.partition)} takes no jobs now ({case.said}); give another "
        f"by {_give('partition')}{partitions_offered()}"
    )


def _partition_forbidden(case: _Case) -> str:
    return (
        f"you may not use partition{_asked(case.settings.partition)} ({case.said}); give another "
        f"by {_give('partition')}, or ask the cluster's administrators{partitions_offered()}"
    )


def _account(case: _Case) -> str:
    asked = case.settings.account
    what = f"account {asked!r} does not exist, or is not yours" if asked else "you have no account"
    return f"{what}{_in_partition(case.settings)}; give {_give('account')}{accounts_offered()}"


def _qos_unknown(case: _Case) -> str:
    asked = case.settings.qos
    what = f"QOS {asked!r} does not exist, or is not yours" if asked else "the default QOS is none"
    return f"{what}; give {_give('qos')}{qos_offered()}"


def _submit_limit(case: _Case) -> str:
    room = f": {case.limits.room_reason}" if case.limits is not None else ""
    return f"too many tasks are in the queue already ({case.said}){room}"


def _policy(case: _Case) -> str:
    walltime = ""
    if case.limits is not None and case.limits.max_walltime_s is not None:
        walltime = f" (no more than {case.limits.walltime_reason})"
    return (
        f"it asks for more than your account or QOS allows ({case.said}); ask for less by "
        f"`walltime`{walltime}, `cpus`, `memory` or `gpus` in [cluster.slurm], or for another "
        "`qos` or `account`"
    )


def _array(case: _Case) -> str:
    if case.limits is None:
        return "a job array of it may not have so many tasks (MaxArraySize); give `packs_per_job`"
    return (
        f"a job array has no more than {case.limits.max_array_size:,} tasks here (MaxArraySize); "
        f"put more packs into a task by {_give('packs_per_job')}"
    )


def _time(case: _Case) -> str:
    asked = time_in_words(case.settings.walltime_s)
    most = ""
    if case.limits is not None and case.limits.max_walltime_s is not None:
        most = f" (no more than {case.limits.walltime_reason})"
    return (
        f"a walltime of {asked} is more than is allowed{_in_partition(case.settings)}; give "
        f"less by {_give('walltime')}{most}: a task whose time runs out goes on in a further one"
        f"{'' if most else partitions_offered()}"
    )


def _gres(case: _Case) -> str:
    asked = case.settings.gres or (f"gpu:{case.settings.gpus}" if case.settings.gpus else None)
    return (
        f"the cluster knows no such device as{_asked(asked) or ' asked for'}; give "
        f"{_give('gres')}, or {_give('gpus')}{nodes_offered()}"
    )


def _feature(case: _Case) -> str:
    return (
        f"no node has the feature{_asked(case.settings.constraint)}; give "
        f"{_give('constraint')}{nodes_offered()}"
    )


def _memory(case: _Case) -> str:
    amount = case.settings.memory_mb
    asked = "the memory of a task" if amount is None else f"{amount:,} MB of memory for a task"
    where = _in_partition(case.settings)
    return f"no node{where} has {asked}; give {_give('memory')}{nodes_offered()}"


def _cores(case: _Case) -> str:
    return (
        f"no node{_in_partition(case.settings)} has {case.settings.cpus} cores for a task; give "
        f"{_give('cpus')} (or fewer `processes`){nodes_offered()}"
    )


def _nowhere(case: _Case) -> str:
    s = case.settings
    asked = [f"{s.cpus} cores"]
    asked += [] if s.memory_mb is None else [f"{s.memory_mb:,} MB"]
    asked += [] if s.gpus is None else [f"{s.gpus} GPUs"]
    asked += [part for part in (s.gres, s.constraint) if part is not None]
    return (
        f"no node{_in_partition(s)} has what a task asks for ({', '.join(asked)}); ask for less by "
        f"`cpus`, `memory`, `gpus`, `gres` or `constraint` in [cluster.slurm]{nodes_offered()}"
    )


def _sbatch(what: str) -> Callable[[_Case], str]:
    def explain(case: _Case) -> str:
        return f"{what} ({case.said}); see `sbatch` in [cluster.slurm], and --sbatch"

    return explain


def _plain(what: str) -> Callable[[_Case], str]:
    return lambda case: f"{what} ({case.said})"


_RULES = (
    _Rule(_SUBMIT_LIMITS, _submit_limit),
    _Rule((_ARRAY,), _array),
    _Rule(("Job array not supported",), _plain("this cluster has job arrays turned off")),
    _Rule(("invalid partition specified", "Invalid partition name specified"), _partition),
    _Rule(("No partition specified or system default partition",), _no_partition),
    _Rule(
        ("group not permitted to use this partition", "partition access denied"),
        _partition_forbidden,
    ),
    _Rule(("Required partition not available", "Partition in DOWN state"), _partition_closed),
    _Rule(
        ("Multiple partition job request not supported",),
        _plain("your account is bound to one partition, so `partition` may name no more than one"),
    ),
    _Rule(("Invalid account",), _account),
    _Rule(("Invalid qos", "Invalid QOS", "Invalid qos specification"), _qos_unknown),
    _Rule(
        ("breached requested QOS usage threshold",),
        lambda c: (
            f"your account has used up what QOS{_asked(c.settings.qos)} grants; give another "
            f"by {_give('qos')}{qos_offered()}"
        ),
    ),
    _Rule(
        ("Requested time limit is invalid", "Time limit specification required", "MaxWallDuration"),
        _time,
    ),
    _Rule(("Invalid --time specification", "Invalid time specified"), _time),
    _Rule(("Job violates accounting/QOS policy",), _policy),
    _Rule(("Invalid generic resource (gres)", "Invalid GRES", "Invalid gres"), _gres),
    _Rule(("Invalid feature specification", "Invalid preferred feature"), _feature),
    _Rule(
        ("Memory specification can not be satisfied", "Memory required by task is not available"),
        _memory,
    ),
    _Rule(
        (
            "CPU count per node can not be satisfied",
            "CPU count specification invalid",
            "More processors requested than permitted",
            "more tasks than available processors",
        ),
        _cores,
    ),
    _Rule(("Invalid node name", "Requested nodes not in this partition"), _sbatch("a node")),
    _Rule(
        ("Requested node configuration is not available", "Node count specification invalid"),
        _nowhere,
    ),
    _Rule(("Requested partition configuration not available",), _nowhere),
    _Rule(
        ("Required node not available", "Requested nodes are busy"),
        _sbatch("a node that it asks for is down, drained or reserved"),
    ),
    _Rule(("Invalid wckey",), _sbatch("the cluster wants a workload key of yours, --wckey=NAME")),
    _Rule(("Invalid license",), _sbatch("the cluster knows no such licence")),
    _Rule(("dependency",), _sbatch("the dependency names no job that can be waited for")),
    _Rule(("eservation",), _sbatch("the reservation is not one that takes this job now")),
    _Rule(("Burst Buffer", "burst buffer"), _sbatch("the burst buffer cannot be had")),
    _Rule(("Invalid --nice", "unrecognized option", "Invalid --"), _sbatch("an option is wrong")),
    _Rule(
        ("invalid option", "requires an argument", "is ambiguous"), _sbatch("an option is wrong")
    ),
    _Rule(
        ("System submissions disabled",),
        _plain("the administrators let nobody submit now; try again when they do"),
    ),
    _Rule(
        ("User not found on host", "Invalid user id"),
        _plain("the cluster does not know your user; ask its administrators"),
    ),
    _Rule(
        ("Access/permission denied",),
        _plain("you may not do that on this cluster; ask its administrators"),
    ),
    _Rule(
        ("credential", "uthentication"),
        _plain("this machine cannot prove to Slurm who you are; ask the cluster's administrators"),
    ),
    _Rule(
        ("Zero Bytes were transmitted", "Unable to create job record", "Slurm internal error"),
        _plain("the controller failed at it; see with squeue whether it was taken, then try again"),
    ),
    _Rule(
        ("I/O error writing script", "No space left"),
        _plain("the controller's disk is full or broken; ask the cluster's administrators"),
    ),
    _Rule(
        ("Pathname of a file", "Job script", "batch script"),
        _plain("Slurm could not take the script; report this to phasecube"),
    ),
    _Rule(("Requested operation is presently disabled",), _plain("the cluster has that disabled")),
)
