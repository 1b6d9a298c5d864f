"""What a Slurm on one host is told: its configuration files, its daemons' command lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# A fake GPU is any character device: slurmd only looks that it is one, and a step gets
# CUDA_VISIBLE_DEVICES=0,1,... A plain file or a bare Count= does not do.
DEVICES = ["null", "zero", "full", "random", "urandom", "tty", *(f"tty{n}" for n in range(64))]

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket,cred_expire={cred_expire_s}
CredType=cred/munge
JobCompType=jobcomp/none
{accounting}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
SlurmctldDebug=info
SlurmdDebug=info

# No cgroups, no MPI, no affinity.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
PlugStackConfig={folder}/plugstack.conf
MailProg=/bin/true

# Virtual nodes: believe the CPUs and memory below, not the hardware.
SlurmdParameters=config_overrides
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
ReturnToService=2

# Quick turn-around: Slurm's own pauses are made for thousands of nodes.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,\
bf_interval=1,bf_continue,default_queue_depth=1000
PriorityType=priority/basic
MinJobAge=300
MessageTimeout=10
SlurmctldTimeout=5
SlurmdTimeout=5
InactiveLimit=0
KillWait=2
CompleteWait=0
UnkillableStepTimeout=30
JobRequeue=1
EnforcePartLimits=ALL
MaxJobCount=20000
MaxArraySize=10001

{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/run/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
CommitDelay=1
"""

DATABASE = """\
CREATE DATABASE slurm;
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm', slurm@localhost IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@'127.0.0.1', slurm@localhost;
"""


def slurm_conf(
    folder: Path,
    *,
    host: str,
    user: str,
    port: int,
    dbd_port: int | None,
    node_ports: Sequence[int],
    cpus: int,
    gpus: int,
    memory_mb: int,
    cred_expire_s: int,
    extra: Sequence[str],
) -> str:
    """Return slurm.conf for nodes node1, node2, ... on this host; memory in MB, times in s.

    The settings in `extra` take the place of the lab's own; no `dbd_port`: no accounts kept.
    """
    if dbd_port is None:
        accounting = "AccountingStorageType=accounting_storage/none"
    else:
        accounting = ACCOUNTING.format(port=dbd_port, folder=folder)
    gres = f" Gres=gpu:{gpus}" if gpus else ""
    nodes = [
        f"NodeName=node{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} "
        f"RealMemory={memory_mb} Feature={'odd' if n % 2 else 'even'}{gres} State=UNKNOWN"
        for n, node_port in enumerate(node_ports, start=1)
    ]
    text = SLURM_CONF.format(
        host=host,
        port=port,
        user=user,
        folder=folder,
        cred_expire_s=cred_expire_s,
        accounting=accounting,
        nodes="\n".join(nodes),
    )
    # Slurm takes the latter of two settings, but each of its commands complains of both.
    given = {line.split("=")[0] for line in extra} - {"NodeName", "PartitionName"}
    own = [line for line in text.splitlines() if line.split("=")[0] not in given]
    return "\n".join([*own, *extra, ""])


def gres_conf(nodes: int, gpus: int) -> str:
    """Return gres.conf: so many fake GPUs on each node. Raises ValueError for too many."""
    if gpus == 0:
        return ""
    found = [f"/dev/{name}" for name in DEVICES if Path(f"/dev/{name}").is_char_device()]
    if len(found) < gpus:
        raise ValueError(f"{gpus} fake GPUs need as many character devices; found {len(found)}")
    return f"NodeName=node[1-{nodes}] Name=gpu File={','.join(found[:gpus])}\n"


def slurmdbd_conf(folder: Path, *, host: str, user: str, port: int, database_port: int) -> str:
    """Return slurmdbd.conf for a database on this host."""
    return SLURMDBD_CONF.format(
        folder=folder, host=host, user=user, port=port, database_port=database_port
    )


def munged(folder: Path, munge_socket: Path, key: Path) -> list[str]:
    """Return the command that starts the authentication daemon, all its files in `folder`."""
    return [
        *("munged", "--foreground", "--force", "--num-threads=4", f"--key-file={key}"),
        *(f"--socket={munge_socket}", f"--pid-file={folder}/munged.pid"),
        *(f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"),
    ]


def mariadb_install(data: Path, user: str) -> list[str]:
    """Return the command that makes an empty database in the folder `data`."""
    return [
        *("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}"),
        *("--skip-test-db", "--auth-root-authentication-method=normal"),
    ]


def mariadbd(data: Path, user: str, port: int) -> list[str]:
    """Return the command that starts the database in `data`, small and careless of crashes."""
    return [
        *("mariadbd", "--no-defaults", f"--datadir={data}", f"--user={user}"),
        *(f"--socket={data}/db.sock", f"--port={port}", "--bind-address=127.0.0.1"),
        *(f"--pid-file={data}/db.pid", "--innodb-lock-wait-timeout=900", "--skip-log-bin"),
        *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M"),
        *("--performance-schema=off", "--innodb-flush-log-at-trx-commit=0"),
    ]
