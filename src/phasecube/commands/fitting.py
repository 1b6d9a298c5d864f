"""`fit`: a scaling law to a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phasecube.engine.errors import StudyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from phasecube.analysis.caution import Caution
    from phasecube.analysis.scaling.law import Law
    from phasecube.analysis.scaling.statement import Statement


def fit(arguments: argparse.Namespace) -> int:
    """Fit a law to the rows of a CSV file and say all that speaks against it."""
    from phasecube.analysis.scaling.compute_optimal import APPROACHES
    from phasecube.analysis.scaling.fit import fit_law
    from phasecube.analysis.scaling.law import law_named
    from phasecube.analysis.scaling.points import points_of
    from phasecube.analysis.scaling.statement import stated

    law = law_named(arguments.law)
    _check(arguments, law)
    points = points_of(
        arguments.table,
        arguments.y,
        _pairs(arguments.feature, "--feature", "NAME=COLUMN, as N=parameters"),
        arguments.run,
        arguments.drop_highest,
        needed=law.features,
        only=_pairs(arguments.only, "--only", "COLUMN=VALUE, as outlier=False"),
        embeddings=arguments.embeddings,
        count=arguments.count,
        flop=arguments.flop,
    )
    statement = stated(
        fit_law(law, points, arguments.delta),
        arguments.resamples,
        arguments.at,
        approaches=tuple(arguments.approach) or APPROACHES,
    )
    if arguments.json:
        print(json.dumps(statement.as_dict(), indent=1, default=float))
    else:
        print("\n".join(statement.lines()))
    if arguments.figure is not None:
        written = list(_written(statement, arguments.figure))
        if not arguments.json:
            print("\n" + "\n".join(map(str, written)))
    return 0


def _check(arguments: argparse.Namespace, law: Law) -> None:
    """Raise StudyError for numbers that mean nothing here, and for what this law cannot answer."""
    if law.name != "chinchilla":
        asked = ["--approach"] if arguments.approach else []
        asked += ["--at"] if arguments.at and len(law.features) > 1 else []
        if asked:
            raise StudyError(
                f"{asked[0]} asks for the compute-optimal size, which --law chinchilla answers and "
                f"{law.name} does not; leave {asked[0]} out, or take that law"
            )
    if arguments.resamples == 1:
        raise StudyError("--resamples 1 has no spread; take 0 for none, or some hundreds")
    for name, value, least in (
        ("--resamples", arguments.resamples, 0),
        ("--drop-highest", arguments.drop_highest, 0),
    ):
        if value < least:
            raise StudyError(f"{name} takes a number from {least} on, got {value}")
    if not arguments.delta > 0:
        raise StudyError(f"--delta takes a number above 0, got {arguments.delta:g}")
    wrong = [at for at in arguments.at if not 0 < at < float("inf")]
    if wrong:
        raise StudyError(f"--at takes numbers above 0, got {wrong[0]:g}")


def _pairs(given: Sequence[str], flag: str, form: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise StudyError(f"{flag} {text!r} is not {form}")
        found[name] = value
    return found


def _written(statement: Statement, stem: Path) -> Iterator[Path]:
    """Write every figure of a statement with its warnings on it, and yield the PNG files."""
    from phasecube.analysis.print_style import add_cautions, save

    for ending, figure, cautions in _figures(statement):
        add_cautions(figure, cautions)
        _, png = save(figure, stem.with_name(stem.name + ending))
        yield png


def _figures(statement: Statement) -> Iterator[tuple[str, Figure, Sequence[Caution]]]:
    from phasecube.analysis.scaling import optimal_figures
    from phasecube.analysis.scaling.figure import fit_figure

    yield "", fit_figure(statement), statement.cautions
    optimal = statement.optimal
    if optimal is None:
        return
    of_rows = statement.fit.points.cautions
    y_text = statement.fit.points.y_text
    if (envelope := optimal.by("envelope")) is not None:
        figure = optimal_figures.envelope_figure(optimal, envelope, y_text)
        yield "_envelope", figure, [*of_rows, *envelope.cautions]
    if (isoflop := optimal.by("isoflop")) is not None:
        figure = optimal_figures.isoflop_figure(optimal, isoflop, y_text)
        yield "_isoflop", figure, [*of_rows, *isoflop.cautions]
    if len(optimal.optima) > 1:
        yield "_optimal", optimal_figures.comparison_figure(optimal), statement.cautions
