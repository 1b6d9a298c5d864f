"""The user's own lines for sbatch: those that phasecube sets itself are faults with a remedy."""

from __future__ import annotations

import shlex

# The key of [cluster.slurm] that writes each option.
_BY_KEY = {
    "partition": ("--partition", "-p"),
    "account": ("--account", "-A"),
    "qos": ("--qos", "-q"),
    "constraint": ("--constraint", "-C"),
    "gres": ("--gres",),
    "gpus": ("--gpus-per-node", "--gpus-per-task", "--gpus", "-G"),
    "cpus": ("--cpus-per-task", "-c"),
    "memory": ("--mem", "--mem-per-cpu", "--mem-per-gpu"),
    "walltime": ("--time", "-t"),
    "notice_s": ("--signal",),
    "requeues": ("--requeue", "--no-requeue"),
    "throttle": ("--array", "-a"),
    "processes": ("--ntasks", "-n", "--ntasks-per-node"),
}
_LOGS = "the logs of all tasks stand in the study; leave it out"
_REMEDIES = {
    **{option: f"give `{key}` instead" for key, options in _BY_KEY.items() for option in options},
    **dict.fromkeys(("--output", "-o", "--error", "-e", "--open-mode"), _LOGS),
    **dict.fromkeys(("--nodes", "-N"), "a task runs on one node; leave it out"),
    **dict.fromkeys(("--job-name", "-J"), "it finds its tasks by their name; leave it out"),
    **dict.fromkeys(("--wait", "-W"), "`phasecube watch` follows a study; leave it out"),
    "--comment": "leave it out",
    "--wrap": "give lines for the script by `setup`",
    "--parsable": "it reads sbatch's answer; leave it out",
    "--test-only": "nothing would run; leave it out",
}


def fault_of(line: str) -> str | None:
    """Return what is wrong with a line for sbatch and what to do, or None."""
    if line.lstrip().startswith("#"):
        return f'is an option alone, as "--exclusive", without #SBATCH; got {line!r}'
    try:
        words = shlex.split(line)
    except ValueError as error:
        return f"cannot be read as a shell would ({error}); got {line!r}"
    if not words or not words[0].startswith("-"):
        return (
            f'takes options of sbatch, as "--exclusive"; got {line!r}; lines for the shell belong '
            "to `setup`"
        )
    for word in words:
        if (remedy := _remedy(word)) is not None:
            return f"phasecube sets {word.partition('=')[0]} itself; {remedy}"
    return None


def _remedy(word: str) -> str | None:
    if not word.startswith("--"):
        return _REMEDIES.get(word[:2]) if word.startswith("-") else None
    name = word.partition("=")[0]
    if name in _REMEDIES:
        return _REMEDIES[name]
    # sbatch takes a long option cut short, too; two letters may still mean many.
    longer = (option for option in _REMEDIES if len(name) > len("--xx") and option.startswith(name))
    return next((_REMEDIES[option] for option in longer), None)
