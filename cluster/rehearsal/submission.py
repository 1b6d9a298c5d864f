"""sbatch: what is refused, and what becomes of the rest."""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phasecube.cluster.rehearsal.placing import cpus_of, memory_of
from phasecube.cluster.rehearsal.records import Array, Task
from phasecube.cluster.rehearsal.request import (
    FAILED,
    RefusalError,
    Request,
    request_of,
    split_command,
)
from phasecube.cluster.rehearsal.state import State

SAY = "sbatch: error: "
UNAVAILABLE = FAILED + "Requested node configuration is not available"
POLICY = (
    FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)
FEATURE = re.compile(r"[A-Za-z_][\w.-]*")


def user_of(uid: int) -> str:
    """Return the name of a user, the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def sbatch(state: State, message: Mapping[str, Any]) -> str:
    """Queue what is asked for and return what sbatch prints; raises RefusalError."""
    options, path = split_command(message["arguments"])
    cwd = str(message["cwd"])
    script = message["script"] if not path else _read(Path(cwd, path))
    limit = state.cluster.max_array_size
    request, flags = request_of(script, path or "sbatch", options, limit)
    user = user_of(message["uid"])
    check(state, request, user)
    if "test-only" in flags:
        return ""
    number = state.next_id
    state.next_id += 1
    copy = state.folder / "scripts" / f"{number}.sh"
    copy.write_text(script, encoding="utf-8")
    array = Array(
        number,
        request,
        user,
        message["uid"],
        str(Path(cwd, request.chdir)),
        dict(message["environment"]),
        str(copy),
        state.now,
        throttle=request.throttle,
    )
    indices: Sequence[int | None] = request.indices or (None,)
    for index in indices:
        array.tasks[index] = Task(array, index, held="JobHeldUser" if request.held else "")
    if request.indices is None:
        array.tasks[None].job_id = number
    state.arrays[number] = array
    return f"{number}\n" if "parsable" in flags else f"Submitted batch job {number}\n"


def check(state: State, request: Request, user: str) -> None:
    """Raise RefusalError for what this cluster does not accept, in Slurm's order."""
    cluster = state.cluster
    partition = cluster.partition(request.partition)
    if partition is None:
        raise RefusalError(
            f"{SAY}invalid partition specified: {request.partition}\n"
            f"{FAILED}Invalid partition name specified"
        )
    if cluster.accounting:
        allowed = cluster.accounts if partition.accounts is None else partition.accounts
        if request.account and allowed is not None and request.account not in allowed:
            raise RefusalError(
                f"{FAILED}Invalid account or account/partition combination specified"
            )
        allowed = cluster.qos if partition.qos is None else partition.qos
        if request.qos and allowed is not None and request.qos not in allowed:
            raise RefusalError(f"{FAILED}Invalid qos specification")
    _check_size(state, request)
    if (
        cluster.enforce_limits
        and partition.max_time_s is not None
        and request.time_s is not None
        and request.time_s > partition.max_time_s
    ):
        raise RefusalError(
            f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)"
        )
    _check_room(state, request, user)


def _check_size(state: State, request: Request) -> None:
    cluster = state.cluster
    unknown = set(FEATURE.findall(request.constraint)) - set(cluster.features)
    if unknown:
        raise RefusalError(f"{FAILED}Invalid feature specification")
    if request.other_gres:
        raise RefusalError(f"{SAY}Invalid generic resource (gres) specification")
    if request.nodes > 1:
        said = "the rehearsal's Slurm runs tasks of one node only"
        raise RefusalError(f"{FAILED}{said}")
    if request.gpus > cluster.gpus_per_node or request.gpu_type not in ("", cluster.gpu_type):
        raise RefusalError(UNAVAILABLE)
    if memory_of(state, request) > cluster.memory_mb:
        raise RefusalError(f"{SAY}Memory specification can not be satisfied\n{UNAVAILABLE}")
    cpus = cpus_of(state, request)
    if cpus > cluster.cpus_per_node * cluster.nodes:
        raise RefusalError(f"{FAILED}More processors requested than permitted")
    if cpus > cluster.cpus_per_node:
        raise RefusalError(f"{SAY}CPU count per node can not be satisfied\n{UNAVAILABLE}")


def _check_room(state: State, request: Request, user: str) -> None:
    asked = len(request.indices or (0,))
    held = list(state.in_memory())
    mine = [task.array.request for task in held if task.queued and task.array.user == user]
    limit = state.cluster.max_submit
    if limit is not None and len(mine) + asked > limit:
        raise RefusalError(f"{SAY}QOSMaxSubmitJobPerUserLimit\n{POLICY}")
    limit = state.cluster.max_submit_account
    same = sum(other.account == request.account for other in mine)
    if limit is not None and same + asked > limit:
        raise RefusalError(f"{SAY}AssocMaxSubmitJobLimit\n{POLICY}")
    if len(held) + asked >= state.cluster.max_job_count:
        # The real one tries again for two minutes before it says so.
        raise RefusalError(
            f"{SAY}Slurm temporarily unable to accept job, sleeping and retrying\n"
            f"{FAILED}Resource temporarily unavailable"
        )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RefusalError(f"{SAY}Unable to open file {path.name}") from error
