"""`fit`: a scaling law to a table."""

from __future__ import annotations

import argparse
import json

from phasecube.engine.errors import StudyError


def fit(arguments: argparse.Namespace) -> int:
    """Fit a law to the rows of a CSV file and say all that speaks against it."""
    from phasecube.analysis.scaling.fit import fit_law
    from phasecube.analysis.scaling.law import law_named
    from phasecube.analysis.scaling.points import points_of
    from phasecube.analysis.scaling.statement import stated

    law = law_named(arguments.law)
    features = _features(arguments.feature)
    points = points_of(
        arguments.table, arguments.y, features, arguments.run, arguments.drop_highest
    )
    statement = stated(fit_law(law, points, arguments.delta), arguments.resamples, arguments.at)
    if arguments.json:
        print(json.dumps(statement.as_dict(), indent=1, default=float))
    else:
        print("\n".join(statement.lines()))
    if arguments.figure is not None:
        from phasecube.analysis.print_style import save
        from phasecube.analysis.scaling.figure import fit_figure

        _, png = save(fit_figure(statement), arguments.figure)
        if not arguments.json:
            print(f"\n{png}")
    return 0


def _features(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not equals or not column:
            raise StudyError(f"--feature {text!r} is not NAME=COLUMN, as N=parameters")
        found[name] = column
    if not found:
        raise StudyError("say what the law is a function of: --feature N=COLUMN --feature D=COLUMN")
    return found
