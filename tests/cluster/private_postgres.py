"""A PostgreSQL of one's own in a temporary folder, from the distribution's packages."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "p@ss:w/ord%20"  # every letter that a URL takes apart


def why_not() -> str | None:
    """Return why there is none here, None where there is."""
    if not FOLDERS and shutil.which("initdb") is None:
        return "PostgreSQL is not installed (on Debian: postgresql)"
    if os.getuid() == 0 and _other_user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return None


@contextlib.contextmanager
def private_postgres() -> Iterator[str]:
    """Yield a URL with ${PGPASSWORD} in it; the server ends with the block."""
    binaries = FOLDERS[-1] if FOLDERS else Path(str(shutil.which("initdb"))).parent
    user = _other_user() if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="private-postgres-"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)

    def run(*command: str) -> None:
        done = subprocess.run(
            command, cwd=folder, user=user, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    data = str(folder / "data")
    try:
        run(
            *(str(binaries / "initdb"), "--pgdata", data, "--username", "me"),
            *("--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync"),
        )
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        log = str(folder / "log")
        run(
            *(str(binaries / "pg_ctl"), "--pgdata", data, "--wait", "--log", log),
            *("-o", options, "start"),
        )
        try:
            yield f"postgresql+psycopg://me:${{PGPASSWORD}}@127.0.0.1:{port}/postgres"
        finally:
            run(str(binaries / "pg_ctl"), "--pgdata", data, "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _other_user() -> str | None:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


@contextlib.contextmanager
def storage_url(name: str, folder: Path | str) -> Iterator[str | None]:
    """Yield the URL of a storage by its name, None where Optuna needs none; for benches."""
    if name in ("memory", "journal"):
        yield None
    elif name == "sqlite":
        yield f"sqlite:///{folder}/optuna.db"
    elif (reason := why_not()) is not None:
        sys.exit(reason)
    else:
        with private_postgres() as url:
            os.environ["PGPASSWORD"] = PASSWORD
            yield url
