"""Ready studies, one phenomenon each; `phasecube new` copies them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class CatalogEntry:
    """A ready study: its name, its sweep file and what it shows in one line."""

    name: str
    path: Path
    title: str


def catalog() -> dict[str, CatalogEntry]:
    """Return every ready study by name, in order of names."""
    entries = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        with path.open("rb") as file:
            title = tomllib.load(file)["title"]
        entries[path.stem] = CatalogEntry(path.stem, path, title)
    return entries
