"""The file system that a path lies on: files that many lock and append to need a local one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
# Of many machines: their locks and appends hold on one machine at most (Optuna's own advice is
# never to keep a journal or SQLite there).
_TYPES = (
    "nfs nfs4 lustre gpfs beegfs cifs smb smb2 smb3 smbfs ceph afs 9p panfs pvfs2 orangefs "
    "wekafs glusterfs gfs2 ocfs2 quobyte virtiofs ncpfs davfs s3fs sshfs juicefs"
)
NETWORK = frozenset(_TYPES.split())


def mounts() -> list[tuple[str, str]]:
    """Return (folder, type) of every file system that this process sees, none where unknown."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    return [(_plain(f[1]), f[2]) for f in fields if len(f) > 2]


def network_type(path: Path, known: Iterable[tuple[str, str]] | None = None) -> str | None:
    """Return the type of the network file system that `path` lies or would lie on, else None."""
    there = path.resolve()
    found = ""
    kind = None
    for folder, its_type in mounts() if known is None else known:
        # The last of equal ones is mounted over the others.
        if there.is_relative_to(folder) and len(folder) >= len(found):
            found, kind = folder, its_type
    name = (kind or "").removeprefix("fuse.").removeprefix("fuse")
    return kind if name in NETWORK else None


def _plain(field: str) -> str:
    """Return a field of the table as it was: blanks and tabs stand there as octal numbers."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field
