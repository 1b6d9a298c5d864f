"""A real Slurm on this one host, in a temporary folder: no container, no root, no system daemon.

    with SlurmLab(nodes=4, gpus=2) as lab:
        os.environ.update(lab.environment())

Nodes are virtual: one slurmd each, on its own port, which claims what CPUs, memory and GPUs it
is told to. Memory is scheduled on and not enforced.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import lab_settings

# Debian and Red Hat keep daemons where an ordinary user's PATH does not look.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
NEEDED = "munged munge slurmctld slurmd sbatch srun squeue sinfo scancel scontrol".split()
NEEDED_FOR_ACCOUNTS = "slurmdbd sacct sacctmgr mariadbd mysql_install_db mysql mysqladmin".split()
DAEMON = "PHASECUBE_SLURM_LAB"  # in the environment of every daemon: the folder of its lab
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


class SlurmLab:
    """A running Slurm: a controller, `nodes` slurmd, and with `accounting` a database.

    `cred_expire_s` is what a requeued job waits before it may start again, less one second
    (Slurm's own: 120). `extra_conf` are lines of slurm.conf; they win over the lab's own.
    """

    def __init__(
        self,
        nodes: int = 4,
        cpus: int = 4,
        gpus: int = 0,
        memory_mb: int = 4000,
        accounting: bool = False,
        extra_conf: Sequence[str] = (),
        cred_expire_s: int = 5,
    ) -> None:
        self.nodes = nodes
        self.cpus = cpus
        self.gpus = gpus
        self.memory_mb = memory_mb
        self.accounting = accounting
        self.extra_conf = list(extra_conf)
        self.cred_expire_s = cred_expire_s
        self.folder = Path()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._watcher: subprocess.Popen[bytes] | None = None

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
            self._watcher = _watch(self.folder)
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
        if self._watcher is None:
            return
        try:
            end_processes(self.folder)
            for daemon in self._daemons.values():
                daemon.wait()
            shutil.rmtree(self.folder)
        finally:
            # Not closed before: until here it is what ends the lab if this process is killed.
            self._watcher.communicate()
            self._watcher = None
            self._daemons = {}

    # -- what may be done to it -------------------------------------------------------------

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """Return what a command prints when it talks to this lab.

        Raises SlurmLabError with the command's own text where it fails and `check` is set.
        """
        done = subprocess.run(
            command,
            env={**_outer_environment(), **self.environment()},
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

    def kill_controller(self) -> None:
        """Kill slurmctld without notice."""
        self._kill("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld, from its saved state where it has one."""
        self._daemon("slurmctld", "slurmctld", "-D")
        # A client or slurmd that finds the port closed sleeps a second before it tries again.
        self.wait_for(lambda: _listens(self._port), "slurmctld")

    def kill_node(self, n: int, with_jobs: bool = True) -> None:
        """Kill slurmd of node `n` and, as when a machine fails, the jobs on it."""
        self._kill(f"node{n}")
        if with_jobs:
            _kill_all(
                lambda: set(_found({"SLURM_CONF": self._conf, "SLURMD_NODENAME": f"node{n}"}))
            )

    def start_node(self, n: int) -> None:
        """Start slurmd of node `n`."""
        self._daemon(f"node{n}", "slurmd", "-D", "-N", f"node{n}", SLURMD_NODENAME=f"node{n}")

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Return once `condition` holds. Raises SlurmLabError, with the logs' last lines."""
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise SlurmLabError(f"{what}: not within {timeout_s:g} s\n{self._last_lines()}")
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
        self._port, self._dbd_port, self._database_port, *node_ports = _free_ports(3 + self.nodes)
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
        self._daemon(
            "munged",
            *("munged", "--foreground", "--force", "--num-threads=4", f"--key-file={key}"),
            *(f"--socket={munge_socket}", f"--pid-file={munge}/munged.pid"),
            *(f"--log-file={munge}/munged.log", f"--seed-file={munge}/munged.seed"),
        )
        self.wait_for(lambda: self._works("munge", f"--socket={munge_socket}", "-n"), "munged")

    def _start_accounts(self) -> None:
        data, user = self.folder / "mysql", getpass.getuser()
        if os.geteuid() == 0:  # mariadbd refuses to run as root
            user = "mysql"
            shutil.chown(data, user)
        data_of_user = (f"--datadir={data}", f"--user={user}")
        self.run(
            *("mysql_install_db", "--no-defaults", *data_of_user, "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        self._daemon(
            "mariadbd",
            *("mariadbd", "--no-defaults", *data_of_user, f"--socket={data}/db.sock"),
            *(f"--port={self._database_port}", "--bind-address=127.0.0.1"),
            *(f"--pid-file={data}/db.pid", "--innodb-lock-wait-timeout=900"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--skip-log-bin"),
            *("--performance-schema=off", "--innodb-flush-log-at-trx-commit=0"),
        )
        client = ("--no-defaults", "-uroot", "-S", f"{data}/db.sock")
        self.wait_for(lambda: self._works("mysqladmin", *client, "ping"), "mariadbd")
        self.run("mysql", *client, "-e", lab_settings.DATABASE)
        self._daemon("slurmdbd", "slurmdbd", "-D")
        self.wait_for(lambda: self._works("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        self.sacctmgr("add", "cluster", "lab")
        self.sacctmgr("add", "account", "lab")
        self.sacctmgr("add", "user", getpass.getuser(), "account=lab")

    def _daemon(self, name: str, *command: str, **variables: str) -> None:
        marks = {**self.environment(), DAEMON: str(self.folder), **variables}
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                env={**_outer_environment(), **marks},
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

    def _last_lines(self) -> str:
        logs = sorted([*self.folder.glob("log/*"), *self.folder.glob("munge/*.log")])
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            for log in logs
        )


def _outer_environment() -> dict[str, str]:
    outer = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    return {**outer, "PATH": PATH}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(number: int) -> list[int]:
    ports: list[int] = []
    for port in random.sample(range(FIRST_PORT, LAST_PORT), 50 * number):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
        if len(ports) == number:
            return ports
    raise SlurmLabError(f"no {number} free ports between {FIRST_PORT} and {LAST_PORT}")


# -- processes: found by what their environment says, so that none need be noted down ---------


def processes(folder: Path) -> set[int]:
    """Return the ids of the lab's daemons, its jobs' processes, and all that these started."""
    found = set(_found({DAEMON: str(folder)}))
    found |= {
        pid
        for pid, variables in _found({"SLURM_CONF": str(folder / "slurm.conf")}).items()
        if "SLURM_JOB_ID" in variables
    }
    parents = {int(p.name): _parent(p) for p in _process_folders()}
    while True:
        children = {pid for pid, parent in parents.items() if parent in found} - found
        if not children:
            return found
        found |= children


def end_processes(folder: Path) -> None:
    """Kill all processes of the lab in `folder`; return when none is left."""
    _kill_all(lambda: processes(folder))


def _kill_all(find: Callable[[], set[int]]) -> None:
    # A job may start another process while its own are being killed: until none is found.
    while found := find():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _process_folders() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _parent(process: Path) -> int | None:
    """Return the parent's id, or None for a process that has ended."""
    try:
        _, _, rest = (process / "stat").read_text().rpartition(")")
    except (OSError, ValueError):
        return None
    state, parent, *_ = rest.split()
    return None if state == "Z" else int(parent)


def _found(wanted: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """Return the environments of all living processes that were started with `wanted`."""
    found = {}
    for process in _process_folders():
        try:
            words = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        variables = dict(word.split("=", 1) for word in words if "=" in word)
        if wanted.items() <= variables.items() and _parent(process) is not None:
            found[int(process.name)] = variables
    return found


def _watch(folder: Path) -> subprocess.Popen[bytes]:
    """Return a process that ends the lab when this one ends, however it ends."""
    return subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )


if __name__ == "__main__":
    sys.stdin.read()  # returns when the process that holds the other end is gone
    end_processes(Path(sys.argv[1]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
