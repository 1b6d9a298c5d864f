"""How Ray is started: on this machine, in the Slurm allocation around us, or not by us."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from phasecube.cluster.executor import devices_of, usable_cores
from phasecube.engine.errors import StudyError

CONNECT_S, ANSWER_S = 10.0, 120.0  # a start takes 5 s on a machine that is idle
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TUNE_CALLBACKS": "",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the study is what is resumed
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",  # the executor knows how many to send
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
OUR_OWN = {
    "RAY_AUTH_MODE": "token",
    "RAY_health_check_period_ms": "1000",  # a node that was killed is known within some 5 s
    "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # then nodes that lost their head end
}


@dataclass(frozen=True)
class RayPlace:
    """Which Ray runs the packs, and what one of them takes of it.

    `address` is that of a cluster that runs; without one a cluster is started: on this
    machine, or in the Slurm allocation around it. `processes` packs at once, None for as
    many as fit. On GPUs `packs_per_gpu` of them share one.
    """

    address: str | None = None
    processes: int | None = None
    threads: int = 1
    device: str = "cpu"
    packs_per_gpu: int = 1
    answer_s: float = ANSWER_S


def driver_environment(place: RayPlace) -> dict[str, str]:
    """Return the environment of the driver, and so of all that it starts.

    A cluster of our own gets a token of its own: who has it can run code there.
    """
    threads = {"OMP_NUM_THREADS": str(place.threads), "MKL_NUM_THREADS": str(place.threads)}
    environment = {**os.environ, **threads, **QUIET}
    if place.address is None:
        environment |= {**OUR_OWN, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        for name in ("RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
            environment.pop(name, None)
    return environment


def driver_command(place: RayPlace) -> list[str]:
    """Return the command of the driver; its node, if it starts one, is the cluster's first.

    Raises StudyError where Ray is not installed, or no cluster can be at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise StudyError(
            "Ray is not installed here: pip install 'ray[tune]', or run without --to ray"
        )
    command = [sys.executable, "-m", "phasecube.cluster.ray_driver"]
    command += ["--threads", str(place.threads), "--device", place.device]
    command += ["--packs-per-gpu", str(place.packs_per_gpu)]
    if place.address is not None:
        check_address(place.address)
        command += ["--address", place.address]
    elif (nodes := allocated_nodes()) is not None:
        command = [*srun(nodes[:1]), *command]
    else:
        command += ["--cpus", str(local_packs(place) * place.threads)]
        command += ["--parent", str(os.getpid())]
    if place.processes is not None:
        command += ["--at-most", str(place.processes)]
    return command


def local_packs(place: RayPlace) -> int:
    """Return how many packs this machine is to run at once."""
    if place.processes is not None:
        return place.processes
    if place.device.startswith("cuda"):
        return len(devices_of("cuda")) * place.packs_per_gpu
    return max(1, usable_cores() // place.threads)


def check_address(address: str) -> None:
    """Raise StudyError where nothing listens: Ray itself would try for minutes."""
    if address == "auto":
        return
    if "://" in address:
        raise StudyError(
            f"--address {address}: phasecube runs on a machine of the cluster; "
            "give HOST:PORT as `ray start --head` printed it, or auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise StudyError(f"--address {address}: give HOST:PORT, for example 10.0.0.1:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise StudyError(
            f"no Ray answers at {address}: {error}; start one with `ray start --head`, "
            "or leave --address out to have one started"
        ) from error


def allocated_nodes(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """Return the nodes of the Slurm allocation this process is in; None if it is in none.

    One node that this process stands on itself counts as none: it needs no srun.
    """
    names = environment.get("SLURM_JOB_NODELIST")
    if "SLURM_JOB_ID" not in environment or names is None:
        return None
    alone = environment.get("SLURM_JOB_NUM_NODES", "1") == "1"
    if alone and "SLURMD_NODENAME" in environment:
        return None
    said = subprocess.run(
        ["scontrol", "show", "hostnames", names], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        raise StudyError(f"scontrol cannot name the allocation's nodes: {said.stderr.strip()}")
    return said.stdout.split()


def srun(nodes: list[str]) -> list[str]:
    """Return the beginning of a command that runs once on each of `nodes`."""
    count = str(len(nodes))
    return [
        *("srun", "--overlap", "--unbuffered", "--kill-on-bad-exit", "--nodes", count),
        *("--ntasks", count, "--ntasks-per-node", "1", "--nodelist", ",".join(nodes), "--"),
    ]


def node_command(address: str, folder: str) -> list[str] | None:
    """Return the command that has the allocation's other nodes join; None if there are none."""
    nodes = allocated_nodes()
    if nodes is None or len(nodes) == 1:
        return None
    command = [sys.executable, "-m", "phasecube.cluster.ray_node", address, folder]
    return [*srun(nodes[1:]), *command]
