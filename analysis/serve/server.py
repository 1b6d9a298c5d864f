"""The server of the page: on this machine alone unless told otherwise, and without a network."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.settings import settings
from panel.io.server import get_server
from tornado.websocket import WebSocketClosedError

from phasecube.analysis.analyses import Request, requests
from phasecube.analysis.cube.opened import PLAN, open_study
from phasecube.analysis.plots import PLOT_KINDS
from phasecube.analysis.serve.page import Page
from phasecube.analysis.serve.progress import Ask
from phasecube.analysis.serve.refresh import LiveStudy
from phasecube.analysis.serve.report_link import ReportLink, patterns
from phasecube.analysis.serve.state import View, view_of
from phasecube.engine.errors import StudyError

HERE = ("127.0.0.1", "localhost", "::1")
READERS = 2  # threads that read for all pages together


def serve(
    study: Path,
    *,
    address: str,
    port: int,
    refresh_s: float,
    progress: Ask,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until SIGINT; `ready` is called once with its URL.

    Raises StudyError where there is nothing to draw or the address cannot be had.
    """
    asked = _of_report(study)
    rule = next((r.rule for r in asked if r.kind == "grokking"), None)
    first = view_of(asked[0]) if asked else View()
    live = LiveStudy(study, progress=progress, refresh_s=refresh_s, rule=rule)
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="reads")
    report = ReportLink(study, ThreadPoolExecutor(1, thread_name_prefix="report"))
    pn.extension()

    def page() -> Any:
        return Page(live, pool, report, _query(), first).body

    if not settings.allowed_ws_origin():
        # Through a tunnel the browser sees another port than the one that is bound here.
        settings.allowed_ws_origin = [f"{name}:*" for name in _names(address)]
    server = _bound(page, address, port, study)
    ready(f"http://{_shown(address)}:{server.port}/")
    server.io_loop.asyncio_loop.set_exception_handler(_not_of_closed_pages)
    try:
        server.start()
        server.io_loop.start()
    finally:
        # The loop's own handler would swallow a second Ctrl-C, while a report is still written.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        server.stop()
        pool.shutdown(wait=False, cancel_futures=True)


def _not_of_closed_pages(loop: Any, context: dict[str, Any]) -> None:
    """Report what went wrong in the loop, but not that a page was closed while it was written."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def _of_report(study: Path) -> list[Request]:
    """Return the maps of the sweep's report."""
    from phasecube.sweeps.plan import read_plan

    analyses = read_plan(study / PLAN).sweep.analyses
    found = requests([(a.kind, a.options) for a in analyses], open_study(study, chunks="auto"))
    return [r for r in found if r.kind not in PLOT_KINDS and not r.impossible]


def _bound(page: Callable[[], Any], address: str, port: int, study: Path) -> Any:
    try:
        return get_server(
            {"/": page},
            port=port,
            address=address,
            title={"/": f"{study.name} · phasecube"},
            location=False,
            extra_patterns=patterns(study),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StudyError(
                f"port {port} of {address} is in use; choose another with --port, or --port 0 "
                "for any that is free"
            ) from error
        raise StudyError(
            f"{address}:{port} cannot be served: {error.strerror or error}; --address takes an "
            "address of this machine, --port a number from 1024 on"
        ) from error


def _query() -> str:
    """Return the query with which this page was asked for."""
    from urllib.parse import urlencode

    given = pn.state.session_args
    return urlencode([(n, v.decode()) for n, values in given.items() for v in values])


def _names(address: str) -> list[str]:
    """Return the names under which a browser may reach the page."""
    if address in HERE:
        return list(HERE)
    host = socket.gethostname()
    found = [address, host, socket.getfqdn(), *HERE]
    # A host that does not know its own name is reached by the address given.
    with contextlib.suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    return list(dict.fromkeys(found))


def _shown(address: str) -> str:
    if address in ("0.0.0.0", "::"):  # noqa: S104 - the user's own words
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address
