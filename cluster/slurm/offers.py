"""What the cluster offers, for the remedy of a refusal; nothing where it cannot be asked."""

from __future__ import annotations

from phasecube.cluster.slurm.accounts import ASSOCIATION
from phasecube.cluster.slurm.command import SlurmError, slurm
from phasecube.cluster.slurm.limits import user_name
from phasecube.cluster.slurm.text import rows_of

MOST_KINDS = 8  # of nodes in one sentence


def _lookup(command: str, *arguments: str) -> list[str]:
    """Return the lines Slurm answers; none where it does not: the refusal is what matters."""
    try:
        return [line for line in slurm(command, *arguments).splitlines() if line.strip()]
    except SlurmError:
        return []


def partitions_offered() -> str:
    """Return what partitions there are, as the end of a sentence, or nothing."""
    found = []
    for line in _lookup("sinfo", "-h", "-o", "%R|%a|%l"):
        name, state, most = (*line.split("|"), "", "")[:3]
        up = "" if state == "up" else f", {state}"
        found.append(f"{name} (walltime up to {most}{up})")
    listing = ", ".join(dict.fromkeys(found))
    return f"; this cluster has {listing}" if listing else ""


def _associations() -> list[dict[str, str]]:
    lines = _lookup(
        "sacctmgr", "-n", "-P", "show", "user", user_name(), "withassoc", f"format={ASSOCIATION}"
    )
    return rows_of("\n".join(lines), ASSOCIATION)


def accounts_offered() -> str:
    """Return the user's accounts, as the end of a sentence, or nothing."""
    found = sorted({row["Account"] for row in _associations() if row["Account"]})
    return f"; yours are: {', '.join(found)}" if found else ""


def qos_offered() -> str:
    """Return the QOS that the user may ask for, as the end of a sentence, or nothing."""
    found = {name for row in _associations() for name in row["QOS"].split(",") if name}
    return f"; yours are: {', '.join(sorted(found))}" if found else ""


def nodes_offered(partition: str | None = None) -> str:
    """Return what nodes there are: cores, memory, GPUs, features; as the end of a sentence."""
    within = [] if partition is None else ["-p", partition]
    found = []
    for line in _lookup("sinfo", "-h", *within, "-o", "%c|%m|%G|%f"):
        cores, memory, gres, features = (*line.split("|"), "", "", "", "")[:4]
        parts = [f"{cores} cores", f"{memory} MB"]
        parts += [] if gres in ("", "(null)") else [gres]
        parts += [] if features in ("", "(null)") else [f"features {features}"]
        found.append(" + ".join(parts))
    listing = "; ".join(list(dict.fromkeys(found))[:MOST_KINDS])
    return f"; its nodes have {listing}" if listing else ""
