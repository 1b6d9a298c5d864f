"""What the cluster says of itself: scontrol show and sinfo."""

from __future__ import annotations

import time
from collections.abc import Sequence

from phasecube.cluster.rehearsal.fake_cluster import FakePartition
from phasecube.cluster.rehearsal.lifecycle import limit_s
from phasecube.cluster.rehearsal.records import PENDING, Task
from phasecube.cluster.rehearsal.request import RefusalError
from phasecube.cluster.rehearsal.state import Node, State
from phasecube.cluster.rehearsal.words import Words, clock, filled


def show_config(state: State) -> str:
    """Return what scontrol show config prints, of which the rest of phasecube reads limits."""
    cluster = state.cluster
    storage = "slurmdbd" if cluster.accounting else "none"
    values = {
        "AccountingStorageEnforce": "associations,limits,qos" if cluster.accounting else "none",
        "AccountingStorageType": f"accounting_storage/{storage}",
        "ClusterName": "rehearsal",
        "DefMemPerCPU": str(cluster.default_memory_mb),
        "EnforcePartLimits": "ALL" if cluster.enforce_limits else "NO",
        "JobRequeue": "1",
        "KillWait": f"{cluster.kill_wait_s:g} sec",
        "MaxArraySize": str(cluster.max_array_size),
        "MaxJobCount": str(cluster.max_job_count),
        "MaxMemPerNode": "UNLIMITED",
        "MaxStepCount": "40000",
        "MinJobAge": f"{cluster.min_job_age_s:g} sec",
        "OverTimeLimit": "0 min",
        "PreemptMode": "OFF",
        "PreemptType": "preempt/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_MEMORY",
        "SLURM_VERSION": "22.05.8",
    }
    lines = [f"{name:<23} = {value}" for name, value in values.items()]
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    said = "Slurmctld(primary) at rehearsal is UP"
    return "\n".join([f"Configuration data as of {now}", *lines, "", said, ""])


def show_partition(state: State, name: str, one_line: bool) -> str:
    """Return what scontrol show partition prints; raises RefusalError."""
    chosen = [p for p in state.cluster.all_partitions() if name in ("", p.name)]
    if not chosen:
        raise RefusalError(f"Partition {name} not found")
    first = state.cluster.all_partitions()[0].name
    said = [_partition(state, partition, partition.name == first) for partition in chosen]
    if one_line:
        return "".join(" ".join(words) + "\n" for words in said)
    return "".join("\n   ".join(words) + "\n\n" for words in said)


def show_job(state: State, name: str, one_line: bool) -> str:
    """Return what scontrol show job prints of the tasks named; raises RefusalError."""
    try:
        tasks = state.named(name) if name else list(state.in_memory())
    except ValueError:
        tasks = []
    if not tasks:
        raise RefusalError(f"slurm_load_jobs error: {'Invalid job id specified'}")
    between = " " if one_line else "\n   "
    return "".join(between.join(_job(state, task)) + "\n" * (2 - one_line) for task in tasks)


def sinfo(state: State, words: Words) -> str:
    """Return what sinfo prints: a line for each partition and state of its nodes."""
    pattern = words.value("format", "%9P %5a %10l %6D %6t %N")
    lines = [] if words.has("noheader") else [filled(pattern, SINFO_HEADER)]
    default = state.cluster.all_partitions()[0].name
    for partition in state.cluster.all_partitions():
        if not words.allows("partition", partition.name):
            continue
        groups: dict[str, list[Node]] = {}
        for node in state.nodes.values():
            groups.setdefault(_node_state(state, node), []).append(node)
        lines += [
            filled(pattern, _sinfo_fields(state, partition, partition.name == default, name, nodes))
            for name, nodes in groups.items()
        ]
    return "".join(line.rstrip(" ") + "\n" for line in dict.fromkeys(lines))


def _partition(state: State, partition: FakePartition, default: bool) -> list[str]:
    cluster = state.cluster
    longest, usual = partition.max_time_s, partition.default_time_s
    cpus, memory = cluster.nodes * cluster.cpus_per_node, cluster.nodes * cluster.memory_mb
    gpus = f",gres/gpu={cluster.nodes * cluster.gpus_per_node}" if cluster.gpus_per_node else ""
    return [
        f"PartitionName={partition.name}",
        "AllowGroups=ALL",
        f"AllowAccounts={','.join(partition.accounts or ('ALL',))}",
        f"AllowQos={','.join(partition.qos or ('ALL',))}",
        "AllocNodes=ALL",
        f"Default={'YES' if default else 'NO'}",
        "QoS=N/A",
        f"DefaultTime={clock(usual, full=True) if usual else 'NONE'}",
        "DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED",
        f"MaxTime={clock(longest, full=True) if longest else 'UNLIMITED'}",
        "MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED",
        f"Nodes={_node_list(list(state.nodes))}",
        "PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe=NO",
        "OverTimeLimit=NONE PreemptMode=OFF",
        f"State={'UP' if partition.up else 'DOWN'}",
        f"TotalCPUs={cpus} TotalNodes={cluster.nodes} SelectTypeParameters=NONE JobDefaults=(null)",
        "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED",
        f"TRES=cpu={cpus},mem={memory}M,node={cluster.nodes},billing={cpus}{gpus}",
    ]


