"""The analyses a sweep file can ask for, and the options each takes."""

from __future__ import annotations

from collections.abc import Mapping

_MAP = frozenset({"title", "x", "y", "over", "select"})
# Which rows of a study a law is fitted to.
_ROWS = frozenset(
    {
        *("title", "measure", "features", "by", "select", "step", "records", "from_step"),
        *("average", "best_over", "count", "flop", "resamples", "at"),
    }
)

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
    "slices": frozenset(
        {
            *("title", "measure", "x", "by", "over", "select", "step", "statistic", "times"),
            *("reference", "x_scale", "scale", "fit"),
        }
    ),
    "trajectories": frozenset(
        {
            *("title", "measure", "by", "over", "select", "times", "reference"),
            *("step_scale", "scale", "bins"),
        }
    ),
    "instability_forecast": frozenset(
        {"title", "measure", "x", "by", "scale", "critical", "over", "select", "step"}
    ),
    "lr_transfer": frozenset(
        {"title", "measure", "x", "by", "lr", "over", "select", "tail", "scale"}
    ),
    "search": frozenset({"title"}),
    "scaling_law": _ROWS | {"law"},
    "compute_optimal": _ROWS | {"approaches"},
    "lineage": frozenset({"title", "measure", "goal", "parameters", "select", "scale"}),
    "boundary_dimension": frozenset(
        {
            *("title", "measure", "x", "y", "label", "loss_above", "converged_below", "tail"),
            *("select", "shown_x", "shown_y"),
        }
    ),
    "refined_boundary": frozenset({"title", "x", "y", "question", "reference", "exact"}),
    "boundary_law": frozenset(
        {
            *("title", "measure", "x", "against", "by", "over", "select", "quantity", "rows"),
            *("label", "loss_above", "converged_below", "tail", "threshold", "above"),
            *("sustained", "yes", "exponent"),
        }
    ),
    "finite_size": frozenset(
        {
            *("title", "measure", "x", "size", "over", "select", "threshold", "above", "label"),
            *("loss_above", "converged_below", "tail", "beta", "resamples", "expected"),
        }
    ),
    "entropy_law": frozenset(
        {
            *("title", "by", "over", "select", "reward", "entropy", "early", "collapse"),
            *("from_step", "actions"),
        }
    ),
    "entropy_phase": _MAP | {"reward", "entropy", "collapse", "learnt", "active", "from_step"},
    "entropy_methods": frozenset(
        {
            *("title", "by", "against", "over", "select", "reward", "entropy", "learnt"),
            *("collapse", "from_step"),
        }
    ),
    "entropy_covariance": frozenset(
        {"title", "by", "over", "select", "actual", "predicted"},
    ),
    "lr_stability": (_MAP - {"y"})
    | {
        "lr",
        "measure",
        "label",
        "loss_above",
        "converged_below",
        "tail",
        "estimator",
        "exact",
        "sensitivity",
    },
}

# Without these there is nothing to draw.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "slices": ("measure", "x"),
    "trajectories": ("measure",),
    "instability_forecast": ("x",),
    "lr_transfer": ("measure", "x"),
    "boundary_dimension": ("measure", "x", "y"),
    "lineage": ("measure",),
    "scaling_law": ("measure",),
    "compute_optimal": ("measure",),
    "boundary_law": ("measure", "against"),
    "finite_size": ("measure", "x", "size"),
}
# Measures that are read under these names where the option names no other.
READ: Mapping[str, Mapping[str, str]] = {
    "entropy_law": {"reward": "reward", "entropy": "entropy"},
    "entropy_phase": {"reward": "reward", "entropy": "entropy"},
    "entropy_methods": {"reward": "reward", "entropy": "entropy"},
    "entropy_covariance": {
        "actual": "entropy_change",
        "predicted": "entropy_change_predicted",
    },
}
# Kinds that are lines: to them the labels of a vector measure are an axis too.
LINES = frozenset({"slices", "trajectories", "instability_forecast"})
