"""Why a task waits: Slurm's word for it, and what that means for the user."""

from __future__ import annotations

import re

# Slurm's word -> in plain words. Those of NEVER wait for ever unless something is changed.
_WORDS = {
    "None": "Slurm has not looked at it yet",
    "Priority": "other jobs are ahead of it",
    "Resources": "no free node of the kind asked for; it is next when one is",
    "JobArrayTaskLimit": "as many tasks as the throttle allows run already",
    "BeginTime": "requeued; it starts again in up to two minutes (or at its --begin)",
    "Prolog": "its node is being prepared",
    "Reservation": "its reservation has not begun",
    "ReservationDeleted": "its reservation was deleted",
    "Licenses": "no free licence",
    "NodeDown": "a node it needs is down",
    "Cleaning": "its earlier run is being cleaned up",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "the job it waits for failed; cancel it and resume the study",
    "FrontEndDown": "the cluster's front end is down",
    "InactiveLimit": "the system's limit of inactivity was reached",
    "ReqNodeNotAvail": "a node it needs is down, drained or reserved",
    "SchedDefer": "the cluster defers new starts; it is tried again",
    "BurstBufferResources": "no room in the burst buffer",
    "BurstBufferStageIn": "its data is being staged in",
    "FedJobLock": "another cluster of the federation may be starting it",
    "MaxRequeue": "it was requeued as often as Slurm lets it; cancel it and resume the study",
    "DeadLine": "it can no longer end before its deadline; cancel it and resume the study",
    # What waits for ever.
    "PartitionTimeLimit": "asks for more walltime than its partition allows; ask for less",
    "PartitionNodeLimit": "asks for more nodes or tasks than its partition allows; ask for less",
    "PartitionConfig": "no node of its partition can ever hold it; ask for less, or elsewhere",
    "PartitionDown": "its partition is down until an administrator sets it up",
    "PartitionInactive": "its partition takes and starts nothing until an administrator sets it up",
    "BadConstraints": "no node has what it asks for (constraint, gres, memory, cpus); ask for less",
    "AccountNotAllowed": "its partition does not serve its account; give another of the two",
    "QOSNotAllowed": "its partition or account does not serve its QOS; give another one",
    "InvalidAccount": "its account does not exist (any more); give another one",
    "InvalidQOS": "its QOS does not exist (any more); give another one",
    "AccountingPolicy": "a rule of accounting forbids it; ask the cluster's administrators",
    "JobHeldUser": "held by its owner; `phasecube release` lets it go",
    "JobHeldAdmin": "held by an administrator; only they can release it",
    "JobHoldMaxRequeue": "held: requeued as often as Slurm lets it; cancel it and resume the study",
    "JobLaunchFailure": "could not be started; see the node's log, then cancel it and resume",
    "ReservationInvalid": "its reservation does not exist or does not let it in",
}
_HELD = "held because its start failed again and again; `phasecube release` tries once more"
_FAILED_START = "its start failed; it is tried again"
# Reasons of several words; Slurm writes some of them with _ for spaces.
_SENTENCES = {
    "nodes required for job are down": "a node it needs is down, drained, or reserved for others",
    "launch failed requeued held": _HELD,
    "launch failed limit exceeded requeued held": _HELD,
    "job requeued in held state": "held after a requeue; `phasecube release` lets it go",
    "job requeued in special exit state": "held after its exit; `phasecube release` lets it go",
    "user env retrieval failed requeued held": _HELD,
    "burst buffer": "the burst buffer failed; `phasecube release` tries once more",
    "prolog failure": _FAILED_START,
}
NEVER = frozenset(
    {
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "BadConstraints",
        "AccountNotAllowed",
        "QOSNotAllowed",
        "InvalidAccount",
        "InvalidQOS",
        "AccountingPolicy",
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "JobLaunchFailure",
        "MaxRequeue",
        "DeadLine",
        "DependencyNeverSatisfied",
        "ReservationDeleted",
        "ReservationInvalid",
        "PartitionInactive",
    }
)
# QOSMaxCpuPerJobLimit, AssocMaxWallDurationPerJobLimit: no other job's end makes room for it.
_PER_JOB = re.compile(r"PerJob(Limit)?$|PerNode(Limit)?$|^(QOS|Assoc)Min[A-Z]")
_LIMIT = re.compile(r"^(?:(?P<qos>QOS)|Assoc)(?P<group>Grp)?(?P<what>\w+)$")
_WHATS = (
    ("MinutesPerJob", "time of cores and devices"),
    ("SubmitJob", "tasks in the queue"),
    ("RunMinutes", "time reserved by running tasks"),
    ("RunMins", "time reserved by running tasks"),
    ("Minutes", "time used up"),
    ("Mins", "time used up"),
    ("WallDuration", "walltime"),
    ("Wall", "walltime"),
    ("Jobs", "running tasks"),
    ("Cpu", "cores"),
    ("CPU", "cores"),
    ("GRES", "GPUs and other devices"),
    ("Gres", "GPUs and other devices"),
    ("Mem", "memory"),
    ("Node", "nodes"),
    ("Billing", "billing units"),
    ("Energy", "energy"),
    ("License", "licences"),
)


def why_pending(reason: str, throttle: int | None = None) -> str:
    """Return Slurm's reason and what it means: "Priority: other jobs are ahead of it".

    `throttle` is the number of tasks at once, where known. An unknown reason is returned
    as it stands.
    """
    said = reason.strip().strip("()")
    word = _word(said)
    if word == "JobArrayTaskLimit" and throttle is not None:
        meaning: str | None = f"the throttle of {throttle} tasks at once"
    else:
        meaning = _meaning(word, said)
    if meaning is None:
        return said
    never = " (it will never start so)" if never_starts(reason) else ""
    return f"{word}: {meaning}{never}"


def never_starts(reason: str) -> bool:
    """Return whether a task with this reason waits for ever unless something is changed."""
    said = reason.strip().strip("()")
    word = _word(said)
    if word in NEVER or _plain(said).endswith(("requeued held", "held state", "exit state")):
        return True
    return _LIMIT.match(word) is not None and _PER_JOB.search(word) is not None


def _word(said: str) -> str:
    """Return the one word that begins a reason such as "ReqNodeNotAvail, UnavailableNodes:n1"."""
    if said in _WORDS or " " in said.split(",")[0]:
        return said
    return said.split(",")[0]


def _plain(said: str) -> str:
    return said.lower().replace("_", " ")


def _meaning(word: str, said: str) -> str | None:
    if word in _WORDS:
        rest = said.removeprefix(word).lstrip(", ")
        return _WORDS[word] + (f" ({rest})" if rest else "")
    for start, meaning in _SENTENCES.items():
        if _plain(said).startswith(start):
            return meaning
    if (found := _LIMIT.match(word)) is None:
        return None
    whose = "its QOS" if found["qos"] else "its account"
    what = next((words for part, words in _WHATS if part in found["what"]), "what may be used")
    if _PER_JOB.search(word):
        side = "less" if found["what"].startswith("Min") else "more"
        other = "more" if side == "less" else "less"
        return f"asks for {side} {what} than {whose} allows a job; ask for {other}"
    who = f"all users of {whose} together" if found["group"] else "you"
    limit = "its limit" if found["group"] else f"the limit of {whose}"
    return f"{who} have reached {limit} on {what}; it starts when others end"
