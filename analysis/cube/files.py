"""What is on disk of a cube: of which schema it is, what it vouches for, whether it is whole.

Zarr reads a chunk file that is gone as NaN. So a cube lists its files when it is written, and
one that lacks some is not read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phasecube.analysis.caution import Caution
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome, Status
from phasecube.engine.store import Store

SCHEMA_VERSION = 2  # from 2 on a cube lists its files
STORE, CUBE, PLAN = "store.zarr", "cube.zarr", "plan.parquet"
FILES = "files"  # the attribute that holds the list, as JSON
Edition = tuple[int, int, int]
N_NAMED = 6


@dataclass(frozen=True)
class CubeState:
    """Whether the cube of a study may be read in place of its rows, and what it lacks."""

    is_current: bool
    lacks: str = ""


def edition_of(cube: Path) -> Edition | None:
    """Return what tells this cube from any that stood or will stand here, None for no cube."""
    try:
        found = os.stat(cube / "zarr.json")  # noqa: PTH116 - once for each chunk that is read
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def state_of(study: Path) -> CubeState:
    """Return how the cube of a study stands to its plan and to what its rows vouch for."""
    try:
        attrs = read_attributes(study / CUBE)
    except StudyError:
        return CubeState(is_current=False)
    if attrs["schema_version"] != SCHEMA_VERSION or attrs.get("plan_digest") != plan_digest(study):
        return CubeState(is_current=False)
    store = Store(study / STORE)
    status_RF = store.read_status()
    if attrs.get("status_digest") != status_digest(status_RF):
        # Written while records were missing that still are.
        vouched_RF, lost = vouched_status(store, status_RF)
        if not lost or attrs.get("status_digest") != status_digest(vouched_RF):
            return CubeState(is_current=False)
    lacks = what_is_missing(study / CUBE, attrs)
    return CubeState(not lacks, lacks)


def is_current(study: Path) -> bool:
    """True if cube.zarr holds exactly what the plan and the store's status vouch for."""
    return state_of(study).is_current


def plan_digest(study: Path) -> str:
    """Return the digest of the plan file."""
    return hashlib.blake2b((study / PLAN).read_bytes(), digest_size=16).hexdigest()


def status_digest(status_RF: npt.NDArray[np.int32]) -> str:
    """Return the digest of how every row stands; it changes with every record published."""
    return hashlib.blake2b(status_RF.tobytes(), digest_size=16).hexdigest()


