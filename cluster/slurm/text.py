"""Slurm's ways to write records, counts and times, as values; None is "no limit"."""

from __future__ import annotations

import re

NONE = frozenset({"", "UNLIMITED", "INFINITE", "N/A", "NONE", "(NULL)", "INVALID", "-1"})
_DAYS = re.compile(r"^(\d+)-(\d+)(?::(\d+))?(?::(\d+))?$")
_CLOCK = re.compile(r"^(\d+)(?::(\d+))?(?::(\d+))?$")
_KEY = re.compile(r"(?:^|\s)([A-Za-z][\w/:.-]*)=")


def count_of(text: str) -> int | None:
    """Return the number, or None where there is no limit or none can be read."""
    word = text.strip()
    return int(word) if word.isdecimal() and word not in NONE else None


def seconds_of_time(text: str) -> int | None:
    """Return the seconds of "90" (minutes), "60:00", "4:00:00", "1-00", "1-00:00:00".

    None where there is no limit or none can be read.
    """
    word = text.strip()
    if found := _DAYS.match(word):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if (found := _CLOCK.match(word)) is None:
        return None
    parts = [int(part) for part in found.groups() if part is not None]
    if len(parts) == 1:
        return parts[0] * 60
    hours, minutes, seconds = (0, *parts)[-3:]
    return (hours * 60 + minutes) * 60 + seconds


def time_in_words(seconds: int) -> str:
    """Return seconds as Slurm takes them back: "1-12:00:00", "04:00:00"."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def record_of(line: str) -> dict[str, str]:
    """Return the Key=Value pairs of one line of `scontrol show -o`; a value may hold spaces."""
    keys = list(_KEY.finditer(line))
    ends = [key.start() for key in keys[1:]] + [len(line)]
    return {key[1]: line[key.end() : end].strip() for key, end in zip(keys, ends)}


def config_of(text: str) -> dict[str, str]:
    """Return the lines `Name = value` of `scontrol show config`."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def rows_of(text: str, columns: str) -> list[dict[str, str]]:
    """Return each line of a list parted by |, by the names in `columns` (parted by commas)."""
    names = columns.split(",")
    rows = (line.rstrip("\n").split("|") for line in text.splitlines() if line.strip())
    return [dict(zip(names, (*row, *[""] * len(names)))) for row in rows]
