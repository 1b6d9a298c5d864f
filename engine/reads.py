"""Which of a trial's parameters a piece of code reads."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from functools import lru_cache, partial
from typing import Any

from phasecube.engine.experiment import Params

_OF_PARAMS = frozenset(dir(Params))
# What pydantic keeps of an instance.
_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


class Reads:
    """The names of parameters that were read, or that all of them may have been."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.all = False

    def among(self, names: Iterable[str]) -> set[str]:
        """Return those of `names` that may have been read."""
        return {name for name in names if self.all or name in self.names}


def watched(params: Params, reads: Reads) -> Any:
    """Return the same parameters as an object that tells `reads` which of them are read.

    Whatever reads them together (`model_dump`, `dict`, equality, a copy) reads all. Methods
    of the parameters' own class are watched through what they read.
    """
    kind = _watched_type(type(params))
    found = kind.__new__(kind)
    for name in _STATE:
        object.__setattr__(found, name, copy(getattr(params, name)))
    object.__setattr__(found, "_reads", reads)
    return found


@lru_cache(maxsize=64)
def _watched_type(params_type: type[Params]) -> type[Params]:
    fields = frozenset(params_type.model_fields)

    class Watched(params_type):  # type: ignore[misc, valid-type]
        __slots__ = ("_reads",)

        def __getattribute__(self, name: str) -> Any:
            if name in fields:
                _reads_of(self).names.add(name)
            elif name in _OF_PARAMS and name != "__class__":
                _reads_of(self).all = True
            return super().__getattribute__(name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            # A copy sent elsewhere is a plain one: it cannot tell what is read of it.
            return partial(params_type.model_construct, **self.__dict__), ()

    Watched.__name__, Watched.__qualname__ = params_type.__name__, params_type.__qualname__
    return Watched


def _reads_of(params: Any) -> Reads:
    found: Reads = object.__getattribute__(params, "_reads")
    return found
