"""The analyses a sweep file can ask for, and the options each takes."""

from __future__ import annotations

from collections.abc import Mapping

_MAP = frozenset({"title", "x", "y", "over", "select"})

ANALYSES: Mapping[str, frozenset[str]] = {
    "grokking": _MAP
    | {
        "train",
        "validation",
        "threshold",
        "train_threshold",
        "validation_threshold",
        "above",
        "relative_to",
        "sustained",
        "max_ratio",
        "max_delay",
    },
    "phase_diagram": _MAP
    | {"measure", "statistic", "threshold", "quantity", "above", "sustained", "scale"},
    "curves": _MAP | {"measures", "scale"},
    "lr_stability": (_MAP - {"y"})
    | {
        "lr",
        "measure",
        "label",
        "loss_above",
        "converged_below",
        "tail",
        "exact",
        "sensitivity",
    },
}
