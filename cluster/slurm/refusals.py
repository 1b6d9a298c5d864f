"""What sbatch refused, in a sentence: what is wrong, which setting, what the cluster offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from phasecube.cluster.slurm import refusal_words as words
from phasecube.cluster.slurm.limits import Limits
from phasecube.cluster.slurm.settings import SlurmSettings

_PREFIXES = ("sbatch: error: ", "Batch job submission failed: ")
# Texts of Slurm 20 to 24. A refusal may name several: the first of this order explains it.
_SUBMIT_LIMITS = (
    "SubmitJob",  # AssocMaxSubmitJobLimit, QOSMaxSubmitJobPerUserLimit, AssocGrpSubmitJobsLimit
    "temporarily unable to accept job",  # MaxJobCount
    "Resource temporarily unavailable",
)
_ARRAY = "Invalid job array specification"


def is_submit_limit(said: str) -> bool:
    """Return whether Slurm refused because too many tasks are in the queue: room comes of itself.

    A refusal of what a task asks for bears the same sentence of Slurm's, and is none.
    """
    return any(text in said for text in _SUBMIT_LIMITS)


def is_limit_of_tasks(said: str) -> bool:
    """Return whether fewer tasks might have been taken: a limit of the user's, not a full Slurm."""
    return _SUBMIT_LIMITS[0] in said


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
            return (
                f"Slurm refused the job array: {rule.explain(words.Case(short, settings, limits))}"
            )
    return f"Slurm refused the job array: {short}"


@dataclass(frozen=True)
class _Rule:
    texts: tuple[str, ...]
    explain: Callable[[words.Case], str]


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


_RULES = (
    _Rule(_SUBMIT_LIMITS, words.submit_limit),
    _Rule((_ARRAY,), words.array),
    _Rule(("Job array not supported",), words.plain("this cluster has job arrays turned off")),
    _Rule(("invalid partition specified", "Invalid partition name specified"), words.partition),
    _Rule(("No partition specified or system default partition",), words.no_partition),
    _Rule(
        ("group not permitted to use this partition", "partition access denied"),
        words.partition_forbidden,
    ),
    _Rule(("Required partition not available", "Partition in DOWN state"), words.partition_closed),
    _Rule(
        ("Multiple partition job request not supported",),
        words.plain(
            "your account is bound to one partition, so `partition` may name no more than one"
        ),
    ),
    _Rule(("Invalid account",), words.account),
    _Rule(("Invalid qos", "Invalid QOS"), words.qos_unknown),
    _Rule(
        ("breached requested QOS usage threshold",),
        words.qos_used_up,
    ),
    _Rule(
        ("Requested time limit is invalid", "Time limit specification required", "MaxWallDuration"),
        words.time,
    ),
    _Rule(("Job violates accounting/QOS policy",), words.policy),
    _Rule(("Invalid generic resource (gres)", "Invalid GRES", "Invalid gres"), words.gres),
    _Rule(("Invalid feature specification", "Invalid preferred feature"), words.feature),
    _Rule(
        ("Memory specification can not be satisfied", "Memory required by task is not available"),
        words.memory,
    ),
    _Rule(
        (
            "CPU count per node can not be satisfied",
            "CPU count specification invalid",
            "More processors requested than permitted",
            "more tasks than available processors",
        ),
        words.cores,
    ),
    _Rule(
        ("Invalid node name", "Requested nodes not in this partition"),
        words.sbatch("it names a node that is not there"),
    ),
    _Rule(
        ("Requested node configuration is not available", "Node count specification invalid"),
        words.nowhere,
    ),
    _Rule(("Requested partition configuration not available",), words.nowhere),
    _Rule(
        ("Required node not available", "Requested nodes are busy"),
        words.sbatch("a node that it asks for is down, drained or reserved"),
    ),
    _Rule(
        ("Invalid wckey",), words.sbatch("the cluster wants a workload key of yours, --wckey=NAME")
    ),
    _Rule(("Invalid license",), words.sbatch("the cluster knows no such licence")),
    _Rule(("dependency",), words.sbatch("the dependency names no job that can be waited for")),
    _Rule(("eservation",), words.sbatch("the reservation is not one that takes this job now")),
    _Rule(("Burst Buffer", "burst buffer"), words.sbatch("the burst buffer cannot be had")),
    _Rule(
        ("unrecognized option", "Invalid --", "Invalid time specified"),
        words.sbatch("an option is wrong"),
    ),
    _Rule(
        ("invalid option", "requires an argument", "is ambiguous"),
        words.sbatch("an option is wrong"),
    ),
    _Rule(
        ("System submissions disabled",),
        words.plain("the administrators let nobody submit now; try again when they do"),
    ),
    _Rule(
        ("User not found on host", "Invalid user id"),
        words.plain("the cluster does not know your user; ask its administrators"),
    ),
    _Rule(
        ("Access/permission denied",),
        words.plain("you may not do that on this cluster; ask its administrators"),
    ),
    _Rule(
        ("credential", "uthentication"),
        words.plain(
            "this machine cannot prove to Slurm who you are; ask the cluster's administrators"
        ),
    ),
    _Rule(
        ("Zero Bytes were transmitted", "Unable to create job record", "Slurm internal error"),
        words.plain(
            "the controller failed at it; see with squeue whether it was taken, then try again"
        ),
    ),
    _Rule(
        ("Job is in held state",),
        words.plain("an administrator must release it first; ask the cluster's administrators"),
    ),
    _Rule(
        ("I/O error writing script", "No space left"),
        words.plain("the controller's disk is full or broken; ask the cluster's administrators"),
    ),
    _Rule(
        ("Pathname of a file", "Job script", "batch script"),
        words.plain("Slurm could not take the script; report this to phasecube"),
    ),
    _Rule(
        ("Requested operation is presently disabled",), words.plain("the cluster has that disabled")
    ),
)
