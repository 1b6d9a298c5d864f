"""What the executor and its Ray driver say to each other: lines of JSON over two pipes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["begun", "ready", "slots", "event", "died", "gone"]


@dataclass(frozen=True)
class Order:
    """To the driver: a pack to run, or, without one, to have every pack checkpoint and stop."""

    study: str = ""
    job: str = ""  # a PackJob's line
    environment: str = ""  # as JSON, what its worker's code must be; empty: as it is

    def to_line(self) -> str:
        """Return the order as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Order:
        """Return the order that `line` holds."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Said:
    """From the driver.

    begun: what Ray writes goes to `folder`. ready: Ray answers at `address`. slots: so many
    packs may be in its hands. event: of a pack, as its worker told it. died: the worker of
    `pack` did, by its own or its node's fault. gone: nothing can be run any more, for the
    reason in `message`.
    """

    kind: Kind
    slots: int = 0
    address: str = ""
    folder: str = ""
    event: str = ""  # an Event's line
    pack: int = -1
    message: str = ""
    out_of_memory: bool = False
    node_died: bool = False

    def to_line(self) -> str:
        """Return it as one line of JSON; what is not said is left out."""
        said: dict[str, Any] = {k: v for k, v in asdict(self).items() if v != _SILENT.get(k)}
        return json.dumps(said) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Said:
        """Return what `line` says."""
        return cls(**json.loads(line))


_SILENT = {name: field.default for name, field in Said.__dataclass_fields__.items()}


def driver_log(study: Path) -> Path:
    """Return the file that what Ray itself has to say goes to."""
    return study / "logs" / "ray.log"


def worker_log(study: Path, host: str) -> Path:
    """Return the file that all workers of Ray on one machine print into."""
    return study / "logs" / f"ray-{host}.log"
