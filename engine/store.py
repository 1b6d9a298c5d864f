"""The records of a study on disk: rows of trials, written by packs, one owner a pack.

A pack is written scalars first, then vectors, then `status`; a reader believes only
what `status` vouches for. docs/store.md describes the format.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from phasecube.engine.chunk_codec import encode_chunk, encode_shard
from phasecube.engine.errors import StoreError
from phasecube.engine.pack_measure import (
    REMEDY,
    StatusArray,
    chunk_path,
    mask_scalars,
    mask_vectors,
    read_measure,
    torn,
)
from phasecube.engine.record import FloatArray, Outcome, PackRecord, Status
from phasecube.engine.store_layout import (
    StoreLayout,
    create_store,
    extend_store,
    read_layout,
    read_metadata,
    write_by_rename,
)

if TYPE_CHECKING:
    import zarr

__all__ = ["Store", "StoreLayout", "create_store", "extend_store", "write_by_rename"]

N_FIELDS = len(Status)


class Store:
    """The store at `path`. Opening reads one JSON file; zarr is imported when records are read."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        metadata = read_metadata(self.path)
        arrays = metadata["consolidated_metadata"]["metadata"]
        self._dtype = np.dtype(arrays["scalars"]["data_type"])
        self.pack_size = int(metadata["attributes"]["pack_size"])
        self.n_rows = int(arrays["status"]["shape"][0])
        self.n_packs = self.n_rows // self.pack_size

    @cached_property
    def layout(self) -> StoreLayout:
        """Return the step grids, measures and sizes that the store was made with."""
        return read_layout(self.path)

    @cached_property
    def _group(self) -> zarr.Group:
        import zarr

        return zarr.open_group(self.path, mode="r", use_consolidated=True)

    def rows_of(self, number: int) -> slice:
        """Return the rows of pack `number`."""
        if not 0 <= number < self.n_packs:
            raise StoreError(f"{self.path} has {self.n_packs} packs, no pack {number}")
        return slice(number * self.pack_size, (number + 1) * self.pack_size)

    # status -----------------------------------------------------------------

    def read_status(
        self, packs: Sequence[int] | None = None, *, n_rows: int | None = None
    ) -> StatusArray:
        """Return int32 [R, 5], columns as in `Status`; rows without a whole chunk have not run.

        With `packs` only theirs are read, and all others appear not to have run. `n_rows` is
        that of a plan with more rows than the store has yet.
        """
        status_RF = _not_run(max(self.n_rows, n_rows or 0))
        for number in self._packs_with_status() if packs is None else packs:
            found = self._read_pack_status(number)
            if found is not None:
                status_RF[self.rows_of(number)] = found
        return status_RF

    def _status_path(self, number: int) -> Path:
        return self.path / "status" / f"c.{number}.0"

    def _packs_with_status(self) -> list[int]:
        try:
            names = os.listdir(self.path / "status")  # noqa: PTH208 - only names are wanted
        except FileNotFoundError:
            raise StoreError(
                f"{self.path}/status is missing, which says what was recorded; "
                "restore it from a copy"
            ) from None
        found = [n.split(".") for n in names if n.startswith("c.") and n.endswith(".0")]
        return sorted(int(parts[1]) for parts in found if int(parts[1]) < self.n_packs)

    def _read_pack_status(self, number: int) -> StatusArray | None:
        """Return int32 [pack, 5], or None where the chunk is absent or not whole."""
        try:
            with open(self._status_path(number), "rb") as file:  # noqa: PTH123 - 15,000 of these
                content = file.read()
        except FileNotFoundError:
            return None
        if len(content) != 4 * N_FIELDS * self.pack_size:
            return None
        return np.frombuffer(content, "<i4").reshape(self.pack_size, N_FIELDS).astype(np.int32)

    def _write_pack_status(self, number: int, status_RF: StatusArray) -> None:
        content = np.ascontiguousarray(status_RF, "<i4").tobytes()
        write_by_rename(self._status_path(number), content)

    def reset_rows(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """Make `rows` not run again; they keep the engine they ran on."""
        rows = np.asarray(rows, np.int64)
        for number in np.unique(rows // self.pack_size):
            status_RF = self._read_pack_status(int(number))
            if status_RF is None:
                continue
            lanes = rows[rows // self.pack_size == number] % self.pack_size
            status_RF[lanes, Status.OUTCOME] = Outcome.NOT_RUN
            status_RF[lanes, Status.N_RECORDED] = 0
            status_RF[lanes, Status.STOPPED_AT] = -1
            status_RF[lanes, Status.RUN] = 0
            self._write_pack_status(int(number), status_RF)

    # records ----------------------------------------------------------------

    def write_pack(self, number: int, record: PackRecord) -> None:
        """Publish the records of pack `number`.

        A settled row is never replaced, nor a running one by an earlier state of itself:
        a writer that lost its pack and does not know it yet can only repeat what stands.
        """
        self.rows_of(number)  # raises where there is no such pack
        old_RF = self._read_pack_status(number)
        if old_RF is not None:
            keep = _stands(old_RF, record.status_RF)
            if keep.all():
                return
            if keep.any():
                record = self._merged(number, old_RF, record, keep)
        dtype = self._dtype
        shard = encode_shard(record.scalars_RMS.astype(dtype, copy=False))
        write_by_rename(chunk_path(self.path, "scalars", number), shard)
        for name, values in record.vectors.items():
            chunk = encode_chunk(values.astype(dtype, copy=False))
            write_by_rename(chunk_path(self.path, f"vector_{name}", number), chunk)
        self._write_pack_status(number, record.status_RF)

    def _merged(
        self, number: int, old_RF: StatusArray, new: PackRecord, keep: npt.NDArray[np.bool_]
    ) -> PackRecord:
        try:
            old = self.read_pack(number)
        except StoreError:
            return new  # what stood is torn: the new records are all there is
        status_RF = np.where(keep[:, None], old_RF, new.status_RF)
        scalars_RMS = np.where(keep[:, None, None], old.scalars_RMS, new.scalars_RMS)
        vectors = {
            name: np.where(keep[:, None, None], old.vectors[name], values)
            for name, values in new.vectors.items()
        }
        return PackRecord(scalars_RMS, vectors, status_RF)

    def read_pack(self, number: int) -> PackRecord:
        """Return the records of one pack; what its status does not vouch for is NaN.

        Raises StoreError if a file of the pack is missing or torn.
        """
        rows = self.rows_of(number)
        record = PackRecord.empty(self.pack_size, self.layout.rule)
        status_RF = self._read_pack_status(number)
        if status_RF is None:
            return record
        record.status_RF = status_RF
        if not status_RF[:, Status.N_RECORDED].any():
            return record
        record.scalars_RMS = self._read("scalars", (rows,), number)
        mask_scalars(record.scalars_RMS, status_RF, self.layout.rule)
        for name in self.layout.rule.vectors:
            record.vectors[name] = self._read(f"vector_{name}", (rows,), number)
            mask_vectors(record.vectors[name], status_RF, self.layout.rule)
        return record

    def read_pack_scalar(self, number: int, name: str) -> tuple[StatusArray, FloatArray]:
        """Return status [K, 5] and one scalar measure [K, S] of a pack, NaN where none stands.

        Of the pack's file only the bytes of this measure are read.
        """
        rule = self.layout.rule
        status_KF = self._read_pack_status(number)  # before the data: what it vouches for is there
        if status_KF is None:
            status_KF = _not_run(self.pack_size)
        path = chunk_path(self.path, "scalars", number)
        if status_KF[:, Status.N_RECORDED].any() and not path.exists():
            raise StoreError(f"{path} is missing, {REMEDY}")
        return status_KF, read_measure(self.path, number, name, rule, status_KF)

    def read_pack_measure(self, number: int, name: str) -> FloatArray:
        """Return a measure of a pack, [K, S] or [K, vector steps, labels], NaN where none stands.

        Of the pack's file only the bytes of this measure are read. A file that is gone holds
        nothing; a torn one is a StoreError.
        """
        status_KF = self._read_pack_status(number)
        if status_KF is None:
            status_KF = _not_run(self.pack_size)
        return read_measure(self.path, number, name, self.layout.rule, status_KF)

    def read_digests(self) -> npt.NDArray[np.uint8]:
        """Return uint8 [R, 16], zeros for padding."""
        digests_R16: npt.NDArray[np.uint8] = self._read("digest", ())
        return digests_R16

    def read_scalar(self, name: str) -> FloatArray:
        """Return one scalar measure of all rows, [R, S], NaN where nothing was recorded."""
        return self.read_scalars((name,))[:, 0]

    def read_scalars(self, names: Sequence[str], steps: slice = slice(None)) -> FloatArray:
        """Return neighbouring scalar measures of all rows at some steps, [R, M, S].

        Several at once cost a third of one after another: a pack is one file.
        """
        known = self.layout.rule.scalars
        first = known.index(names[0]) if names and names[0] in known else 0
        if not names or tuple(names) != known[first : first + len(names)]:
            raise StoreError(
                f"{self.path} has no neighbouring scalars {', '.join(names)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        status_RF = self.read_status()  # before the data: what it vouches for is there
        key = (slice(None), slice(first, first + len(names)), steps)
        values_RMS = self._read("scalars", key)
        mask_scalars(values_RMS, status_RF, self.layout.rule, steps)
        return cast(FloatArray, values_RMS)

    def read_vector(self, name: str) -> FloatArray:
        """Return one vector measure of all rows, [R, vector steps, labels]."""
        if name not in self.layout.rule.vectors:
            known = ", ".join(self.layout.rule.vectors) or "none"
            raise StoreError(f"{self.path} has no vector {name!r}; it has {known}")
        status_RF = self.read_status()
        values_RVL: FloatArray = self._read(f"vector_{name}", ())
        mask_vectors(values_RVL, status_RF, self.layout.rule)
        return values_RVL

    def torn_packs(self) -> dict[int, str]:
        """Return what is missing or torn, by pack number; reads every record."""
        torn = {}
        for number in self._packs_with_status():
            if self._read_pack_status(number) is None:
                torn[number] = f"{self._status_path(number)} has the wrong length"
                continue
            try:
                self.read_pack(number)
            except StoreError as error:
                torn[number] = str(error)
        return torn

    def _read(self, name: str, key: tuple[Any, ...], number: int | None = None) -> Any:
        if number is not None and not chunk_path(self.path, name, number).exists():
            raise StoreError(f"{chunk_path(self.path, name, number)} is missing, {REMEDY}")
        try:
            values = self._group[name][key if key else slice(None)]  # type: ignore[index]
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            # zarr's codecs have no common error: crc32c says ValueError, zstd RuntimeError.
            where = f"pack {number} of " if number is not None else ""
            raise torn(f"{where}{self.path}/{name}", error) from error
        return np.array(values)


def _not_run(n_rows: int) -> StatusArray:
    status_RF = np.zeros((n_rows, N_FIELDS), np.int32)
    status_RF[:, Status.STOPPED_AT] = -1
    return status_RF


def _stands(old_RF: StatusArray, new_RF: StatusArray) -> npt.NDArray[np.bool_]:
    """Return which rows of a pack stay as they are in the store."""
    settled = old_RF[:, Status.OUTCOME] != Outcome.NOT_RUN
    differs = (old_RF != new_RF).any(axis=1)
    ahead = (new_RF[:, Status.OUTCOME] == Outcome.NOT_RUN) & (
        old_RF[:, Status.N_RECORDED] > new_RF[:, Status.N_RECORDED]
    )
    kept: npt.NDArray[np.bool_] = (settled & differs) | ahead
    return kept
