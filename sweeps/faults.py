"""How faults are worded and ordered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from phasecube.engine.errors import Fault

if TYPE_CHECKING:
    from phasecube.engine.experiment import Measure

FEW = 3


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest known one, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    listing = ", ".join(sorted(names)) or "none"
    return (f"did you mean {close[0]!r}? " if close else "") + f"known are: {listing}"


def scalar_faults(path: str, name: str, recorded: Mapping[str, Measure]) -> Iterator[Fault]:
    """Yield what keeps `name`, which stands at `path`, from being a recorded scalar measure."""
    scalars = [n for n, measure in recorded.items() if measure.dim is None]
    if name in scalars:
        return
    if name in recorded:
        yield Fault(path, f"{name!r} is a vector; name one of {', '.join(sorted(scalars))}")
    else:
        yield Fault(path, f"{name!r} is not recorded; " + suggest(name, scalars))


def first_few(faults: Iterable[Fault]) -> list[Fault]:
    """Return the first faults of one place, the last of them with the count of the others."""
    found = list(dict.fromkeys(faults))
    if len(found) <= FEW:
        return found
    last = found[FEW - 1]
    more = f"{last.message} (and {len(found) - FEW} more like it)"
    return [*found[: FEW - 1], Fault(last.path, more)]


def in_file_order(faults: Iterable[Fault], raw: Mapping[str, Any]) -> list[Fault]:
    """Return the faults, each once, in the order of the file's sections."""
    order = {name: place for place, name in enumerate(raw)}
    heads = {fault: head(fault) for fault in faults}
    return sorted(heads, key=lambda fault: order.get(heads[fault], len(order)))


def head(fault: Fault) -> str:
    """Return the top-level key that the fault stands under."""
    return fault.path.replace("[", ".").split(".")[0]
