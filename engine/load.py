"""From a name in a sweep file to an experiment: one that ships, or a researcher's own file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.experiments import EXPERIMENTS


def load_experiment(reference: str, folder: Path) -> Any:
    """Return the experiment `reference` names; raise ExperimentError where there is none.

    A reference is a key of EXPERIMENTS or "file.py:Name", the file relative to `folder`.
    """
    if ":" not in reference:
        if reference not in EXPERIMENTS:
            raise ExperimentError(
                f"unknown experiment {reference!r}; there are {', '.join(EXPERIMENTS)}, "
                "and your own as 'my_file.py:Name'"
            )
        module_name, _, name = EXPERIMENTS[reference].partition(":")
        return getattr(importlib.import_module(module_name), name)()
    file, _, name = reference.rpartition(":")
    module = _module(folder / file, reference)
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, Experiment):
        experiment = found()
        type(experiment).name = f"{Path(file).stem}:{name}"
        return experiment
    raise ExperimentError(f"{file} has no experiment class {name!r}")


def _module(path: Path, reference: str) -> ModuleType:
    if not path.is_file():
        raise ExperimentError(f"{reference!r}: there is no file {path}")
    name = f"phasecube_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
