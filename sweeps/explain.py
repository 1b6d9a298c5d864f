"""What went into a digest, and why two trials differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phasecube.engine.errors import StudyError
from phasecube.sweeps.digest import canonical, digest_of, is_left_out
from phasecube.sweeps.plan import Plan


def find_trial(plan: Plan, prefix: str) -> int:
    """Return the trial whose digest begins with `prefix`; raise StudyError unless it is one."""
    wanted = prefix.strip().lower()
    if not wanted or not set(wanted) <= set("0123456789abcdef"):
        raise StudyError(f"{prefix!r} is no digest; it is written in 0-9 a-f, from its beginning")
    names = np.ascontiguousarray(plan.digests)
    found: dict[str, int] = {}
    head = bytes.fromhex(wanted[: len(wanted) // 2 * 2])
    same = np.flatnonzero((names[:, : len(head)] == np.frombuffer(head, np.uint8)).all(axis=1))
    for trial in same:
        name = bytes(names[trial]).hex()
        if name.startswith(wanted):
            found.setdefault(name, int(trial))
    if len(found) != 1:
        count = f"{len(found)} trials begin" if found else "no trial of the plan begins"
        listing = "".join(f"\n  {name}" for name in list(found)[:5])
        raise StudyError(f"{count} with {wanted!r}; give more of the digest{listing}")
    return next(iter(found.values()))


def explain(plan: Plan, prefix: str) -> list[str]:
    """Return the lines that say what one trial is and what its digest is taken over."""
    trial = find_trial(plan, prefix)
    content = plan.content(trial)
    row = int(plan.row[trial])
    lines = [
        f"trial      {digest_of(content)}",
        f"place      {_place(plan, trial)}",
        f"row        {row} (pack {row // plan.pack_size}, lane {row % plan.pack_size})",
        "the digest is BLAKE2b-128 over:",
    ]
    params = content.pop("params")
    out = {name: value for name, value in params.items() if is_left_out(name, value)}
    named = {**content, "params": {n: v for n, v in params.items() if n not in out}}
    lines += [f"  {name} = {canonical(value)}" for name, value in flat(named).items()]
    if out:
        lines.append("which leaves out, while they are as for every trial before them:")
        lines += [f"  {name} = {canonical(value)}" for name, value in out.items()]
    return lines


def compare(plan: Plan, first: str, second: str) -> list[str]:
    """Return the lines that say in what two trials differ."""
    one, two = plan.content(find_trial(plan, first)), plan.content(find_trial(plan, second))
    old, new = flat(one), flat(two)
    different = [n for n in old.keys() | new.keys() if old.get(n) != new.get(n)]
    if not different:
        return [f"{digest_of(one)} is one trial: nothing differs"]
    return [
        f"{digest_of(one)[:12]} and {digest_of(two)[:12]} differ in:",
        *(f"  {n}: {canonical(old.get(n))} -> {canonical(new.get(n))}" for n in sorted(different)),
    ]


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested content as one level of dotted names."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _place(plan: Plan, trial: int) -> str:
    parts = []
    for axis in plan.sweep.axes:
        column = plan.columns.get(axis.name)
        value = column.values[column.codes[trial]] if column else plan.constants.get(axis.name)
        parts.append(f"{axis.name} = {value}")
    return ", ".join(parts) or "the only trial"
