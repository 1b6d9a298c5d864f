"""Which of Optuna's pruners a sweep asks for, made with its options."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from phasecube.sweeps.adaptive_sections import PrunerSection

# kind: its class in optuna.pruners.
CLASSES = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
}
HALVING = ("successive_halving", "hyperband")


def make_pruner(section: PrunerSection, *, first_rung: int, last_step: int) -> Any:
    """Return Optuna's pruner; ValueError says which option it does not take.

    Successive halving and Hyperband begin at the first rung unless `min_resource` says
    otherwise, Hyperband ends at the last step.
    """
    options = dict(section.options)
    if section.kind in HALVING:
        options.setdefault("min_resource", first_rung)
        if not isinstance(first := options["min_resource"], int) or first < 1:
            raise ValueError(f"min_resource is a step, from 1 on; got {first!r}")
    if section.kind == "hyperband":
        options.setdefault("max_resource", last_step)
    if section.kind == "patient":
        options["wrapped_pruner"] = _wrapped(options)
    return _made(section.kind, options)


def _wrapped(options: dict[str, Any]) -> Any:
    """Return the pruner that a patient one asks, None where it decides alone."""
    inner = options.pop("wrapped", None)
    if inner is None:
        return None
    kinds = [kind for kind in CLASSES if kind not in (*HALVING, "patient", "wilcoxon")]
    if not isinstance(inner, dict) or inner.get("kind") not in kinds:
        raise ValueError(
            f"wrapped takes {{ kind = ... }} and its options; kinds are {', '.join(kinds)}"
        )
    return _made(inner["kind"], {name: v for name, v in inner.items() if name != "kind"})


def _made(kind: str, options: dict[str, Any]) -> Any:
    import optuna

    module, _, name = kind.rpartition(":")
    try:
        found = (
            getattr(importlib.import_module(module), name)
            if module
            else getattr(optuna.pruners, CLASSES[kind])
        )
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, optuna.pruners.BasePruner)):
        raise ValueError(  # noqa: TRY004 a user's text is at fault
            f"{kind} is no pruner of Optuna: it does not inherit BasePruner"
        )
    try:
        with warnings.catch_warnings():
            # Which of its classes Optuna calls experimental is no news to who named one.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner: Any = found(**options)
            if kind == "hyperband":
                # It looks at its options when it is first asked: brackets are made of them.
                pruner._try_initialization(None)
            return pruner
    except (TypeError, ValueError) as error:
        said = str(error).replace(f"{found.__name__}.__init__() ", "")
        raise ValueError(f"{kind} says: {said}") from error
