"""From a name in a sweep file to an experiment: one that ships, or a researcher's own file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import traceback
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.experiments import EXPERIMENTS
from phasecube.engine.function_trial import FunctionExperiment


def load_experiment(reference: str, folder: Path) -> Experiment[Any] | FunctionExperiment:
    """Return the experiment `reference` names; raise ExperimentError where there is none.

    A reference is a key of EXPERIMENTS or "file.py:Name", the file relative to `folder`. The
    name is an Experiment subclass or a training function; in digests it is "file:Name".
    """
    if ":" not in reference:
        if reference not in EXPERIMENTS:
            close = difflib.get_close_matches(reference, EXPERIMENTS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ExperimentError(
                f"unknown experiment {reference!r}; {hint}there are {', '.join(EXPERIMENTS)}, "
                "and your own as 'my_file.py:Name'"
            )
        module_name, _, name = EXPERIMENTS[reference].partition(":")
        shipped: Experiment[Any] = getattr(importlib.import_module(module_name), name)()
        return shipped
    file, _, name = reference.rpartition(":")
    path = (folder / file).resolve()
    found = getattr(_module(path, reference), name, None)
    full_name = f"{path.stem}:{name}"
    if isinstance(found, type) and issubclass(found, Experiment):
        return _instance(found, full_name, path)
    if isinstance(found, FunctionExperiment):
        found.name = full_name
        return found
    if callable(found) and not isinstance(found, type):
        plain = FunctionExperiment(found, open_parameters=True)
        plain.name = full_name
        return plain
    there = "has no" if found is None else "holds no experiment in"
    raise ExperimentError(
        f"{path} {there} {name!r}; name a subclass of phasecube.Experiment or a function "
        "train(trial)"
    )


def _instance(found: type[Experiment[Any]], name: str, path: Path) -> Experiment[Any]:
    missing = [a for a in ("params_type", "measures") if not hasattr(found, a)]
    unwritten = [
        a for a in ("model", "data", "loss") if getattr(found, a) is getattr(Experiment, a)
    ]
    if missing or unwritten:
        lacks = ", ".join([*missing, *(f"{a}()" for a in unwritten)])
        raise ExperimentError(f"{path}: class {found.__name__} lacks {lacks}; write it there")
    found.name = name
    return found()


def _module(path: Path, reference: str) -> ModuleType:
    if not path.is_file():
        raise ExperimentError(
            f"{reference!r}: there is no file {path}; the path is relative to the sweep file"
        )
    # The whole path in the name: two studies may each have an experiment.py.
    digest = blake2b(str(path).encode(), digest_size=8).hexdigest()
    name = f"phasecube_user_{path.stem}_{digest}"
    source = path.read_bytes()
    known = sys.modules.get(name)
    if known is not None and known.__dict__.get("__phasecube_source__") == source:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ExperimentError(f"{path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__phasecube_source__"] = source
    sys.modules[name] = module  # dataclasses and pydantic look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ExperimentError(
            f"{path} cannot be imported: {type(error).__name__}: {error} "
            f"(line {where.lineno} of {where.filename})"
        ) from error
    return module
