"""The names that a file's expressions read: known, acyclic, and given before they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from phasecube.engine.errors import Fault
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import suggest
from phasecube.sweeps.sections import SweepFile


def expressions(file: SweepFile) -> Iterator[tuple[str, str]]:
    """Return each expression of the file with its place."""
    yield from ((f"where[{place}]", text) for place, text in enumerate(file.where))
    yield from ((f"derived.{name}", text) for name, text in file.derived.items())
    yield from ((f"when[{place}].if", when.if_) for place, when in enumerate(file.when))


def parsed(file: SweepFile, faults: list[Fault]) -> dict[str, Expression]:
    """Return the expressions by place; those that are none are noted in `faults`."""
    found = {}
    for path, text in expressions(file):
        try:
            found[path] = Expression(text)
        except ValueError as error:
            faults.append(Fault(path, str(error)))
    return found


def name_faults(
    file: SweepFile, by_path: Mapping[str, Expression], known: Iterable[str] | None
) -> Iterator[Fault]:
    """Yield what is wrong with the names read; `known` None: any name may be one."""
    names = None if known is None else set(known)
    for path, expression in by_path.items():
        for name in expression.names:
            if names is not None and name not in names:
                yield Fault(path, f"unknown name {name!r}; " + suggest(name, names))
    yield from _early(file, by_path)
    derived = {name: by_path.get(f"derived.{name}") for name in file.derived}
    for cycle in _cycles(derived):
        yield Fault(f"derived.{cycle[0]}", "derives from itself: " + " -> ".join(cycle))


def _early(file: SweepFile, by_path: Mapping[str, Expression]) -> Iterator[Fault]:
    """Yield conditions of sub-spaces that read what is known only once they are swept."""
    swept = [name for when in file.when for name in when.axes]
    order = {name: place for place, name in reversed(list(enumerate(swept)))}
    for place, when in enumerate(file.when):
        path = f"when[{place}].if"
        expression = by_path.get(path)
        own = min((order[name] for name in when.axes), default=0)
        for name in expression.names if expression else ():
            if name in file.derived:
                yield Fault(path, f"{name!r} is derived; write what it derives from")
            elif order.get(name, -1) >= own:
                yield Fault(path, f"{name!r} is swept here or below; move its [[when]] up")


def _cycles(derived: Mapping[str, Expression | None]) -> Iterator[list[str]]:
    """Yield each derived name that reads itself, with the way back to it."""
    for start in derived:
        ways, reached = [[start]], {start}
        while ways:
            way = ways.pop(0)
            expression = derived[way[-1]]
            read = expression.names if expression else ()
            if start in read:
                yield [*way, start]
                break
            fresh = [n for n in read if n in derived and n not in reached]
            reached.update(fresh)
            ways += [[*way, name] for name in fresh]
