"""A storage of Optuna by its URL: opened, or refused with the reason and a remedy.

journal:///PATH   a file of this machine; one host
sqlite:///PATH    a file of this machine; one host, slow from thousands of trials on
postgresql://, mysql://   a database; many hosts
grpc://HOST:PORT  Optuna's proxy of a database; very many clients

A relative path is one in the study's folder. ${NAME} stands for a variable of the environment.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from phasecube.cluster.storage_journal import BrokenJournalError, open_journal
from phasecube.cluster.storage_place import network_type
from phasecube.engine.errors import StudyError
from phasecube.sweeps.storage_url import VARIABLE, url_faults

if TYPE_CHECKING:
    import optuna

JOURNAL = "optuna.journal"
ANSWER_S = 10  # for a server to answer
DRIVERS = {"postgresql": "psycopg[binary]", "mysql": "mysqlclient", "grpc": "grpcio"}


def open_storage(url: str | None, study: Path) -> optuna.storages.BaseStorage:
    """Return the storage at `url`, made if it is not there; without a URL the study's journal.

    Raises StudyError where it cannot be reached, or is not safe where it lies.
    """
    if url is None:
        own = study / JOURNAL
        try:
            return _journal(own)
        except BrokenJournalError:
            own.unlink()  # a copy of what the study holds
            return _journal(own)
    text = _filled_in(url)
    scheme = text.partition(":")[0].partition("+")[0]
    path = _path(text, study)
    if path is not None:
        _refuse_network(path, url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unreachable(url, str(error.strerror)) from error
    if scheme == "journal":
        assert path is not None
        return _journal(path)
    if scheme == "grpc":
        return _proxy(text, url)
    if path is not None:
        return _database(f"{text.partition(':')[0]}:///{path}", url, {"timeout": ANSWER_S})
    return _database(text, url, {"connect_timeout": ANSWER_S})


def _filled_in(url: str) -> str:
    missing = [name for name in VARIABLE.findall(url) if name not in os.environ]
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise StudyError(f"sampler.storage: {url} reads {names}, not set in the environment")
    filled = VARIABLE.sub(lambda found: _value(url, found), url)
    # Only what a password in the file would be at fault for may stand in the environment.
    faults = [fault for fault in url_faults(filled) if "password" not in fault]
    if faults:
        raise StudyError(f"sampler.storage: {url}, filled in from the environment, {faults[0]}")
    return filled


def _value(url: str, found: re.Match[str]) -> str:
    value = os.environ[found[1]]
    is_password = url[found.end() : found.end() + 1] == "@"
    return quote(value, safe="") if is_password else value


def _path(text: str, study: Path) -> Path | None:
    scheme, _, rest = text.partition("://")
    if scheme.partition("+")[0] not in ("journal", "sqlite"):
        return None
    path = unquote(rest.removeprefix("/").partition("?")[0])
    # As SQLAlchemy has it: three slashes and a name are relative, four an absolute path; a
    # journal's path is absolute.
    return Path("/", path) if scheme == "journal" else study.resolve() / path


def _refuse_network(path: Path, url: str) -> None:
    kind = network_type(path)
    if kind is not None:
        raise StudyError(
            f"sampler.storage: {url} lies on a network file system ({kind}), where concurrent "
            "writers lose or tear records; take a local path, or a postgresql:// or mysql:// "
            "database"
        )


def _journal(path: Path) -> optuna.storages.BaseStorage:
    try:
        return open_journal(path)
    except OSError as error:
        raise _unreachable(str(path), str(error.strerror or error)) from error


def _database(text: str, url: str, connect: dict[str, Any]) -> optuna.storages.BaseStorage:
    import optuna
    import sqlalchemy

    try:
        bare = optuna.storages.RDBStorage(
            text, engine_kwargs={"connect_args": connect, "pool_pre_ping": True}
        )
    except ImportError as error:
        raise _no_driver(url, error) from error
    except (
        sqlalchemy.exc.SQLAlchemyError,
        optuna.exceptions.OptunaError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _unreachable(url, reason_of(error, url)) from error
    # With a cache of finished trials: the bare one reads all of them every time.
    storage: optuna.storages.BaseStorage = optuna.storages.get_storage(bare)
    return storage


def _proxy(text: str, url: str) -> optuna.storages.BaseStorage:
    import warnings

    import optuna

    parts = urlsplit(text)
    assert parts.hostname is not None  # the URL was checked
    assert parts.port is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is experimental
            storage = optuna.storages.GrpcStorageProxy(host=parts.hostname, port=parts.port)
        storage.wait_server_ready(timeout=ANSWER_S)
    except ImportError as error:
        raise _no_driver(url, error) from error
    except ConnectionError as error:
        reason = f"no answer within {ANSWER_S} s"
        raise _unreachable(url, reason) from error
    found: optuna.storages.BaseStorage = storage
    return found


def reason_of(error: BaseException, url: str | None) -> str:
    """Return the first lines of what a driver says, without the password."""
    original = getattr(error, "orig", None) or error.__cause__ or error
    original = getattr(original, "orig", None) or original
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    said = "; ".join(lines[:2]) or type(original).__name__
    names = VARIABLE.findall(url or "")
    for secret in sorted((os.environ.get(name, "") for name in names), key=len, reverse=True):
        for text in (secret, quote(secret, safe="")):
            said = said.replace(text, "***") if text else said
    return re.sub(r"://([^:/@\s]+):[^@\s]+@", r"://\1:***@", said)


def _unreachable(url: str, reason: str) -> StudyError:
    return StudyError(
        f"sampler.storage: {url} cannot be opened: {reason}; set it right, or take the line out: "
        "a search keeps its points itself, and the storage is a copy for others to look at"
    )


def _no_driver(url: str, error: ImportError) -> StudyError:
    scheme = url.partition(":")[0].partition("+")[0]
    name = DRIVERS.get(scheme, "the driver")
    return StudyError(
        f"sampler.storage: {url} needs a package that is not installed ({error.name or error}); "
        f"pip install '{name}'"
    )
