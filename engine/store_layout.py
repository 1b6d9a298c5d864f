"""The arrays of a study's store: made whole, published by rename, grown by whole packs."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import StoreError
from phasecube.engine.record import Engine, Outcome, RecordRule, Status

if TYPE_CHECKING:
    import zarr

    from phasecube.engine.experiment import Measure

SCHEMA_VERSION = 1
STATUS_FIELDS = tuple(field.name.lower() for field in Status)
DIGEST_BYTES = 16
DIGEST_CHUNK_ROWS = 65_536  # 1 MB: written by the orchestrator alone, so it may span packs


@dataclass(frozen=True)
class StoreLayout:
    """What fixes the arrays of a store: `n_packs` packs of `pack_size` rows each."""

    pack_size: int
    n_packs: int
    rule: RecordRule
    measures: Mapping[str, Measure]
    sweep: str = ""

    @property
    def n_rows(self) -> int:
        """Return the number of rows, padding included."""
        return self.pack_size * self.n_packs


def create_store(path: Path, layout: StoreLayout, digests_R16: npt.NDArray[np.uint8]) -> None:
    """Make the whole store beside `path` and rename it into place.

    A row of zeros in `digests_R16` is padding. Raises StoreError where a store stands.
    """
    if path.exists():
        raise StoreError(f"{path} exists; extend it, or choose another study folder")
    _check_digests(layout.n_rows, digests_R16)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        _create_arrays(partial, layout, digests_R16)
        # Rename is the commit: a study has a whole store or none.
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def extend_store(path: Path, n_packs: int, digests_R16: npt.NDArray[np.uint8]) -> None:
    """Append packs up to `n_packs`; rows that exist keep their place, digest and records.

    Readers see the new shape in one step: the rename of the consolidated metadata.
    Raises StoreError if `digests_R16` names another trial for an existing row.
    """
    import zarr

    group = zarr.open_group(path, mode="r+", use_consolidated=True)
    pack_size = int(read_metadata(path)["attributes"]["pack_size"])
    n_rows = pack_size * n_packs
    _check_digests(n_rows, digests_R16)
    old_R16 = np.asarray(_array(group, "digest")[:])
    if len(old_R16) > n_rows:
        raise StoreError(
            f"{path} holds {len(old_R16)} rows, more than the {n_rows} asked for; "
            "a store only grows: plan with `continue_from` its digests"
        )
    if not np.array_equal(old_R16, digests_R16[: len(old_R16)]):
        raise StoreError(
            f"{path}: the plan names other trials for rows that exist; "
            "plan with `continue_from` the store's digests"
        )
    # A dead extender leaves array metadata ahead of the consolidated one; growing again is safe.
    plain = zarr.open_group(path, mode="r+", use_consolidated=False)
    for name, array in plain.arrays():
        if _dims(array)[:1] == ("row",):
            array.resize((n_rows, *array.shape[1:]))
            if name == "digest":
                array[len(old_R16) :] = digests_R16[len(old_R16) :]
    _consolidate(path)


def read_layout(path: Path) -> StoreLayout:
    """Return the layout that the store at `path` was made with."""
    import zarr

    metadata = read_metadata(path)
    attributes, arrays = metadata["attributes"], metadata["consolidated_metadata"]["metadata"]
    group = zarr.open_group(path, mode="r", use_consolidated=True)
    vectors = {name: tuple(labels) for name, labels in attributes["vectors"].items()}
    rule = RecordRule(
        np.asarray(_array(group, "step")[:]),
        tuple(attributes["scalars"]),
        np.asarray(_array(group, "vector_step")[:]) if vectors else np.zeros(0, np.int64),
        vectors,
        arrays["scalars"]["data_type"],
        {n: np.asarray(s, np.int64) for n, s in attributes.get("cadences", {}).items()},
    )
    return StoreLayout(
        attributes["pack_size"],
        arrays["status"]["shape"][0] // attributes["pack_size"],
        rule,
        {name: _measure(fields) for name, fields in attributes["measures"].items()},
        attributes["sweep"],
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the root metadata with that of all arrays, read without zarr.

    Raises StoreError if there is no store, or one of another schema.
    """
    try:
        root: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{path} is no store; `phasecube run SWEEP` makes one") from error
    except ValueError as error:
        raise StoreError(f"{path}/zarr.json is torn ({error}); restore it from a copy") from error
    version = root.get("attributes", {}).get("schema_version")
    if version != SCHEMA_VERSION or "consolidated_metadata" not in root:
        raise StoreError(
            f"{path} has schema version {version}, this phasecube reads {SCHEMA_VERSION}; "
            "docs/store.md says how to read it with zarr alone"
        )
    return root


def _check_digests(n_rows: int, digests_R16: npt.NDArray[np.uint8]) -> None:
    if digests_R16.shape != (n_rows, DIGEST_BYTES) or digests_R16.dtype != np.uint8:
        raise StoreError(
            f"digests must be uint8 [{n_rows}, {DIGEST_BYTES}], "
            f"got {digests_R16.dtype} {list(digests_R16.shape)}"
        )


