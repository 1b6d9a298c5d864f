"""The options of Slurm's query commands, and the tables they print."""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from phasecube.cluster.rehearsal.request import RefusalError

COMMA = re.compile(r",(?![^\[]*\])")
FIELD = re.compile(r"%(\.?)(\d*)([A-Za-z])")
SQUEUE = {
    "h": "noheader", "a": "all", "r": "array", "l": "long", "o": "format", "t": "states",
    "u": "user", "j": "jobs", "n": "name", "p": "partition", "S": "sort", "A": "account",
    "w": "nodelist", "i": "iterate", "q": "qos",
}  # fmt: skip
SACCT = {
    "n": "noheader", "P": "parsable2", "p": "parsable", "X": "allocations", "j": "jobs",
    "o": "format", "S": "starttime", "E": "endtime", "u": "user", "s": "state", "D": "duplicates",
    "a": "allusers", "b": "brief", "r": "partition", "A": "accounts", "N": "nodelist",
}  # fmt: skip
SINFO = {
    "h": "noheader", "o": "format", "p": "partition", "N": "Node", "e": "exact", "s": "summarize",
    "n": "nodes", "t": "states", "a": "all", "l": "long", "r": "responding",
}  # fmt: skip
LONG_ONLY = ("name", "units", "reservation")
FLAGS = frozenset(
    (
        "noheader", "all", "array", "long", "me", "parsable2", "parsable", "allocations",
        "duplicates", "allusers", "brief", "Node", "exact", "summarize", "responding", "quiet",
    )
)  # fmt: skip


class Words:
    """The options of one command line, by their long names."""

    def __init__(self, command: str, arguments: Sequence[str], short: Mapping[str, str]) -> None:
        self.command = command
        self.given: dict[str, str] = {}
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if word.startswith("--"):
                self._take_long(word, rest, short)
            elif word.startswith("-"):
                self._take_short(word, rest, short)
            else:
                self.refuse(f"{command}: error: Unrecognized option: {word}")

    def has(self, name: str) -> bool:
        """Return whether an option was given."""
        return name in self.given

    def value(self, name: str, default: str = "") -> str:
        """Return an option's value."""
        return self.given.get(name, default)

    def listed(self, name: str) -> list[str]:
        """Return the values of an option that takes several, split at commas outside [...]."""
        return [part for part in COMMA.split(self.value(name)) if part]

    def allows(self, name: str, value: str) -> bool:
        """Return whether an option that filters lets this value through."""
        return not self.has(name) or value in self.listed(name)

    def user_exists(self, name: str) -> bool:
        """Return whether this machine knows the user."""
        try:
            pwd.getpwnam(name)
        except KeyError:
            return False
        return True

    def refuse(self, said: str) -> NoReturn:
        """Raise RefusalError with these words and exit code 1."""
        raise RefusalError(said)

    def _take_long(self, word: str, rest: list[str], short: Mapping[str, str]) -> None:
        name, equals, value = word[2:].partition("=")
        name = {"job": "jobs", "state": "states" if "t" in short else "state"}.get(name, name)
        if name not in FLAGS and name not in LONG_ONLY and name not in short.values():
            self.refuse(f"{self.command}: unrecognized option '{word}'")
        self._set(name, value, bool(equals), rest, word)

    def _take_short(self, word: str, rest: list[str], short: Mapping[str, str]) -> None:
        letters = word[1:]
        while letters:  # -hat all is -h -a -t all
            name = short.get(letters[0], "")
            if not name:
                self.refuse(f"{self.command}: invalid option -- '{letters[0]}'")
            if name in FLAGS:
                self.given[name] = ""
                letters = letters[1:]
                continue
            self._set(name, letters[1:], len(letters) > 1, rest, word)
            return

    def _set(self, name: str, value: str, has_value: bool, rest: list[str], word: str) -> None:
        if name not in FLAGS and not has_value:
            if not rest:
                self.refuse(f"{self.command}: option '{word}' requires an argument")
            value = rest.pop(0)
        self.given[name] = value


def table(words: Words, rows: Sequence[Mapping[str, str]], usual: str, unknown: str) -> str:
    """Return rows as sacct and sacctmgr print them: -P with bars, else in columns.

    Names of fields may be cut short, as in Slurm. Raises RefusalError for one it does not know.
    """
    names = [asked.partition("%")[0] for asked in words.listed("format")] or usual.split(",")
    fields = list(dict.fromkeys(name for row in rows for name in row)) or usual.split(",")
    columns = []
    for name in names:
        column = matching(name, fields)
        if column is None and rows:
            words.refuse(unknown.format(name))
        columns.append(column or name)
    lines = [[row.get(column, "") for column in columns] for row in rows]
    if not words.has("noheader"):
        lines.insert(0, columns)
    if words.has("parsable2"):
        return "".join("|".join(line) + "\n" for line in lines)
    if words.has("parsable"):
        return "".join("|".join(line) + "|\n" for line in lines)
    return "".join(" ".join(text[:20].rjust(20) for text in line) + "\n" for line in lines)


def filled(pattern: str, fields: Mapping[str, str]) -> str:
    """Return a format of squeue or sinfo, %T or %.18i, with its fields put in."""

    def one(found: re.Match[str]) -> str:
        text = fields.get(found[3], "N/A")
        if not found[2]:
            return text
        width = int(found[2])
        return text[:width].rjust(width) if found[1] else text[:width].ljust(width)

    return FIELD.sub(one, pattern)


def matching(name: str, fields: Sequence[str]) -> str | None:
    """Return the field a name means: itself in any case, else the first it begins or extends."""
    low = {field.lower(): field for field in fields}
    asked = name.lower()
    begun = [field for field in low if field.startswith(asked)]
    extended = [field for field in low if asked.startswith(field)]
    found = [asked] if asked in low else [*begun, *sorted(extended, key=len, reverse=True)]
    return low[found[0]] if found else None


def clock(seconds: float, full: bool = False) -> str:
    """Return 1-02:03:04, 2:03:04 or 3:04 as squeue does; `full` has always two-digit hours."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}-{hour:02}:{minute:02}:{second:02}"
    if full:
        return f"{hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
