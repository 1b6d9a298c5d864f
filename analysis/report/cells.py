"""What the page knows of each cell beside its curves: facts in words, trials and their digests."""

from __future__ import annotations

from typing import Any

import numpy as np

from phasecube.analysis.drawn import Map, Section
from phasecube.analysis.report.outcome_places import in_words
from phasecube.engine.record import Outcome

ORDER = [int(outcome) for outcome in Outcome]
OUTCOME_NAMES = [in_words(outcome) for outcome in Outcome]  # as the page counts them
DIGEST_LETTERS = 12  # 48 bits: of 10^6 trials two share them once in 500 studies


class Words:
    """A pool of texts: maps of thousands of cells say the same few again and again."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def at(self, text: str) -> int:
        """Return the place of a text in `texts`."""
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]

    def facts(self, drawn: Map, n_sides: int) -> list[list[int]]:
        """Return names, value, value, ... of each cell of a map, row by row.

        Names are one text with line ends between them. The place of a cell, the first
        `n_sides` of its facts, is left out: the ticks of the map have it.
        """
        found = []
        for cell in drawn.cells:
            facts = cell.facts[n_sides:]
            names = self.at("\n".join(name for name, _ in facts))
            found.append([names, *(self.at(value) for _, value in facts)])
        return found


def trials_of(section: Section, *, most: int) -> dict[str, Any]:
    """Return the trials of a section's cells as plain values for JSON, about `most` of them.

    cells: "row,column" -> [member, outcome, digest] each, the first two as places in
    `members` and in OUTCOME_NAMES; the others of `total` members are left out. ended: outcome
    -> "row,column" -> how many of the cell's trials ended so.
    """
    ds = section.panel.ds
    outcome = ds.outcome.transpose("row", "column", "member").values
    ended: dict[str, dict[str, int]] = {}
    for kind in Outcome:
        if kind is Outcome.NOT_PLANNED:
            continue
        counts = (outcome == kind).sum(-1)
        at = np.argwhere(counts)
        if len(at):
            ended[in_words(kind)] = {f"{r},{c}": int(counts[r, c]) for r, c in at}
    total = outcome.shape[-1]
    shown = int(np.clip(most // max(1, outcome.shape[0] * outcome.shape[1]), 0, total))
    cells: dict[str, list[list[Any]]] = {}
    if "digest" in ds and shown:
        some = ds.digest.isel(member=slice(0, shown))
        digest = some.broadcast_like(ds.outcome.isel(member=slice(0, shown)))
        names = digest.transpose("row", "column", "member").values
        planned = outcome[..., :shown] != Outcome.NOT_PLANNED
        for row, column, member in np.argwhere(planned):
            name = str(names[row, column, member])[:DIGEST_LETTERS]
            code = ORDER.index(int(outcome[row, column, member]))
            cells.setdefault(f"{row},{column}", []).append([int(member), code, name])
    members = list(section.panel.members[:shown])
    return {"cells": cells, "members": members, "total": total, "ended": ended}
