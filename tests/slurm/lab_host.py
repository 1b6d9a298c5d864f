"""What this host offers a Slurm lab: the programs it needs, and ports that nobody uses."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from pathlib import Path

# Debian and Red Hat keep daemons where an ordinary user's PATH does not look.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
NEEDED = ["munged", "munge", "slurmctld", "slurmd"]
NEEDED += ["sbatch", "srun", "squeue", "sinfo", "scancel", "scontrol"]
NEEDED_FOR_ACCOUNTS = ["slurmdbd", "sacct", "sacctmgr"]
NEEDED_FOR_ACCOUNTS += ["mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin"]
FIRST_PORT, LAST_PORT = 17000, 32000  # below the ports that outgoing connections take


class SlurmLabError(Exception):
    """The lab did not start, or did not do what was asked."""


class NoSlurmHereError(SlurmLabError):
    """A Slurm cannot run on this host."""


def why_not(accounting: bool = False) -> str | None:
    """Return why a lab cannot run on this host, or None where it can."""
    if not Path("/proc/self/environ").exists():
        return "a Slurm lab needs Linux's /proc"
    needed = [*NEEDED, *(NEEDED_FOR_ACCOUNTS if accounting else [])]
    missing = [name for name in needed if shutil.which(name, path=PATH) is None]
    if missing:
        packages = "slurm-wlm munge"
        if accounting:
            packages += " mariadb-server slurmdbd slurm-wlm-mysql-plugin"
        return f"no {', '.join(missing)} on this host; on Debian: apt-get install {packages}"
    return None


def outer_environment() -> dict[str, str]:
    """Return this process's environment with all daemons on PATH and no other Slurm in it."""
    outer = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    return {**outer, "PATH": PATH}


def listens(port: int) -> bool:
    """Return whether something answers on this port of this host."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on now. Raises SlurmLabError."""
    ports: list[int] = []
    for port in random.sample(range(FIRST_PORT, LAST_PORT), 50 * number):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
        if len(ports) == number:
            return ports
    raise SlurmLabError(f"no {number} free ports between {FIRST_PORT} and {LAST_PORT}")


def last_lines(folder: Path) -> str:
    """Return the end of every daemon's log in a lab's folder."""
    logs = sorted([*folder.glob("log/*"), *folder.glob("munge/*.log")])
    return "\n".join(
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        for log in logs
    )