def _measure(fields: Mapping[str, Any]) -> Measure:
    from phasecube.engine.experiment import Measure  # not at the top: status needs no pydantic

    return Measure(**{**fields, "optimizers": tuple(fields.get("optimizers", ()))})


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is no array; restore the store from a copy")
    return array


def _dims(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    return tuple(getattr(array.metadata, "dimension_names", None) or ())


def _create_arrays(path: Path, layout: StoreLayout, digests_R16: npt.NDArray[np.uint8]) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    rule, rows, pack = layout.rule, layout.n_rows, layout.pack_size
    vectors = {name: tuple(labels) for name, labels in rule.vectors.items()}
    label_dims: dict[str, tuple[str, ...]] = {}
    for name, labels in vectors.items():
        dim = layout.measures[name].dim or f"{name}_label"
        if label_dims.setdefault(dim, labels) != labels:
            raise StoreError(f"measure {name}: the dim {dim!r} has other labels in another measure")
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "sweep": layout.sweep,
        "pack_size": pack,
        "scalars": list(rule.scalars),
        "vectors": {name: list(labels) for name, labels in vectors.items()},
        "measures": {n: asdict(layout.measures[n]) for n in (*rule.scalars, *vectors)},
        "cadences": {name: steps.tolist() for name, steps in rule.cadences.items()},
        "documentation": "docs/store.md of phasecube",
    }
    group = zarr.create_group(path, attributes=attributes)

    def create(
        name: str, shape: tuple[int, ...], dtype: Any, dims: tuple[str, ...], **more: Any
    ) -> Any:
        # "." keeps all chunks of an array in one folder: "/" makes a folder per pack.
        more.setdefault("compressors", [ZstdCodec(), Crc32cCodec()])
        return group.create_array(
            name,
            shape=shape,
            dtype=dtype,
            dimension_names=dims,
            chunk_key_encoding={"name": "default", "separator": "."},
            **more,
        )

    n_scalars, n_steps = len(rule.scalars), len(rule.steps)
    create(
        "scalars",
        (rows, n_scalars, n_steps),
        rule.dtype,
        ("row", "measure", "step"),
        shards=(pack, n_scalars, n_steps),
        chunks=(pack, 1, n_steps),
        fill_value=np.nan,
    )
    for name, labels in vectors.items():
        dim = layout.measures[name].dim or f"{name}_label"
        shape = (rows, len(rule.vector_steps), len(labels))
        create(
            f"vector_{name}",
            shape,
            rule.dtype,
            ("row", "vector_step", dim),
            chunks=(pack, *shape[1:]),
            fill_value=np.nan,
            attributes=asdict(layout.measures[name]),
        )
    # Uncompressed, one chunk a pack: `phasecube status` reads it with numpy alone.
    create(
        "status",
        (rows, len(Status)),
        "int32",
        ("row", "field"),
        chunks=(pack, len(Status)),
        fill_value=0,
        compressors=None,
        attributes={
            "fields": list(STATUS_FIELDS),
            "flag_values": [int(o) for o in Outcome],
            "flag_meanings": " ".join(o.name for o in Outcome),
            "engine_flag_values": [int(e) for e in Engine],
            "engine_flag_meanings": " ".join(e.name for e in Engine),
        },
    )
    chunks = (DIGEST_CHUNK_ROWS, DIGEST_BYTES)
    digest = create("digest", (rows, DIGEST_BYTES), "uint8", ("row", "byte"), chunks=chunks)
    if rows:
        digest[:] = digests_R16

    def coordinate(name: str, values: npt.NDArray[Any], dtype: Any) -> None:
        array = create(name, values.shape, dtype, (name,), chunks=(max(1, len(values)),))
        array[:] = values

    coordinate("step", np.asarray(rule.steps), "int64")
    coordinate("measure", np.asarray(rule.scalars, dtype=np.dtypes.StringDType()), str)
    coordinate("field", np.asarray(STATUS_FIELDS, dtype=np.dtypes.StringDType()), str)
    if vectors:
        coordinate("vector_step", np.asarray(rule.vector_steps), "int64")
    for dim, labels in label_dims.items():
        coordinate(dim, np.asarray(labels, dtype=np.dtypes.StringDType()), str)
    _consolidate(path)


def _consolidate(path: Path) -> None:
    import zarr

    with _quiet(zarr.errors.ZarrUserWarning):
        zarr.consolidate_metadata(path)


@contextmanager
def _quiet(category: type[Warning]) -> Iterator[None]:
    # Consolidated metadata is outside the Zarr v3 text; a reader without it opens the
    # arrays one by one and sees the same.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def write_by_rename(path: Path, content: bytes) -> None:
    """Publish `content` at `path`: a reader sees the old file or the new one, never half of it.

    Raises StoreError where the folder cannot be written or is full.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; make room or give write permission. "
            "What was published before stands, and `phasecube resume` goes on from it"
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
