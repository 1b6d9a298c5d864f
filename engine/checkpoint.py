"""Checkpoints without pickle: tensors and a JSON note in one checksummed file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import safetensors.torch
from torch import Tensor

from phasecube.engine.errors import CheckpointError

SUFFIX = ".checkpoint"
CHECKSUM_BYTES = 16
KEPT = 2  # the newest, and the one before in case the newest is torn


class CheckpointFolder:
    """The checkpoints of one pack or trial; the folder is made by the first save."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def save(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> Path:
        """Write one checkpoint and return its path; all but the two newest are deleted.

        Raises CheckpointError where the folder cannot be written.
        """
        older = self._numbers()
        number = older[0] + 1 if older else 0
        path = self._file(number)
        write_tensors(path, tensors, note)
        for old in older[KEPT - 1 :]:
            self._file(old).unlink(missing_ok=True)
        return path

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and note of the newest whole checkpoint, or None.

        A file that is torn, altered or unreadable is passed over for the one before.
        """
        return next(self._whole(), None)

    def clear(self) -> None:
        """Delete every checkpoint, and what killed writers left behind."""
        if not self.path.is_dir():
            return
        for file in self.path.iterdir():
            if file.name.endswith((SUFFIX, ".partial")):
                file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete every checkpoint, and the folder where nothing else lies in it."""
        self.clear()
        with suppress(OSError):
            self.path.rmdir()

    def _whole(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Any]]]:
        for number in self._numbers():
            found = read_tensors(self._file(number))
            if found is not None:
                yield found

    def _numbers(self) -> list[int]:
        """Return the numbers of the files that are there, newest first."""
        if not self.path.is_dir():
            return []
        stems = (file.name.removesuffix(SUFFIX) for file in self.path.glob(f"*{SUFFIX}"))
        return sorted((int(stem) for stem in stems if stem.isdecimal()), reverse=True)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:08d}{SUFFIX}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Write tensors and note as one file, whole or not at all; its folder is made.

    Raises CheckpointError where it cannot be written.
    """
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    payload = safetensors.torch.save(plain, {"note": json.dumps(note)})
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(payload + _checksum(payload))
        # Rename is the commit: a kill leaves the old file, if there was one, or the new one.
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error}); free space or choose another folder"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and note of a file; None where it is missing, torn or altered."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    payload, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if _checksum(payload) != checksum:
        return None
    return safetensors.torch.load(payload), _note(payload)


def _checksum(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=CHECKSUM_BYTES).digest()


def _note(payload: bytes) -> dict[str, Any]:
    # The layout of safetensors: 8 bytes of length, then a JSON header with "__metadata__".
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    note: dict[str, Any] = json.loads(header["__metadata__"]["note"])
    return note