def read_attributes(cube: Path) -> dict[str, Any]:
    """Return the root attributes of a cube, read without zarr.

    Raises StudyError where there is none, where it is torn or no cube, and for a newer schema.
    """
    try:
        root = json.loads((cube / "zarr.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(
            f"{cube} is no cube: it has no zarr.json; open the folder of its study, or copy the "
            "cube again"
        ) from None
    except ValueError as error:
        raise StudyError(f"{cube}/zarr.json is torn ({error}); {_REMEDY}") from None
    attrs = root.get("attributes") if isinstance(root, dict) else None
    if not isinstance(attrs, dict) or not isinstance(attrs.get("schema_version"), int):
        raise StudyError(f"{cube} is no cube of phasecube: it has no schema_version")
    if "pack_size" in attrs:
        raise StudyError(
            f"{cube} holds the rows of a study; open the study, the folder that it lies in"
        )
    if attrs["schema_version"] > SCHEMA_VERSION:
        raise StudyError(
            f"{cube} has schema version {attrs['schema_version']}, this phasecube reads up to "
            f"{SCHEMA_VERSION}; read it with the newer phasecube that wrote it, or with "
            "xarray.open_zarr"
        )
    if not isinstance(root.get("consolidated_metadata"), dict):
        raise StudyError(f"{cube}/zarr.json is not whole: it lists no arrays; {_REMEDY}")
    return attrs


def check_study(path: Path) -> None:
    """Raise StudyError naming what a study lacks."""
    plan, store = (path / PLAN).exists(), (path / STORE).exists()
    if plan and store:
        return
    if not plan and not store:
        raise StudyError(
            f"{path} is no study: it has no {PLAN} and {STORE}; "
            "`phasecube run SWEEP` makes one and says where"
        )
    if store:
        raise StudyError(
            f"{path} has no {PLAN}, which says where its rows belong; "
            f"`phasecube show {path}` makes it anew from sweep.toml"
        )
    alone = f", or open {path / CUBE} alone" if (path / CUBE).exists() else ""
    raise StudyError(
        f"{path} has no {STORE}, where its numbers lie: bring it back from a copy, or run the "
        f"sweep again with `phasecube run SWEEP`{alone}"
    )


def checked_arrays(cube: Path) -> frozenset[str]:
    """Return the arrays of a cube whose chunks end in a checksum of their own."""
    try:
        arrays = json.loads((cube / "zarr.json").read_bytes())["consolidated_metadata"]["metadata"]
    except FileNotFoundError:  # replaced just now: whoever reads on is told so
        return frozenset()
    return frozenset(n for n, a in arrays.items() if a["codecs"][-1]["name"] == "crc32c")


def files_in(cube: Path) -> dict[str, tuple[int, int]]:
    """Return for each array of a cube how many chunk files it has, and their bytes."""
    found = {}
    for array in sorted(p for p in cube.iterdir() if p.is_dir()):
        sizes = [
            (Path(folder) / name).stat().st_size
            for folder, _, names in os.walk(array)
            for name in names
            if name != "zarr.json"
        ]
        found[array.name] = (len(sizes), sum(sizes))
    return found


def what_is_missing(cube: Path, attrs: Mapping[str, Any]) -> str:
    """Return in words which files a cube lacks, empty where it has all that it lists."""
    try:
        there = files_in(cube)
    except FileNotFoundError:  # another cube takes its place just now
        return "its folder is being replaced"
    said = []
    for name, (n, n_bytes) in json.loads(attrs.get(FILES, "{}")).items():
        n_there, bytes_there = there.get(name, (0, 0))
        if n_there != n:
            said.append(f"{name} has {n_there:,} of its {n:,} files")
        elif bytes_there != n_bytes:
            said.append(f"{name} has {bytes_there:,} of its {n_bytes:,} bytes")
    more = [f"and {len(said) - N_NAMED:,} more arrays"] if len(said) > N_NAMED else []
    return ", ".join([*said[:N_NAMED], *more])


def check_whole(cube: Path) -> tuple[Caution, ...]:
    """Return what is to be said of a cube that is opened without its study.

    Raises StudyError where it cannot be read or lacks files.
    """
    attrs = read_attributes(cube)
    lacks = what_is_missing(cube, attrs)
    if lacks:
        raise StudyError(f"{cube} is not whole: {lacks}; {_REMEDY}")
    if FILES in attrs:
        return ()
    why = (
        f"{cube.name} has schema version {attrs['schema_version']}, which lists no files: a file "
        "that was lost reads as NaN. `phasecube report` on its study writes it anew"
    )
    return (Caution("older_cube", why),)


def vouched_status(
    store: Store, status_RF: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], tuple[Caution, ...]]:
    """Return the status without what no record stands behind, and a caution if there is such.

    Rows of a pack whose file is gone have not run, as far as anyone can tell.
    """
    has_records_P = (status_RF[:, Status.N_RECORDED] > 0).reshape(-1, store.pack_size).any(1)
    if not has_records_P.any():
        return status_RF, ()
    rule = store.layout.rule
    arrays = (["scalars"] if rule.scalars else []) + [f"vector_{name}" for name in rule.vectors]
    lost_P = np.zeros_like(has_records_P)
    for array in arrays:
        folder = store.path / array
        names = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - 15,000 names
        for pack in np.flatnonzero(has_records_P & ~lost_P):
            # A listing over NFS may be old; the file itself is asked for before it is given up.
            name = f"c.{pack}.0.0"
            lost_P[pack] = name not in names and not (folder / name).exists()
    lost_R = np.repeat(lost_P, store.pack_size) & (status_RF[:, Status.N_RECORDED] > 0)
    if not lost_R.any():
        return status_RF, ()
    vouched_RF = status_RF.copy()
    vouched_RF[lost_R, Status.OUTCOME] = Outcome.NOT_RUN
    vouched_RF[lost_R, Status.N_RECORDED] = 0
    vouched_RF[lost_R, Status.STOPPED_AT] = -1
    packs = [str(pack) for pack in np.flatnonzero(lost_P)]
    named = ", ".join(packs[:N_NAMED]) + (", ..." if len(packs) > N_NAMED else "")
    why = (
        f"{len(packs):,} packs of {store.path} lost their files ({named}): their trials are shown "
        f"as not run; `phasecube retry {store.path.parent} --torn` runs them again"
    )
    return vouched_RF, (Caution("lost_records", why),)


_REMEDY = "copy it again, or open its study, which reads the rows"
