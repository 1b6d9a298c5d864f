"""The URL of a storage of Optuna: what it may say. It is kept with the sweep, so no password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

SCHEMES = ("journal", "sqlite", "postgresql", "mysql", "grpc")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"(?i)passw(or)?d=(?!\$\{[A-Za-z_][A-Za-z0-9_]*\}(&|$))")


def url_faults(url: str) -> Iterator[str]:
    """Yield what is wrong with the URL; no message repeats a password."""
    scheme = url.partition(":")[0].partition("+")[0]
    if VARIABLE.fullmatch(url):
        return  # all of it stands in the environment
    if scheme not in SCHEMES or "://" not in url:
        yield (
            "takes journal:///PATH, sqlite:///PATH, postgresql://USER:${PASSWORD}@HOST/DATABASE, "
            "mysql://..., or grpc://HOST:PORT"
        )
        return
    try:
        parts = urlsplit(url)
        host, port, password = parts.hostname, parts.port, parts.password
    except ValueError:
        yield f"is no URL that can be read; {scheme}://HOST:PORT/... takes a port of digits"
        return
    in_query = _SECRET.search(parts.query)
    if (password and not VARIABLE.fullmatch(password)) or in_query:
        yield (
            "holds a password, and the study would keep it in every copy of sweep.toml; write "
            f"{scheme}://USER:${{NAME}}@HOST/DATABASE and set NAME in the environment"
        )
    if scheme in ("journal", "sqlite"):
        if host:
            yield f"is a file of this machine: {scheme}:///PATH has three slashes, no host"
        elif parts.path in ("", "/") or parts.path.endswith("/:memory:"):
            yield f"names no file; give {scheme}:///PATH"
    elif not host:
        yield f"names no host; give {scheme}://HOST..."
    if scheme == "grpc" and host and port is None:
        yield "names no port; give grpc://HOST:PORT, 13000 unless its server was told otherwise"
