"""`new`, `plan`, `explain`, `schema`: before anything runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from phasecube import api
from phasecube.cluster.study import Study, exists
from phasecube.engine.errors import StudyError


def new(arguments: argparse.Namespace) -> int:
    """Copy a sweep of the catalog, or list them."""
    import tomllib

    from phasecube import sweeps

    folder = Path(sweeps.__path__[0]) / "catalog"
    catalog = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if arguments.name is None:
        width = max(map(len, catalog))
        for name, path in catalog.items():
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            print(f"{name:<{width}}  {table.get('title', '')}")
        print("\nphasecube new NAME writes one here, to edit")
        return 0
    if arguments.name not in catalog:
        raise StudyError(f"the catalog has no {arguments.name!r}; it has {', '.join(catalog)}")
    target = arguments.to or Path(f"{arguments.name}.toml")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(catalog[arguments.name].read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise StudyError(f"{target} exists; give another place with --to") from error
    except OSError as error:
        raise StudyError(f"{target} cannot be written: {error.strerror}") from error
    print(f"{target}: see what it costs with `phasecube plan {target}`")
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Print what a sweep will run and cost, and what it changes in its study."""
    from phasecube.sweeps.forecast import forecast
    from phasecube.sweeps.plan import expand
    from phasecube.sweeps.points import with_stand_ins
    from phasecube.sweeps.summary import describe

    sweep = api.read(arguments.sweep, arguments.settings)
    path = arguments.study or api.STUDIES / sweep.name
    if exists(path):
        proposal = Study(path).propose(sweep)
        planned, difference = proposal.plan, proposal.difference
    else:
        planned, difference = expand(with_stand_ins(sweep)), None
    seconds = None
    if arguments.probe:
        from phasecube.cluster.probe import seconds_per_trial_step

        seconds = seconds_per_trial_step(planned)
    print("\n".join(describe(planned, forecast(planned, seconds), difference)))
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Print what a digest is taken over and why its trial was pruned, or in what two differ."""
    from phasecube.sweeps import explain as words
    from phasecube.sweeps.plan import expand

    where: Path = arguments.where
    planned = Study(where).plan if where.is_dir() else expand(api.read(where))
    if arguments.other is None:
        lines = words.explain(planned, arguments.digest)
        if where.is_dir():
            from phasecube.cluster.pruned_why import why_pruned

            lines += why_pruned(Study(where), words.find_trial(planned, arguments.digest))
        print("\n".join(lines))
    else:
        print("\n".join(words.compare(planned, arguments.digest, arguments.other)))
    return 0


def schema(arguments: argparse.Namespace) -> int:  # noqa: ARG001 takes none
    """Print the JSON schema of a sweep file."""
    from phasecube.sweeps.sections import json_schema

    print(json.dumps(json_schema(), indent=1))
    return 0
