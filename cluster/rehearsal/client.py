"""What stands behind sbatch, squeue and the others: one message to the controller.

    python -S -I client.py COMMAND ARGUMENTS...

Imports little, for it runs once a command, and nothing of phasecube: -I leaves only the
standard library to import from.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys

SOCKET = "FAKE_SLURM_SOCKET"
PATTERN = re.compile(r"%(\d*)([AajJxuNnts%])")
NO_CONTACT = "Unable to contact slurm controller (connect failure)"
UNHEARD = {
    "squeue": "slurm_load_jobs error: Transport endpoint is not connected",
    "sbatch": f"sbatch: error: Batch job submission failed: {NO_CONTACT}",
    "scancel": f"scancel: error: Kill job error: {NO_CONTACT}",
    "sinfo": f"slurm_load_partitions: {NO_CONTACT}",
    "scontrol": NO_CONTACT,
    "sacct": "sacct: error: slurm_persist_conn_open_without_init: Connection refused",
    "sacctmgr": "sacctmgr: error: slurm_persist_conn_open_without_init: Connection refused",
}


def main(command: str, arguments: list[str]) -> int:
    """Print the controller's answer; return the exit code of the command."""
    if command == "srun":
        return srun(arguments)
    request: dict[str, object] = {"command": command, "arguments": arguments, "uid": os.getuid()}
    if command == "sbatch":
        request |= {"cwd": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
        if not sys.stdin.isatty() and not any(a[:1] != "-" for a in arguments):
            request["script"] = sys.stdin.read()
    answer = ask(os.environ.get(SOCKET, ""), request)
    if answer is None:
        answer = {"stderr": UNHEARD[command] + "\n", "code": 1}
    sys.stdout.write(str(answer.get("stdout", "")))
    sys.stderr.write(str(answer.get("stderr", "")))
    return int(str(answer["code"]))


def ask(path: str, request: dict[str, object]) -> dict[str, object] | None:
    """Return the controller's answer; None where it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(path)
            line.sendall(json.dumps(request).encode() + b"\n")
            heard = b"".join(iter(lambda: line.recv(65536), b""))
    except OSError:
        return None
    answer: dict[str, object] | None = json.loads(heard) if heard else None
    return answer


def srun(arguments: list[str]) -> int:
    """Become the command of a step, its output where --output says."""
    output, error, mode = "", "", os.environ.get("SLURM_OPEN_MODE", "t")
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name in ("-o", "--output", "-e", "--error", "--open-mode") and not equals:
            value = rest.pop(0)
        if name in ("-o", "--output"):
            output = value
        elif name in ("-e", "--error"):
            error = value
        elif name == "--open-mode":
            mode = value
    if not rest:
        sys.stderr.write("srun: fatal: No command given to execute.\n")
        return 1
    environment = os.environ
    environment |= {"SLURM_STEP_ID": "0", "SLURM_STEPID": "0", "SLURM_PROCID": "0"}
    environment |= {"SLURM_LOCALID": "0", "SLURM_NTASKS": "1"}
    how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode.startswith("a") else os.O_TRUNC)
    output = fill_pattern(output, dict(environment))
    for path, target in ((output, 1), (fill_pattern(error, dict(environment)), 2)):
        if path:
            os.dup2(os.open(path, how, 0o666), target)
    if output and not error:
        os.dup2(1, 2)
    step = {"command": "step", "job_id": environment.get("SLURM_JOB_ID"), "pid": os.getpid()}
    ask(environment.get(SOCKET, ""), {**step, "output": output and os.path.abspath(output)})  # noqa: PTH100
    try:
        os.execvp(rest[0], rest)  # noqa: S606
    except OSError as problem:
        sys.stderr.write(f"slurmstepd: error: execve(): {rest[0]}: {problem.strerror}\n")
        return 2


def fill_pattern(pattern: str, environment: dict[str, str]) -> str:
    """Return a file name with %A, %a, %j and the others filled from a task's environment."""
    array_id = environment.get("SLURM_ARRAY_JOB_ID", environment.get("SLURM_JOB_ID", ""))
    meanings = {
        "A": array_id,
        "a": environment.get("SLURM_ARRAY_TASK_ID", "4294967294"),
        "j": environment.get("SLURM_JOB_ID", ""),
        "J": environment.get("SLURM_JOB_ID", ""),
        "x": environment.get("SLURM_JOB_NAME", ""),
        "u": environment.get("SLURM_JOB_USER", ""),
        "N": environment.get("SLURMD_NODENAME", ""),
        "n": "0",
        "t": "0",
        "s": "0",
        "%": "%",
    }
    return PATTERN.sub(lambda found: meanings[found[2]].rjust(int(found[1] or 0), "0"), pattern)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
