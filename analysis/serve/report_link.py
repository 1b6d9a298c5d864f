"""The static report of the served study: written when asked for, shown under /report/."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import panel as pn
from tornado.web import StaticFileHandler

from phasecube.engine.errors import PhasecubeError

FOLDER = "report"


class ReportFiles(StaticFileHandler):
    """Serves the files of the report as they are now: they are replaced under one name."""

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 - tornado's signature
        """Let no browser keep a page of yesterday."""
        self.set_header("Cache-Control", "no-store")


def patterns(study: Path) -> list[Any]:
    """Return the routes of the report."""
    files = {"path": str(study / FOLDER), "default_filename": "index.html"}
    return [(rf"/{FOLDER}/(.*)", ReportFiles, files)]


class ReportLink:
    """Writes the report of a study, one at a time, and leads there."""

    def __init__(self, study: Path, pool: ThreadPoolExecutor) -> None:
        self._study, self._pool = study, pool
        self._is_writing = threading.Lock()

    def body(self) -> Any:
        """Return a button and a link for one page."""
        doc: Any = pn.state.curdoc
        said = pn.pane.HTML(self._link(), margin=(14, 10))
        button = pn.widgets.Button(label="Write the static report", width=190)

        def finished(text: str) -> None:
            button.disabled, said.object = False, text

        def work() -> None:
            text = self._written()
            if doc.session_context and not doc.session_context.destroyed:
                doc.add_next_tick_callback(partial(finished, text))

        def clicked(*_: Any) -> None:
            button.disabled, said.object = True, "writing; this may take minutes …"
            self._pool.submit(work)

        button.on_click(clicked)
        return pn.Row(button, said, margin=(20, 0, 0, 0))

    def _link(self) -> str:
        page = self._study / FOLDER / "index.html"
        try:
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(page.stat().st_mtime))
        except OSError:
            return "none has been written yet"
        return f"<a href='{FOLDER}/index.html' target='_blank'>the report of {at}</a>"

    def _written(self) -> str:
        from phasecube.analysis.cube.chunking import AT_ONCE_BYTES
        from phasecube.analysis.cube.opened import open_study
        from phasecube.analysis.report.page import write_report

        if not self._is_writing.acquire(blocking=False):
            return "another page is writing it just now"
        try:
            size = open_study(self._study).nbytes
            write_report(self._study, chunks="auto" if size > AT_ONCE_BYTES else None)
        except (PhasecubeError, OSError) as error:
            return f"it could not be written: {error}"
        finally:
            self._is_writing.release()
        return self._link()
