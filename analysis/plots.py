"""Analyses that are plots and no maps of cells: what each is made of, and where it lives."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from phasecube.analysis.caution import Caution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A module has a frozen dataclass `Options` and draw(ds, options) -> tuple[Plot, ...].
PLOT_KINDS: Mapping[str, str] = {
    "slices": "phasecube.analysis.lines.slices",
    "trajectories": "phasecube.analysis.lines.trajectories",
    "instability_forecast": "phasecube.analysis.lr.instability_plot",
    "lr_transfer": "phasecube.analysis.lr.transfer_plot",
    "boundary_dimension": "phasecube.analysis.boundary.dimension_plot",
    "refined_boundary": "phasecube.analysis.boundary.refined_plot",
    "boundary_law": "phasecube.analysis.boundary.law_plot",
    "finite_size": "phasecube.analysis.finite_size.plot",
    "scaling_law": "phasecube.analysis.scaling.law_plot",
    "compute_optimal": "phasecube.analysis.scaling.compute_optimal_plot",
    "search": "phasecube.analysis.search.plot",
    "lineage": "phasecube.analysis.search.lineage_plot",
    "entropy_law": "phasecube.analysis.entropy.law_plot",
    "entropy_covariance": "phasecube.analysis.entropy.covariance",
    "entropy_methods": "phasecube.analysis.entropy.methods",
}


@dataclass(frozen=True)
class Plot:
    """One plot: its caption, the numbers in it as a table, and the figure for page and print.

    `name` is the stem of its files; what speaks against it stands on the figure and below it.
    `found` says in a few words what it shows; `fixed` names the values of the axes that this
    plot alone shows, where an analysis made several: they tell which trials are behind it.
    """

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    figure: Callable[[], Figure]
    cautions: tuple[Caution, ...] = ()
    found: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)


def options_type(kind: str) -> Any:
    """Return the dataclass of the options that a kind of PLOT_KINDS takes."""
    return importlib.import_module(PLOT_KINDS[kind]).Options


def draw_plots(kind: str, ds: Any, options: Any) -> tuple[Plot, ...]:
    """Return the plots of a kind; raise StudyError where the study cannot answer."""
    found: tuple[Plot, ...] = importlib.import_module(PLOT_KINDS[kind]).draw(ds, options)
    return found