def _job(state: State, task: Task) -> list[str]:
    request, array = task.array.request, task.array
    limit = limit_s(state, task)
    # The count has grown already while a task that goes back to the queue is still leaving.
    returns = task.ending is not None and task.ending.state == PENDING
    ids = [f"JobId={task.job_id or array.id}"]
    if task.index is not None:
        ids += [f"ArrayJobId={array.id}", f"ArrayTaskId={task.index}"]
    preempted = [f"PreemptTime={_clock_now()}"] if task.preempted_to else []
    return [
        *ids,
        f"JobName={request.name}",
        f"UserId={array.user}({array.user_id})",
        f"Account={request.account or '(null)'} QOS={request.qos or '(null)'}",
        f"JobState={task.state} Reason={task.reason} Dependency=(null)",
        f"Requeue={int(request.requeue)} Restarts={task.restarts + returns} BatchFlag=1",
        f"ExitCode={task.exit_code}",
        f"TimeLimit={'UNLIMITED' if limit is None else clock(limit, full=True)}",
        *preempted,
        f"Partition={request.partition or state.cluster.all_partitions()[0].name}",
        f"NodeList={task.node}",
        f"WorkDir={array.cwd}",
        f"StdOut={task.output}",
    ]


def _node_state(state: State, node: Node) -> str:
    if not node.up:
        return "down"
    if not node.cpus:
        return "idle"
    return "allocated" if node.cpus >= state.cluster.cpus_per_node else "mixed"


SINFO_HEADER = {
    "P": "PARTITION", "R": "PARTITION", "a": "AVAIL", "l": "TIMELIMIT", "L": "DEFAULTTIME",
    "D": "NODES", "t": "STATE", "T": "STATE", "N": "NODELIST", "c": "CPUS", "m": "MEMORY",
    "G": "GRES", "f": "AVAIL_FEATURES", "b": "ACTIVE_FEATURES", "C": "CPUS(A/I/O/T)",
    "z": "S:C:T", "F": "NODES(A/I/O/T)", "n": "HOSTNAMES",
}  # fmt: skip


def _sinfo_fields(
    state: State, partition: FakePartition, default: bool, name: str, nodes: Sequence[Node]
) -> dict[str, str]:
    cluster = state.cluster
    total = len(nodes) * cluster.cpus_per_node
    taken = sum(node.cpus for node in nodes)
    out = total if name == "down" else 0
    kind = f"gpu:{cluster.gpu_type}:" if cluster.gpu_type else "gpu:"
    features = ",".join(cluster.features) or "(null)"
    longest, usual = partition.max_time_s, partition.default_time_s
    busy = sum(node.cpus > 0 for node in nodes)
    lost = len(nodes) if name == "down" else 0
    return {
        "P": partition.name + "*" * default,
        "R": partition.name,
        "a": "up" if partition.up else "down",
        "l": clock(longest) if longest else "infinite",
        "L": clock(usual) if usual else "n/a",
        "D": str(len(nodes)),
        "t": {"allocated": "alloc", "mixed": "mix"}.get(name, name),
        "T": name,
        "N": _node_list([node.name for node in nodes]),
        "n": nodes[0].name,
        "c": str(cluster.cpus_per_node),
        "m": str(cluster.memory_mb),
        "G": f"{kind}{cluster.gpus_per_node}" if cluster.gpus_per_node else "(null)",
        "f": features,
        "b": features,
        "C": f"{taken}/{total - taken - out}/{out}/{total}",
        "F": f"{busy}/{len(nodes) - busy - lost}/{lost}/{len(nodes)}",
        "z": f"{cluster.cpus_per_node}:1:1",
    }


def _node_list(names: Sequence[str]) -> str:
    if len(names) < 2 or names != [f"node{i + 1}" for i in range(len(names))]:
        return ",".join(names)
    return f"node[1-{len(names)}]"


def _clock_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")
