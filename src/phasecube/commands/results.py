"""`report` and `export`: what a study says."""

from __future__ import annotations

import argparse
from pathlib import Path

from phasecube.cluster.study import Study


def report(arguments: argparse.Namespace) -> int:
    """Write the report page of a study."""
    from phasecube.analysis.report import write_report

    print(write_report(_with_plan(arguments)))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write a study as NetCDF or Parquet."""
    from phasecube.analysis.export import export

    print(export(_with_plan(arguments), arguments.target, curves=arguments.curves))
    return 0


def _with_plan(arguments: argparse.Namespace) -> Path:
    study = Study(arguments.study)
    _ = study.plan  # rebuilt where its file is gone: the cube is read through it
    return study.path
