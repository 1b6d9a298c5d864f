"""Update rules over a leading trial axis; one file and one line here each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerEntry:
    """Where an optimizer stands ("module:Class") and which run parameters it reads beside lr."""

    path: str
    takes: frozenset[str]


_HERE = "phasecube.engine.optimizers"
_DECOUPLED = ("weight_decay", "independent_weight_decay")

OPTIMIZERS = {
    "sgd": OptimizerEntry(
        f"{_HERE}.sgd:Sgd", frozenset({"momentum", "nesterov", "l2", *_DECOUPLED})
    ),
    "triple_momentum": OptimizerEntry(
        f"{_HERE}.triple_momentum:TripleMomentum", frozenset({"momentum", "lookahead"})
    ),
    "adam": OptimizerEntry(f"{_HERE}.adam:Adam", frozenset({"beta1", "beta2", "eps", "l2"})),
    "adamw": OptimizerEntry(
        f"{_HERE}.adam:AdamW", frozenset({"beta1", "beta2", "eps", *_DECOUPLED})
    ),
    "adamw_8bit": OptimizerEntry(
        f"{_HERE}.adamw_8bit:AdamW8Bit",
        frozenset(
            {"state_code", "state_block_size", "state_min_size"}
            | {"beta1", "beta2", "eps", *_DECOUPLED}
        ),
    ),
    "lion": OptimizerEntry(f"{_HERE}.lion:Lion", frozenset({"beta1", "beta2", *_DECOUPLED})),
    "muon": OptimizerEntry(
        f"{_HERE}.muon:Muon",
        frozenset(
            {"momentum", "nesterov", "adjust_lr", "adamw_weights", "adamw_lr_ratio"}
            | {"beta1", "beta2", "eps", *_DECOUPLED}
        ),
    ),
}
