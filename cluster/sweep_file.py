"""The sweep as a study keeps it: the text as given, `--set` applied, the user's code beside it."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasecube.engine.errors import Fault, SpecError, StudyError
from phasecube.engine.store import write_by_rename

SWEEP_FILE, CODE_FOLDER = "sweep.toml", "code"


@dataclass(frozen=True)
class SweepText:
    """A sweep as TOML text, the folder its paths are relative to, and where it came from."""

    text: str
    folder: Path
    source: str


def read_sweep_text(path: Path, settings: Sequence[str] = ()) -> SweepText:
    """Return the sweep file's text with each `KEY=VALUE` of `settings` applied.

    Raises SpecError if there is no such text, and for settings that do not fit it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = "`phasecube new` writes one from the catalog"
        raise SpecError([Fault(str(path), f"cannot be read: {reason}; {remedy}")]) from error
    if settings:
        table = _parse(text, str(path))
        faults = [fault for fault in (_apply(table, s) for s in settings) if fault]
        if faults:
            raise SpecError(faults, "--set")
        given = "".join(f"# --set {setting}\n" for setting in settings)
        text = f"# {path.name} with\n{given}\n{dump_toml(table)}"
    return SweepText(text, path.resolve().parent, str(path))


def keep_sweep(sweep: SweepText, study: Path) -> SweepText:
    """Write sweep.toml into the study, with the file of the user's experiment under code/.

    The study then stands on its own: it can be moved, and its code is the code it ran.
    """
    text, source = as_kept(sweep)
    if source is not None:
        target = study / CODE_FOLDER / source.name
        if source != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_by_rename(target, source.read_bytes())
    write_by_rename(study / SWEEP_FILE, text.encode())
    return kept_sweep(study)


def as_kept(sweep: SweepText) -> tuple[str, Path | None]:
    """Return the text as a study keeps it, and the user's file that goes with it, if any."""
    table = _parse(sweep.text, sweep.source)
    reference = str(table.get("experiment", ""))
    if ".py:" not in reference:
        return sweep.text, None
    file, _, name = reference.rpartition(":")
    source = (sweep.folder / file).resolve()
    kept = f"{CODE_FOLDER}/{source.name}:{name}"
    return _replace_reference(sweep.text, table, reference, kept), source


def kept_sweep(study: Path) -> SweepText:
    """Return the sweep that the study keeps; raises StudyError where there is none."""
    path = study / SWEEP_FILE
    if not path.exists():
        raise StudyError(f"{study} is no study: it has no {SWEEP_FILE}; `phasecube run` makes one")
    return SweepText(path.read_text(encoding="utf-8"), study, str(path))


def changed_code(sweep: SweepText, study: Path) -> str | None:
    """Return the name of the user's file if it differs from the one that the study keeps."""
    _, source = as_kept(sweep)
    if source is None:
        return None
    kept = study / CODE_FOLDER / source.name
    if not kept.exists() or not source.exists() or kept.read_bytes() == source.read_bytes():
        return None
    return source.name


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Fault("$", f"not TOML: {error}")], source) from error


def _replace_reference(text: str, table: dict[str, Any], old: str, new: str) -> str:
    for quote in ('"', "'"):
        edited = text.replace(f"{quote}{old}{quote}", f"{quote}{new}{quote}", 1)
        if edited != text and tomllib.loads(edited) == {**table, "experiment": new}:
            return edited
    return text if old == new else dump_toml({**table, "experiment": new})


def _apply(table: dict[str, Any], setting: str) -> Fault | None:
    key, equals, value_text = setting.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        return Fault(setting, "give KEY=VALUE, for example fixed.steps=200")
    try:
        value = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError:
        value = value_text.strip()  # a bare word is a string: fixed.optimizer=adamw
    inner: Any = table
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return Fault(setting, f"{part!r} is a value, not a table, in the sweep file")
    inner[path[-1]] = value
    return None


def dump_toml(table: Mapping[str, Any]) -> str:
    """Return `table` as TOML: plain values first, then one section for each sub-table."""
    return "\n".join(_sections(table, ())) + "\n"


def _sections(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    lines = [f"{_key(k)} = {_value(v)}" for k, v in plain.items()]
    if path and (lines or not table):
        lines.insert(0, f"\n[{'.'.join(map(_key, path))}]")
    for name, value in table.items():
        if isinstance(value, dict):
            lines += _sections(value, (*path, name))
    return lines


def _key(key: str) -> str:
    bare = key.replace("_", "a").replace("-", "a")
    return key if bare.isascii() and bare.isalnum() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf, nan are TOML too
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())} }}"
    return str(value)
