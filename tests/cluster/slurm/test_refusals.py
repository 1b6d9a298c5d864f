"""Each refusal of sbatch, as a real Slurm words it, becomes a sentence with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasecube.cluster.slurm import offers
from phasecube.cluster.slurm.command import SlurmSilentError
from phasecube.cluster.slurm.limits import Limits
from phasecube.cluster.slurm.refusals import explain_refusal, is_array_too_large, is_submit_limit
from phasecube.cluster.slurm.settings import resolve
from phasecube.sweeps.slurm_section import SlurmSection

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = (
    f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)
LIMITS = Limits(
    max_array_size=1001,
    room=0,
    room_reason="account ci lets ann have 5 tasks in the queue (MaxSubmitJobs); 5 are there now",
    most_tasks=5,
    max_walltime_s=4 * 3600,
    walltime_reason="the 04:00:00 that account ci allows (MaxWall)",
    default_walltime_s=None,
    accounting=True,
    accounting_fault=None,
    partition="main",
    partition_fault=None,
)
SINFO = {
    "%R|%a|%l": "main|up|infinite\nmain|up|infinite\nbig|up|3-00:00:00\noff|drain|1:30:00\n",
    "%c|%m|%G|%f": "4|4000|gpu:2|odd,fast\n64|256000|(null)|(null)\n",
}
USERS = "ci|ann|root|ci|||5||04:00:00|normal,small|\nci|ann|root|root||||||normal|\n"


def answer(command: str, *arguments: str) -> str:
    return USERS if command == "sacctmgr" else SINFO[arguments[-1]]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setattr(offers, "slurm", answer)
    monkeypatch.setattr(offers, "user_name", lambda: "ann")

    def explained(said: str, limits: Limits | None = LIMITS, **section: Any) -> str:
        settings = resolve(SlurmSection(**section), {}, Path("/nowhere/clusters.toml"))
        found = explain_refusal(said, settings, limits)
        assert "\n" not in found
        return found.removeprefix("Slurm refused the job array: ")

    return explained


Explain = Callable[..., str]
OFFERED = (
    "this cluster has main (walltime up to infinite), big (walltime up to 3-00:00:00), off "
    "(walltime up to 1:30:00, drain)"
)
NODES = "its nodes have 4 cores + 4000 MB + gpu:2 + features odd,fast; 64 cores + 256000 MB"


@pytest.mark.parametrize(
    ("said", "section", "words"),
    [
        (
            f"sbatch: error: invalid partition specified: nope\n{FAILED}Invalid partition name "
            "specified",
            {"partition": "nope"},
            "there is no partition 'nope'; give `partition` in [cluster.slurm], or --partition; "
            + OFFERED,
        ),
        (
            f"{FAILED}No partition specified or system default partition",
            {},
            "the cluster has no default partition; give `partition` in [cluster.slurm], or "
            f"--partition; {OFFERED}",
        ),
        (
            f"{FAILED}Required partition not available (inactive or drain)",
            {"partition": "off"},
            "partition 'off' takes no jobs now (Required partition not available (inactive or "
            f"drain)); give another by `partition` in [cluster.slurm], or --partition; {OFFERED}",
        ),
        (
            f"{FAILED}User's group not permitted to use this partition",
            {"partition": "big"},
            "you may not use partition 'big' (User's group not permitted to use this partition); "
            "give another by `partition` in [cluster.slurm], or --partition, or ask the cluster's "
            f"administrators; {OFFERED}",
        ),
        (
            f"{FAILED}Invalid account or account/partition combination specified",
            {"account": "nosuch", "partition": "big"},
            "account 'nosuch' does not exist, or is not yours in partition 'big'; give `account` "
            "in [cluster.slurm], or --account; yours are: ci, root",
        ),
        (
            f"{FAILED}Invalid qos specification",
            {"qos": "nosuch"},
            "QOS 'nosuch' does not exist, or is not yours; give `qos` in [cluster.slurm], or --qos"
            "; yours are: normal, small",
        ),
        (
            f"{FAILED}Invalid job array specification",
            {},
            "a job array has no more than 1,001 tasks here (MaxArraySize); put more packs into a "
            "task by `packs_per_job` in [cluster.slurm], or --packs-per-job",
        ),
        (
            f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)",
            {"walltime": "2d", "partition": "big"},
            "a walltime of 2-00:00:00 is more than is allowed in partition 'big'; give less by "
            "`walltime` in [cluster.slurm], or --time (no more than the 04:00:00 that account ci "
            "allows (MaxWall)): a task whose time runs out goes on in a further one",
        ),
        (
            f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}",
            {"walltime": "2d"},
            "a walltime of 2-00:00:00 is more than is allowed; give less by `walltime` in "
            "[cluster.slurm], or --time (no more than the 04:00:00 that account ci allows "
            "(MaxWall)): a task whose time runs out goes on in a further one",
        ),
        (
            f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
            {},
            f"too many tasks are in the queue already (AssocMaxSubmitJobLimit): "
            f"{LIMITS.room_reason}",
        ),
        (
            f"{FAILED}Requested node configuration is not available",
            {"gres": "gpu:9", "memory": "8G", "cpus": 2},
            "no node has what a task asks for (2 cores, 8,192 MB, gpu:9); ask for less by `cpus`, "
            f"`memory`, `gpus`, `gres` or `constraint` in [cluster.slurm]; {NODES}",
        ),
        (
            "sbatch: error: Invalid generic resource (gres) specification",
            {"gres": "tpu:1"},
            "the cluster knows no such device as 'tpu:1'; give `gres` in [cluster.slurm], or "
            f"--gres, or `gpus` in [cluster.slurm], or --gpus; {NODES}",
        ),
        (
            f"{FAILED}Invalid feature specification",
            {"constraint": "nosuch"},
            "no node has the feature 'nosuch'; give `constraint` in [cluster.slurm], or "
            f"--constraint; {NODES}",
        ),
        (
            f"sbatch: error: Memory specification can not be satisfied\n{FAILED}Requested node "
            "configuration is not available",
            {"memory": "99G"},
            "no node has 101,376 MB of memory for a task; give `memory` in [cluster.slurm], or "
            f"--memory; {NODES}",
        ),
        (
            f"sbatch: error: CPU count per node can not be satisfied\n{FAILED}Requested node "
            "configuration is not available",
            {"cpus": 99},
            "no node gives a task 99 cores; ask for less by `cpus` in [cluster.slurm], or --cpus "
            f"(or fewer `processes`); {NODES}",
        ),
        (
            f"{FAILED}Job dependency problem",
            {},
            "the dependency names no job that can be waited for (Job dependency problem); see "
            "`sbatch` in [cluster.slurm], and --sbatch",
        ),
        (
            "sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information",
            {},
            "an option is wrong (sbatch: unrecognized option '--bogus'; Try \"sbatch --help\" for "
            "more information); see `sbatch` in [cluster.slurm], and --sbatch",
        ),
        (
            f"{FAILED}Access/permission denied",
            {},
            "you may not do that on this cluster; ask its administrators (Access/permission "
            "denied)",
        ),
        (
            f"{FAILED}Zero Bytes were transmitted or received",
            {},
            "the controller failed at it; see with squeue whether it was taken, then try again "
            "(Zero Bytes were transmitted or received)",
        ),
    ],
)
def test_a_refusal_is_told_in_words_with_a_remedy(
    explain: Explain, said: str, section: dict[str, Any], words: str
) -> None:
    assert explain(said, **section) == words


def test_an_unknown_refusal_is_told_as_it_stands(explain: Explain) -> None:
    assert explain(f"sbatch: error: site rule 7\n{FAILED}Unspecified error") == (
        "site rule 7; Unspecified error"
    )


def test_a_lookup_that_fails_does_not_hide_the_refusal(
    explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*words: str) -> str:
        raise SlurmSilentError("no answer")

    monkeypatch.setattr(offers, "slurm", silent)
    assert explain(f"{FAILED}Invalid partition name specified", partition="nope") == (
        "there is no partition 'nope'; give `partition` in [cluster.slurm], or --partition"
    )
    assert explain(f"{FAILED}Invalid qos specification", qos="x").endswith("or --qos")


def test_a_refusal_is_told_where_the_limits_are_not_known(explain: Explain) -> None:
    assert "MaxArraySize" in explain(f"{FAILED}Invalid job array specification", None)
    assert explain(f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}", None) == (
        "too many tasks are in the queue already (AssocMaxSubmitJobLimit)"
    )
    time = explain(f"{FAILED}Requested time limit is invalid (missing)", None, walltime="2d")
    assert time.endswith(OFFERED)


def test_nodes_are_looked_up_in_the_partition_that_was_asked_for(
    explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(*words: str) -> str:
        asked.append(words)
        return answer(*words)

    monkeypatch.setattr(offers, "slurm", noted)
    explain(f"{FAILED}Invalid feature specification", constraint="x", partition="big")
    assert asked == [("sinfo", "-h", "-p", "big", "-o", "%c|%m|%G|%f")]


@pytest.mark.parametrize(
    "word",
    [
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpSubmitJobsLimit",
    ],
)
def test_a_submit_limit_is_one_that_waiting_helps(word: str) -> None:
    assert is_submit_limit(f"sbatch: error: {word}\n{POLICY}")


def test_a_full_controller_is_a_submit_limit() -> None:
    full = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    assert is_submit_limit(full)
    assert is_submit_limit(f"{FAILED}Resource temporarily unavailable")


@pytest.mark.parametrize("word", ["QOSMaxWallDurationPerJobLimit", "QOSMaxCpuPerJobLimit"])
def test_a_task_that_asks_too_much_is_no_submit_limit(word: str) -> None:
    assert not is_submit_limit(f"sbatch: error: {word}\n{POLICY}")


def test_only_an_array_specification_is_too_large() -> None:
    assert is_array_too_large(f"{FAILED}Invalid job array specification")
    assert not is_array_too_large(POLICY)
