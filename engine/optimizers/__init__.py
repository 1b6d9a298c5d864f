"""Update rules over a leading trial axis; one file and one line here each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerEntry:
    """Where an optimizer stands ("module:Class") and which run parameters it reads beside lr."""

    path: str
    takes: frozenset[str]


_HERE = "phasecube.engine.optimizers"

OPTIMIZERS = {
    "sgd": OptimizerEntry(
        f"{_HERE}.sgd:Sgd", frozenset({"momentum", "nesterov", "weight_decay", "l2"})
    ),
    "adam": OptimizerEntry(f"{_HERE}.adam:Adam", frozenset({"beta1", "beta2", "eps", "l2"})),
    "adamw": OptimizerEntry(
        f"{_HERE}.adam:AdamW", frozenset({"beta1", "beta2", "eps", "weight_decay"})
    ),
}
