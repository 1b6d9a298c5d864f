"""A real Slurm on this one host, in a temporary folder: no container, no root, no system daemon.

    with SlurmLab(nodes=4, gpus=2) as lab:
        os.environ.update(lab.environment())

Nodes are virtual: one slurmd each, on its own port, which claims what CPUs, memory and GPUs it
is told to. Memory is scheduled on and not enforced.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import lab_settings
from lab_host import (
    NoSlurmHereError,
    SlurmLabError,
    free_ports,
    last_lines,
    listens,
    outer_environment,
    why_not,
)
from lab_processes import DAEMON, end_processes, kill_all, started_with, watch


@dataclass
class SlurmLab:
    """A running Slurm: a controller, `nodes` slurmd, and with `accounting` a database.

    `cpus`, `gpus` and `memory_mb` are each node's. `extra_conf` are lines of slurm.conf; they
    win over the lab's own. `cred_expire_s` is what a requeued job waits before it may start
    again, less one second: Slurm takes nothing below 5 and then falls back to its 120.
    """

    nodes: int = 4
    cpus: int = 4
    gpus: int = 0
    memory_mb: int = 4000
    accounting: bool = False
    extra_conf: Sequence[str] = ()
    cred_expire_s: int = 5
    folder: Path = Path()
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SlurmLab:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the variables with which Slurm's commands talk to this lab."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons and wait until every node is idle.

        Raises NoSlurmHereError with `why_not`'s reason; SlurmLabError, with the last lines of
        the logs, where a daemon does not come up.
        """
        reason = why_not(self.accounting)
        if reason is not None:
            raise NoSlurmHereError(reason)
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-lab-"))
        try:
            self._watcher = watch(self.folder)
            self._write_settings()
            self._start_munged()
            if self.accounting:
                self._start_accounts()
            self.start_controller()
            if "MULTIPLE_SLURMD         = No" in self.run("scontrol", "show", "config"):
                raise NoSlurmHereError("this Slurm was built without --enable-multiple-slurmd")
            for n in range(1, self.nodes + 1):
                self.start_node(n)
            self.wait_for(self._all_idle, "all nodes idle")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the lab, its jobs' too, and remove its folder."""
        if self.folder == Path():
            return
        end_processes(self.folder)
        for daemon in self._daemons.values():
            daemon.wait()
        shutil.rmtree(self.folder)
        # Last: until here it is what ends the lab if this process is killed.
        if self._watcher is not None:
            self._watcher.communicate()
        self._watcher, self._daemons, self.folder = None, {}, Path()

    # -- what may be done to it -------------------------------------------------------------

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Return what a command prints when it talks to this lab.

        Raises SlurmLabError with the command's own text where it fails and `check` is set.
        """
        done = subprocess.run(
            command,
            env={**outer_environment(), **self.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise SlurmLabError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def sacctmgr(self, *arguments: str) -> str:
        """Return what sacctmgr prints; it asks no questions. Raises SlurmLabError."""
        return self.run("sacctmgr", "--immediate", "--quiet", *arguments)

    def set_node(self, n: int, state: str, reason: str = "test") -> None:
        """Set the state of node `n` as an administrator would: down, drain, resume."""
        self.run("scontrol", "update", f"nodename=node{n}", f"state={state}", f"reason={reason}")

    def wait_until_saved(self) -> None:
        """Return when the controller has on disk what it knew; a job must be queued."""
        # It saves some seconds late. A job it accepted, or started, and did not save before it is
        # killed is forgotten: its id is given to another, or it is started twice. What is saved is
        # one picture of all jobs: where it holds a mark made now, it holds all that came before.
        state, mark = self.folder / "state" / "job_state", f"saved-{uuid.uuid4().hex}"
        job = self.run("squeue", "-h", "-o", "%A").split()[0]
        self.run("scontrol", "update", f"jobid={job}", f"admincomment={mark}")

        def saved() -> bool:
            try:
                return mark.encode() in state.read_bytes()
            except FileNotFoundError:  # between its unlink of the old and its link of the new
                return False

        self.wait_for(saved, "the saved state")

    def kill_controller(self) -> None:
        """Kill slurmctld without notice: what it learned in the last seconds may be lost."""
        self._kill("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld, from its saved state where it has one."""
        self._daemon("slurmctld", "slurmctld", "-D")
        # A client or slurmd that finds the port closed sleeps a second before it tries again.
        self.wait_for(lambda: listens(self._port), "slurmctld")

    def kill_node(self, n: int, with_jobs: bool = True) -> None:
        """Kill slurmd of node `n` and, as when a machine fails, the jobs on it."""
        self._kill(f"node{n}")
        if with_jobs:
            of_node = {**self.environment(), "SLURMD_NODENAME": f"node{n}"}
            kill_all(lambda: set(started_with(of_node)))

    def start_node(self, n: int) -> None:
        """Start slurmd of node `n`."""
        self._daemon(f"node{n}", "slurmd", "-D", "-N", f"node{n}", SLURMD_NODENAME=f"node{n}")

    def clear(self) -> None:
        """Bring back what was killed or set down, and cancel every job; return when none runs."""
        if "slurmctld" not in self._daemons:
            self.start_controller()
        for n in range(1, self.nodes + 1):
            if f"node{n}" not in self._daemons:
                self.start_node(n)
        for how in ([], ["--signal=KILL", "--full"]):  # the second for those that ignore TERM
            self.run("scancel", f"--user={getpass.getuser()}", *how)
        for line in self.run("sinfo", "-h", "-N", "-o", "%N|%T").splitlines():
            name, state = line.split("|")
            if state.startswith(("down", "drain")):
                # It may have come back by itself meanwhile, which Slurm calls an error.
                self.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        self.wait_for(self._all_idle, "all nodes idle")

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Return once `condition` holds. Raises SlurmLabError, with the logs' last lines."""
        end = time.monotonic() + timeout_s
        while not condition():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if ended:
                raise SlurmLabError(f"{what}: {ended} ended\n{last_lines(self.folder)}")
            if time.monotonic() > end:
                raise SlurmLabError(
                    f"{what}: not within {timeout_s:g} s\n{last_lines(self.folder)}"
                )
            time.sleep(0.05)

    # -- its parts --------------------------------------------------------------------------

    @property
    def _conf(self) -> str:
        return self.environment()["SLURM_CONF"]

    def _write_settings(self) -> None:
        # munged refuses a socket folder that others cannot enter; the database has its own user.
        self.folder.chmod(0o755)
        for name, mode in [("run", 0o755), ("log", 0o755), ("spool", 0o755), ("mysql", 0o700)]:
            (self.folder / name).mkdir(mode=mode)
        for name in ("munge", "state"):
            (self.folder / name).mkdir(mode=0o700)
        host, user = socket.gethostname().split(".")[0], getpass.getuser()
        self._port, self._dbd_port, self._database_port, *node_ports = free_ports(3 + self.nodes)
        text = lab_settings.slurm_conf(
            self.folder,
            host=host,
            user=user,
            port=self._port,
            dbd_port=self._dbd_port if self.accounting else None,
            node_ports=node_ports,
            cpus=self.cpus,
            gpus=self.gpus,
            memory_mb=self.memory_mb,
            cred_expire_s=self.cred_expire_s,
            extra=self.extra_conf,
        )
        Path(self._conf).write_text(text)
        (self.folder / "gres.conf").write_text(lab_settings.gres_conf(self.nodes, self.gpus))
        (self.folder / "plugstack.conf").touch()
        if self.accounting:
            dbd = self.folder / "slurmdbd.conf"
            dbd.touch(mode=0o600)
            dbd.write_text(
                lab_settings.slurmdbd_conf(
                    self.folder,
                    host=host,
                    user=user,
                    port=self._dbd_port,
                    database_port=self._database_port,
                )
            )

    def _start_munged(self) -> None:
        munge, munge_socket = self.folder / "munge", self.folder / "run" / "munge.socket"
        key = munge / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        self._daemon("munged", *lab_settings.munged(munge, munge_socket, key))
        self.wait_for(lambda: self._works("munge", f"--socket={munge_socket}", "-n"), "munged")

    def _start_accounts(self) -> None:
        data, user = self.folder / "mysql", getpass.getuser()
        if os.geteuid() == 0:  # mariadbd refuses to run as root
            user = "mysql"
            shutil.chown(data, user)
        self.run(*lab_settings.mariadb_install(data, user))
        self._daemon("mariadbd", *lab_settings.mariadbd(data, user, self._database_port))
        client = ("--no-defaults", "-uroot", "-S", f"{data}/db.sock")
        self.wait_for(lambda: self._works("mariadb-admin", *client, "ping"), "mariadbd")
        self.run("mariadb", *client, "-e", lab_settings.DATABASE)
        self._daemon("slurmdbd", "slurmdbd", "-D")
        try:
            self.wait_for(lambda: self._works("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        except SlurmLabError as error:
            if "cannot find accounting_storage plugin" in str(error):
                raise NoSlurmHereError(
                    "no accounting_storage/mysql here; on Debian: slurm-wlm-mysql-plugin"
                ) from error
            raise
        self.sacctmgr("add", "cluster", "lab")
        self.sacctmgr("add", "account", "lab")
        self.sacctmgr("add", "user", getpass.getuser(), "account=lab")

    def _daemon(self, name: str, *command: str, **variables: str) -> None:
        marks = {**self.environment(), DAEMON: str(self.folder), **variables}
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                env={**outer_environment(), **marks},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def _works(self, *command: str) -> bool:
        try:
            self.run(*command)
        except SlurmLabError:
            return False
        return True

    def _all_idle(self) -> bool:
        return self.run("sinfo", "-h", "-t", "idle", "-o", "%D", check=False).strip() == str(
            self.nodes
        )
