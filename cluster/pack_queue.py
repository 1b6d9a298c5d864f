"""Which pack is run next, by whom it may be, and how often it was tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from phasecube.cluster.job import ChoiceFields, EngineRequest, PackJob

MAX_DEATHS = 3  # a pack whose worker died this often is at fault itself


class PackQueue:
    """The packs still to run.

    The engine of a static group is chosen once, by the first of its packs; the others
    wait for that choice, so that all rows of the group are one numeric class.
    """

    def __init__(
        self,
        packs: Sequence[tuple[int, int]],
        run: int,
        choices: Mapping[int, ChoiceFields] | None = None,
        requested: Mapping[int, EngineRequest] | None = None,
        like: Callable[[int], ChoiceFields | None] = lambda group: None,  # noqa: ARG005
    ) -> None:
        self._waiting = deque(packs)  # (pack, group)
        self._running: dict[int, PackJob] = {}
        self._choices = dict(choices or {})
        self._like = like
        self._choosing: set[int] = set()
        self._requested = requested or {}
        self._run = run
        self._deaths: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    def take(self) -> PackJob | None:
        """Return a pack to run now, or None if there is none or all wait for a choice."""
        for _ in range(len(self._waiting)):
            pack, group = self._waiting[0]
            if group not in self._choosing:
                self._waiting.popleft()
                break
            self._waiting.rotate(-1)
        else:
            return None
        choice = self._choices.get(group)
        like = None
        if choice is None:
            self._choosing.add(group)
            like = self._like(group)
        attempt = self._deaths.get(pack, 0) + 1
        requested = self._requested.get(group, "auto")
        job = PackJob(pack, group, self._run, choice, requested, like, attempt)
        self._running[pack] = job
        return job

    def take_all(self) -> list[PackJob]:
        """Return every pack that waits: whoever runs them agree on engines among themselves."""
        taken = []
        for pack, group in self._waiting:
            choice, requested = self._choices.get(group), self._requested.get(group, "auto")
            attempt = self._deaths.get(pack, 0) + 1
            self._running[pack] = PackJob(pack, group, self._run, choice, requested, None, attempt)
            taken.append(self._running[pack])
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Let go of the packs that wait; those that run go on."""
        self._waiting.clear()

    def chosen(self, group: int, choice: ChoiceFields) -> None:
        """Let the other packs of `group` run with this choice."""
        self._choices[group] = choice
        self._choosing.discard(group)

    def done(self, pack: int) -> None:
        """Take `pack` out for good."""
        job = self._running.pop(pack)
        if job.group not in self._choices:
            self._choosing.discard(job.group)

    def died(self, pack: int) -> bool:
        """Put `pack` back; return False, and take it out, once it died too often."""
        self._deaths[pack] = self._deaths.get(pack, 0) + 1
        if self._deaths[pack] >= MAX_DEATHS:
            self.done(pack)
            return False
        self.put_back(pack)
        return True

    def put_back(self, pack: int) -> None:
        """Let `pack` run again: that it ended was no fault of its own."""
        group = self._running[pack].group
        self.done(pack)
        self._waiting.appendleft((pack, group))
