"""Which command is answered by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from phasecube.cluster.rehearsal import cluster_answers, control, words
from phasecube.cluster.rehearsal.account_answers import sacctmgr
from phasecube.cluster.rehearsal.listings import sacct, squeue
from phasecube.cluster.rehearsal.misfortunes import Misfortunes
from phasecube.cluster.rehearsal.records import Task
from phasecube.cluster.rehearsal.request import RefusalError
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.rehearsal.submission import sbatch, user_of
from phasecube.cluster.rehearsal.words import Words

OF_ACCOUNTS = ("sacct", "sacctmgr")  # another server answers these


@dataclass(frozen=True)
class Answer:
    """What a command prints and its exit code."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


def answer(state: State, message: Mapping[str, Any]) -> Answer | None:
    """Return the answer to one command, None where the controller is silent."""
    command = str(message["command"])
    if state.now < state.silent_until and command not in OF_ACCOUNTS:
        return None
    try:
        return _ANSWERS[command](state, message)
    except RefusalError as error:
        return Answer("", f"{error.said}\n", error.code)


def step_started(state: State, message: Mapping[str, Any]) -> None:
    """Note the first process of a step, and where it writes."""
    if not str(message["job_id"]).isdigit():
        return
    task = state.live.get(int(message["job_id"]))
    if task is not None:
        task.step_pids.append(int(message["pid"]))
        task.step_output = str(message["output"])


def _squeue(state: State, message: Mapping[str, Any]) -> Answer:
    asked = Words("squeue", message["arguments"], words.SQUEUE)
    if asked.has("me"):
        asked.given["user"] = user_of(message["uid"])
    return Answer(*squeue(state, asked))


def _sacct(state: State, message: Mapping[str, Any]) -> Answer:
    return Answer(sacct(state, Words("sacct", message["arguments"], words.SACCT)))


def _sinfo(state: State, message: Mapping[str, Any]) -> Answer:
    asked = Words("sinfo", message["arguments"], words.SINFO)
    return Answer(cluster_answers.sinfo(state, asked))


def _scontrol(state: State, message: Mapping[str, Any]) -> Answer:
    plain = [word for word in message["arguments"] if not word.startswith("-")]
    one_line = bool({"-o", "--oneliner"} & set(message["arguments"]))
    what, names = (plain[0], plain[1:]) if plain else ("", [])
    by = "JobHeldAdmin" if message["uid"] == 0 else "JobHeldUser"
    acts: dict[str, Callable[[Task], str]] = {
        "requeue": partial(control.requeue, state),
        "hold": partial(control.hold, by=by),
        "release": control.release,
    }
    if what in acts:
        said, code = control.to_all(state, names, acts[what], what)
        return Answer("", said, code)
    if what == "ping":
        return Answer("Slurmctld(primary) at rehearsal is UP\n")
    if what == "update":
        return _update(state, names)
    if what == "show" and names:
        name = names[1] if len(names) > 1 else ""
        if names[0] == "config":
            return Answer(cluster_answers.show_config(state))
        if names[0].startswith("part"):
            return Answer(cluster_answers.show_partition(state, name, one_line))
        if names[0].startswith("job"):
            return Answer(cluster_answers.show_job(state, name, one_line))
    raise RefusalError(f"invalid keyword: {' '.join(plain)}")


def _update(state: State, words_given: Sequence[str]) -> Answer:
    given = {name.lower(): value for name, _, value in (w.partition("=") for w in words_given)}
    if "nodename" in given:
        node, wanted = given["nodename"], given.get("state", "").lower()
        if node not in state.nodes or wanted not in ("down", "resume"):
            raise RefusalError("slurm_update error: Invalid node state specified")
        if wanted == "resume" and state.nodes[node].up:
            raise RefusalError("slurm_update error: Invalid node state specified")
        action = "fail_node" if wanted == "down" else "restore_node"
        Misfortunes(state).do(action, node=node)
        return Answer()
    if "jobid" in given and given.get("arraytaskthrottle", "").isdigit():
        control.set_throttle(state, given["jobid"], int(given["arraytaskthrottle"]))
        return Answer()
    raise RefusalError("No changes specified")


_ANSWERS: dict[str, Callable[[State, Mapping[str, Any]], Answer]] = {
    "sbatch": lambda state, message: Answer(sbatch(state, message)),
    "squeue": _squeue,
    "sacct": _sacct,
    "sinfo": _sinfo,
    "scontrol": _scontrol,
    "scancel": lambda state, message: Answer(
        control.scancel(state, message["arguments"], message["uid"])
    ),
    "sacctmgr": lambda state, message: Answer(
        sacctmgr(state, message["arguments"], user_of(message["uid"]))
    ),
}
