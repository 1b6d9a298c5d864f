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
    "slices": "phasecube.analysis.slices",
    "trajectories": "phasecube.analysis.trajectories",
    "instability_forecast": "phasecube.analysis.instability_plot",
    "lr_transfer": "phasecube.analysis.lr_transfer_plot",
    "boundary_dimension": "phasecube.analysis.boundary_dimension_plot",
    "refined_boundary": "phasecube.analysis.refined_boundary_plot",
    "boundary_law": "phasecube.analysis.boundary_law_plot",
    "finite_size": "phasecube.analysis.finite_size_plot",
    "scaling_law": "phasecube.analysis.scaling_law_plot",
    "compute_optimal": "phasecube.analysis.compute_optimal_plot",
    "search": "phasecube.analysis.search_plot",
    "lineage": "phasecube.analysis.lineage_plot",
    "entropy_law": "phasecube.analysis.entropy_law_plot",
    "entropy_covariance": "phasecube.analysis.entropy_covariance",
    "entropy_methods": "phasecube.analysis.entropy_methods",
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
