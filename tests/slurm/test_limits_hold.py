"""What is read as allowed is what a real Slurm takes: that much and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from phasecube.cluster.slurm.command import SlurmError, slurm
from phasecube.cluster.slurm.limits import read_limits, user_name
from phasecube.cluster.slurm.refusals import explain_refusal, is_array_too_large, is_submit_limit
from phasecube.cluster.slurm.settings import SlurmSettings, resolve
from phasecube.sweeps.slurm_section import SlurmSection

pytestmark = pytest.mark.slurm
SCRIPT = "#!/bin/sh\nsleep 60\n"
Submit = Callable[..., str]


def asked(**section: Any) -> SlurmSettings:
    return resolve(SlurmSection(**section), {}, Path("/nowhere/clusters.toml"))


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    def submitted(settings: SlurmSettings, n_tasks: int) -> str:
        script = tmp_path / "job.sh"
        options = {
            "partition": settings.partition,
            "account": settings.account,
            "qos": settings.qos,
            "gres": settings.gres,
            "mem": settings.memory_mb,
            "constraint": settings.constraint,
            "cpus-per-task": settings.cpus,
            "time": settings.walltime_s // 60,
            "array": f"0-{n_tasks - 1}",
            "output": "/dev/null",
        }
        lines = [f"#SBATCH --{k}={v}\n" for k, v in options.items() if v is not None]
        script.write_text(SCRIPT.replace("\n", "\n" + "".join(lines), 1))
        return slurm("sbatch", str(script))

    return submitted


@pytest.fixture
def accounts(slurm_accounts: SlurmLab) -> SlurmLab:
    """Account `above` (12 tasks) over `own` (4 tasks for the user) and `other`; QOS `six`.

    They stay in the lab: Slurm removes none whose tasks its database still holds for running.
    """
    user, lab = user_name(), slurm_accounts
    if lab.sacctmgr("-n", "show", "qos", "six"):
        return lab
    lab.sacctmgr("add", "qos", "six")
    lab.sacctmgr("modify", "qos", "six", "set", "MaxSubmitJobsPerUser=6", "MaxWall=2:00:00")
    lab.sacctmgr("add", "account", "above", "GrpSubmitJobs=12")
    for account in ("own", "other"):
        lab.sacctmgr("add", "account", account, "parent=above")
        lab.sacctmgr("add", "user", user, f"account={account}")
    lab.sacctmgr(
        *("modify", "user", user, "where", "account=own", "set"),
        *("MaxSubmitJobs=4", "MaxWall=4:00:00", "qos+=six"),
    )
    return lab


@pytest.mark.parametrize(
    ("section", "room", "name"),
    [
        ({"account": "own"}, 4, "MaxSubmitJobs"),
        ({"account": "own", "qos": "six"}, 6, "MaxSubmitJobsPerUser"),
        ({"account": "other"}, 12, "GrpSubmitJobs"),
    ],
)
def test_slurm_takes_as_many_tasks_as_there_is_room_for_and_no_more(
    accounts: SlurmLab, submit: Submit, section: dict[str, Any], room: int, name: str
) -> None:
    settings = asked(walltime="1h", **section)
    limits = read_limits(settings)
    assert (limits.room, f"({name})" in limits.room_reason) == (room, True)
    with pytest.raises(SlurmError) as refused:
        submit(settings, room + 1)
    assert is_submit_limit(refused.value.said)
    assert f"({name})" in explain_refusal(refused.value.said, settings, limits)
    submit(settings, room - 1)
    assert read_limits(settings).room == 1
    submit(settings, 1)
    assert read_limits(settings).room == 0


def test_tasks_of_accounts_beside_count_for_the_account_above(
    accounts: SlurmLab, submit: Submit
) -> None:
    submit(asked(account="other"), 10)
    own = asked(account="own")
    assert read_limits(own).room == 2
    with pytest.raises(SlurmError):
        submit(own, 3)
    submit(own, 2)


def test_walltime_is_that_of_the_qos_else_of_the_account(accounts: SlurmLab) -> None:
    assert read_limits(asked(account="own")).max_walltime_s == 4 * 3600
    assert read_limits(asked(account="own", qos="six")).max_walltime_s == 2 * 3600


def test_an_array_is_as_large_as_slurm_says(slurm_lab: SlurmLab, submit: Submit) -> None:
    settings = asked()
    limits = read_limits(settings)
    assert (limits.accounting, limits.partition) == (False, "main")
    with pytest.raises(SlurmError) as refused:
        submit(settings, limits.max_array_size + 1)
    assert is_array_too_large(refused.value.said)
    assert f"{limits.max_array_size:,} tasks" in explain_refusal(
        refused.value.said, settings, limits
    )


def test_what_no_node_has_is_refused_in_words(slurm_lab: SlurmLab, submit: Submit) -> None:
    for section, words in (
        ({"partition": "nope"}, "there is no partition 'nope'"),
        ({"constraint": "nosuch"}, "no node has the feature 'nosuch'"),
        ({"gres": "tpu:1"}, "the cluster knows no such device as 'tpu:1'"),
        ({"memory": "900G"}, "no node has 921,600 MB of memory for a task"),
        ({"cpus": 999}, "no node gives a task 999 cores"),
        ({"gres": "gpu:9"}, "no node has what a task asks for (1 core, gpu:9)"),
    ):
        settings = asked(**section)
        with pytest.raises(SlurmError) as refused:
            submit(settings, 1)
        assert words in explain_refusal(refused.value.said, settings)
