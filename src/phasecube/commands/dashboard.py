"""`dashboard`: a search in Optuna's dashboard."""

from __future__ import annotations

import argparse

from phasecube.cluster.optuna_page import serve
from phasecube.cluster.study import Study


def dashboard(arguments: argparse.Namespace) -> int:
    """Serve Optuna's dashboard on the study until interrupted."""
    serve(
        Study(arguments.study), arguments.host, arguments.port, lambda line: print(line, flush=True)
    )
    return 0
