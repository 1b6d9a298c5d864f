"""Reading a cube that may be replaced or rot: the numbers it was written with, or an error.

`consolidate` renames a new cube into the place of the old one. Whoever opened the old one and
reads values later would get those of the new one, in other cells, or NaN between the renames.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import google_crc32c
import numpy as np
import xarray as xr
from zarr.storage import LocalStore

from phasecube.analysis.cube.digest_words import DIGEST, of_fixed_width
from phasecube.analysis.cube.files import FILES, Edition, checked_arrays, edition_of
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class CubeStore(LocalStore):
    """The files of the cube that stood at `root` when it was opened; StudyError once it is gone.

    `checked` are the arrays whose chunks end in their CRC-32C; StudyError where one is another.
    """

    def __init__(
        self,
        root: Path,
        *,
        edition: Edition | None,
        checked: frozenset[str] = frozenset(),
        read_only: bool = True,
    ) -> None:
        super().__init__(root, read_only=read_only)
        self.edition = edition
        self.checked = checked

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store."""
        kept = {"edition": self.edition, "checked": self.checked}
        return type(self)(self.root, **kept, read_only=read_only)  # type: ignore[arg-type]

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a file of this very cube."""
        found = await super().get(key, prototype, byte_range)
        self._check(key, found if byte_range is None else None)
        return found

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes of a file of this very cube."""
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        self._check(key, found if byte_range is None else None)
        return found

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return parts of files of this very cube."""
        found = await super().get_partial_values(prototype, key_ranges)
        self._check()
        return found

    def _check(self, key: str = "", whole: Buffer | None = None) -> None:
        # After reading: what stands now has stood since the cube was opened.
        if edition_of(self.root) != self.edition:
            raise StudyError(
                f"{self.root} was written anew since it was opened, so its values would be those "
                "of another cube; open the study again"
            )
        array, _, chunk = key.partition("/")
        if whole is None or array not in self.checked or not chunk.startswith("c"):
            return
        content = whole.as_numpy_array()
        if int(google_crc32c.value(content[:-4])).to_bytes(4, "little") != bytes(content[-4:]):
            raise StudyError(
                f"{self.root / key} is not what was written: its checksum is another. Delete "
                f"{self.root} and open its study, which reads the rows, or copy it again"
            )


def open_cube(path: Path, edition: Edition | None = None) -> xr.Dataset:
    """Return the cube that stood at `path` at that edition; values are read when used."""
    edition = edition or edition_of(path)
    store = CubeStore(path, edition=edition, checked=checked_arrays(path))
    ds = as_opened(xr.open_zarr(store, chunks=None, consolidated=True))
    ds.attrs.pop(FILES, None)  # of the folder, not of the numbers
    return ds


def as_opened(ds: xr.Dataset) -> xr.Dataset:
    """Return a cube as it was before it was written.

    Variables in their order, string coordinates of fixed width, as numpy compares them.
    """
    ds = ds[list(ds.attrs.get("variables", ds.data_vars))]
    names = list(ds.attrs.get("order_of_coordinates", ds.coords))
    coords = {
        name: coord.copy(data=np.array(coord.values.tolist(), np.str_))
        if coord.dtype.kind in "TO"
        else coord
        for name, coord in ((name, ds.coords[name].variable) for name in names)
    }
    if DIGEST in ds:
        ds = ds.assign({DIGEST: of_fixed_width(ds[DIGEST].variable)})
    return ds.drop_vars(names).assign_coords(coords)
