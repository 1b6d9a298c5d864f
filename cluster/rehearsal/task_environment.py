"""The environment Slurm gives a task."""

from __future__ import annotations

import socket

from phasecube.cluster.rehearsal.client import SOCKET
from phasecube.cluster.rehearsal.placing import memory_of
from phasecube.cluster.rehearsal.records import Task
from phasecube.cluster.rehearsal.state import State
from phasecube.cluster.rehearsal.task_processes import MARK


def task_environment(state: State, task: Task) -> dict[str, str]:
    """Return the environment of sbatch with what Slurm adds for this task."""
    array, request = task.array, task.array.request
    job_id = str(task.job_id)
    partition = state.cluster.partition(request.partition)
    added = {
        SOCKET: state.socket,
        MARK: f"{state.socket}:{job_id}",
        "SLURM_CLUSTER_NAME": "rehearsal",
        "SLURM_JOB_ID": job_id,
        "SLURM_JOBID": job_id,
        "SLURM_JOB_NAME": request.name,
        "SLURM_JOB_USER": array.user,
        "SLURM_JOB_UID": str(array.user_id),
        "SLURM_JOB_PARTITION": partition.name if partition else request.partition,
        "SLURM_JOB_NODELIST": task.node,
        "SLURM_NODELIST": task.node,
        "SLURMD_NODENAME": task.node,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_CPUS_ON_NODE": str(request.cpus),
        "SLURM_CPUS_PER_TASK": str(request.cpus),
        "SLURM_JOB_CPUS_PER_NODE": str(request.cpus),
        "SLURM_MEM_PER_NODE": str(memory_of(state, request)),
        "SLURM_SUBMIT_DIR": array.cwd,
        "SLURM_SUBMIT_HOST": socket.gethostname(),
        "SLURM_OPEN_MODE": "a" if request.append else "t",
    }
    if task.index is not None:
        indices = request.indices or (task.index,)
        added |= {
            "SLURM_ARRAY_JOB_ID": str(array.id),
            "SLURM_ARRAY_TASK_ID": str(task.index),
            "SLURM_ARRAY_TASK_COUNT": str(len(indices)),
            "SLURM_ARRAY_TASK_MIN": str(indices[0]),
            "SLURM_ARRAY_TASK_MAX": str(indices[-1]),
            "SLURM_ARRAY_TASK_STEP": "1",
        }
    if task.restarts:
        added["SLURM_RESTART_COUNT"] = str(task.restarts)
    if task.gpus:
        listed = ",".join(str(gpu) for gpu in task.gpus)
        added |= {"CUDA_VISIBLE_DEVICES": listed, "SLURM_JOB_GPUS": listed}
        added["SLURM_GPUS_ON_NODE"] = str(len(task.gpus))
    for name, value in (("ACCOUNT", request.account), ("QOS", request.qos)):
        if value:
            added[f"SLURM_JOB_{name}"] = value
    inherited = {k: v for k, v in array.environment.items() if not k.startswith("SLURM_RESTART")}
    return inherited | added
