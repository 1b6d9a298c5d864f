"""Optuna's dashboard on a search: its mirror is brought up to the study, then served."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasecube.cluster.optuna_mirror import Mirror, open_mirror
from phasecube.cluster.run_lock import RunLock, lock_holder
from phasecube.cluster.storage_journal import open_journal
from phasecube.cluster.tried import read_tried
from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    from phasecube.cluster.study import Study


def serve(study: Study, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the dashboard until the process is interrupted; port 0 takes any that is free.

    Raises StudyError where the study is no search, or optuna-dashboard is not installed.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise StudyError(
            f"optuna-dashboard is not installed ({error}); pip install 'phasecube[dashboard]'"
        ) from error
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing of each request."""

    with ExitStack() as until_the_end:
        mirror = _mirror(study, until_the_end, say)
        app = wsgi(mirror.storage)
        with make_server(host, port, app, handler_class=Quiet) as server:
            number = mirror.storage.get_study_id_from_name(mirror.name)
            say(
                f"{mirror.name}: http://{host}:{server.server_port}/dashboard/studies/{number}; "
                "Ctrl-C ends it"
            )
            server.serve_forever()


def _mirror(study: Study, until_the_end: ExitStack, say: Callable[[str], None]) -> Mirror:
    if study.sweep.sampler is None:
        raise StudyError(f"{study.path} is no search: its sweep has no [sampler]")
    mirror = open_mirror(study.sweep, study.path)
    if mirror is None:  # on a network file system: for the dashboard alone, on this machine
        folder = until_the_end.enter_context(tempfile.TemporaryDirectory())
        storage = open_journal(Path(folder) / "optuna.journal")
        mirror = Mirror(study.sweep, study.path, storage)
        mirror.sync(read_tried(study))
        return mirror
    if (holder := lock_holder(study.path)) is not None:
        say(f"{study.path} is being run by {holder}, which keeps its trials up to date")
        return mirror
    with RunLock(study.path):
        mirror.sync(read_tried(study))
    return mirror
