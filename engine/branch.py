"""States that trials can go on from: a cache of lanes, by trial and step.

A file holds the lanes of a pack that stood at one step together, so there are few files. All of
it may be deleted at any time: the trials it came from can be trained again up to that step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from torch import Tensor

from phasecube.engine.checkpoint import read_tensors, write_tensors
from phasecube.engine.pack_state import stacked

SUFFIX = ".states"
VERSION = 1
State = Mapping[str, Tensor]  # of one lane, as PackState.lane gives it
Place = tuple[str, int]  # digest of the trial, and the step that its state stands before


OnKept = Callable[[int, Mapping[int, State]], None]  # a step, and states by lane


@dataclass(frozen=True)
class Keeper:
    """Which lanes of a pack are to keep their states, before which steps, and who takes them."""

    steps_of: Mapping[int, frozenset[int]]
    take: OnKept

    @cached_property
    def steps(self) -> frozenset[int]:
        """Return every step before which some lane keeps its state."""
        return frozenset().union(*self.steps_of.values())


class BranchFolder:
    """The states in one folder, which is made by the first `keep`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def keep(self, step: int, states: Mapping[str, State]) -> None:
        """Publish the states, by digest, of trials that stand before `step`.

        Raises CheckpointError where the folder cannot be written.
        """
        if not states:
            return
        digests = list(states)
        name = blake2b("".join(digests).encode(), digest_size=8).hexdigest()
        note = {"version": VERSION, "step": step, "digests": digests}
        write_tensors(
            self.path / f"{step:010d}-{name}{SUFFIX}", stacked(list(states.values())), note
        )

    def find(self, wanted: Collection[Place]) -> dict[Place, dict[str, Tensor]]:
        """Return the states that are there; torn files are passed over."""
        found: dict[Place, dict[str, Tensor]] = {}
        left = set(wanted)
        for step in sorted({step for _, step in left}):
            for file in self._files(f"{step:010d}-*"):
                if not any(s == step for _, s in left):
                    break
                tensors, digests = _read(file)
                for lane, digest in enumerate(digests):
                    if (digest, step) in left:
                        left.discard((digest, step))
                        found[digest, step] = {name: t[lane] for name, t in tensors.items()}
        return found

    def forget(self, needed: Collection[Place]) -> None:
        """Delete the files that hold none of the `needed` states."""
        for file in list(self._files("*")):
            step = int(file.name.partition("-")[0])
            wanted = {digest for digest, s in needed if s == step}
            if not wanted or wanted.isdisjoint(_read(file)[1]):
                file.unlink(missing_ok=True)

    def _files(self, pattern: str) -> Iterator[Path]:
        yield from sorted(self.path.glob(f"{pattern}{SUFFIX}"))


def _read(file: Path) -> tuple[dict[str, Tensor], list[Any]]:
    found = read_tensors(file)
    if found is None or found[1].get("version") != VERSION:
        return {}, []
    return found[0], found[1]["digests"]
