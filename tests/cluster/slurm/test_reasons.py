"""Why a task waits: Slurm's word and plain words, and whether waiting alone would help."""

from __future__ import annotations

import pytest

from phasecube.cluster.slurm.reasons import never_starts, why_pending

# Every limit of accounts and QOS that Slurm 22.05 names as a reason.
_TRES = ["BB", "Billing", "Cpu", "Energy", "GRES", "License", "Mem", "Memory", "Node", "Unknown"]
PER_JOB = [
    *(f"{w}Max{t}{k}" for w in ("Assoc", "QOS") for t in _TRES for k in ("PerJob", "PerNode")),
    *(f"{w}Max{t}MinutesPerJob" for w in ("Assoc", "QOS") for t in _TRES),
    *(f"{w}MaxCpuPerJobLimit" for w in ("Assoc", "QOS")),
    *(f"{w}MaxCpuMinutesPerJobLimit" for w in ("Assoc", "QOS")),
    *(f"{w}MaxNodePerJobLimit" for w in ("Assoc", "QOS")),
    *(f"{w}MaxWallDurationPerJobLimit" for w in ("Assoc", "QOS")),
    *(f"QOSMin{t}" for t in _TRES),
    "QOSMinCpuNotSatisfied",
]
SHARED = [
    *(f"{w}Grp{t}{k}" for w in ("Assoc", "QOS") for t in _TRES for k in ("", "RunMinutes")),
    *(f"{w}Grp{t}Limit" for w in ("Assoc", "QOS") for t in ("Cpu", "Jobs", "Mem", "Node", "Wall")),
    *(f"{w}GrpSubmitJobsLimit" for w in ("Assoc", "QOS")),
    *(f"QOSMax{t}PerUser" for t in _TRES),
    "QOSMaxCpuPerUserLimit",
    "QOSMaxJobsPerUserLimit",
    "QOSMaxSubmitJobPerUserLimit",
    "AssocMaxJobsLimit",
    "AssocMaxSubmitJobLimit",
    "QOSUsageThreshold",
]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "Priority: other jobs are ahead of it"),
        ("Resources", "Resources: no free node of the kind asked for; it is next when one is"),
        ("(Resources)", "Resources: no free node of the kind asked for; it is next when one is"),
        (
            "BeginTime",
            "BeginTime: requeued; it starts again in up to two minutes (or at its --begin)",
        ),
        (
            "PartitionTimeLimit",
            "PartitionTimeLimit: asks for more walltime than its partition allows; ask for less "
            "(it will never start so)",
        ),
        (
            "ReqNodeNotAvail, UnavailableNodes:node[1-2]",
            "ReqNodeNotAvail: a node it needs is down, drained or reserved "
            "(UnavailableNodes:node[1-2])",
        ),
        (
            "launch_failed_requeued_held",
            "launch_failed_requeued_held: held because its start failed again and again; "
            "`phasecube release` tries once more (it will never start so)",
        ),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
            "partitions",
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
            "partitions: a node it needs is down, drained, or reserved for others",
        ),
        (
            "QOSMaxJobsPerUserLimit",
            "QOSMaxJobsPerUserLimit: you have reached the limit of its QOS on running tasks; it "
            "starts when others end",
        ),
        (
            "AssocGrpCpuLimit",
            "AssocGrpCpuLimit: all users of its account together have reached its limit on cores; "
            "it starts when others end",
        ),
        (
            "QOSMaxWallDurationPerJobLimit",
            "QOSMaxWallDurationPerJobLimit: asks for more walltime than its QOS allows a job; ask "
            "for less (it will never start so)",
        ),
        (
            "QOSMinGRES",
            "QOSMinGRES: asks for less GPUs and other devices than its QOS allows a job; ask for "
            "more (it will never start so)",
        ),
    ],
)
def test_a_reason_is_told_in_slurms_word_and_in_plain_words(reason: str, words: str) -> None:
    assert why_pending(reason) == words


def test_the_throttle_is_told_with_its_number() -> None:
    assert why_pending("JobArrayTaskLimit", throttle=8) == (
        "JobArrayTaskLimit: the throttle of 8 tasks at once"
    )


@pytest.mark.parametrize("reason", ["SomethingNew", "Some thing, new", ""])
def test_an_unknown_reason_is_told_as_it_stands(reason: str) -> None:
    assert why_pending(reason) == reason
    assert not never_starts(reason)


@pytest.mark.parametrize("reason", PER_JOB)
def test_what_one_task_asks_too_much_of_never_starts(reason: str) -> None:
    assert never_starts(reason)
    assert why_pending(reason).startswith(f"{reason}: asks for ")


@pytest.mark.parametrize("reason", SHARED)
def test_a_limit_that_others_use_up_is_waited_for(reason: str) -> None:
    assert not never_starts(reason)
    assert why_pending(reason).endswith("; it starts when others end")


@pytest.mark.parametrize(
    "reason",
    [
        "JobHeldUser",
        "JobHeldAdmin",
        "DependencyNeverSatisfied",
        "BadConstraints",
        "PartitionConfig",
        "InvalidQOS",
        "launch failed requeued held",
        "job requeued in held state",
    ],
)
def test_what_is_held_or_impossible_never_starts(reason: str) -> None:
    assert never_starts(reason)


@pytest.mark.parametrize(
    "reason", ["None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency"]
)
def test_what_only_waits_starts_some_time(reason: str) -> None:
    assert not never_starts(reason)
