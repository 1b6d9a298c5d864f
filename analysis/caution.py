"""A named warning: what speaks against a result stands beside it, wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

ATTR = "cautions"


@dataclass(frozen=True)
class Caution:
    """A named warning that stands beside a result, on its figure and in its table."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def cautions_of(attrs: Mapping[str, Any]) -> tuple[Caution, ...]:
    """Return what the attributes of a Dataset say against its numbers."""
    said = attrs.get(ATTR, ())
    lines = [said] if isinstance(said, str) else [str(line) for line in said]
    return tuple(Caution(name, message) for name, _, message in (x.partition(": ") for x in lines))


def with_cautions(ds: xr.Dataset, cautions: Sequence[Caution]) -> xr.Dataset:
    """Return a Dataset that carries these cautions, beside those it has, on disk too."""
    lines = dict.fromkeys(str(c) for c in (*cautions_of(ds.attrs), *cautions))
    return ds.assign_attrs({ATTR: list(lines)}) if lines else ds
