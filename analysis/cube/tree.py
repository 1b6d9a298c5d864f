"""A study as a tree: what every trial has at the root, vector measures in a group for each label.

The cube on disk stays flat; the tree is another view of it (docs/decisions/0013).
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from phasecube.analysis.cube.opened import Chunks, open_study
from phasecube.engine.errors import StudyError

VECTOR_STEP = "vector_step"
VARIABLES, COORDINATES = "variables", "order_of_coordinates"  # attributes: the order of the cube


def open_tree(study: Path | str, *, chunks: Chunks = None) -> xr.DataTree:
    """Return the study at `study` as a DataTree, finished or running.

    As `open_study`, arranged by `as_tree`: values are read when used, with `chunks` they are
    dask arrays. Raises StudyError if there is no study.
    """
    return as_tree(open_study(study, chunks=chunks))


def as_tree(ds: xr.Dataset) -> xr.DataTree:
    """Return a study's Dataset as a tree; nothing is read or copied.

    The root holds scalars, how trials ended, where numbers come from and the axes. A child
    for each label dim, of that name, holds the vector measures over it with `vector_step` and
    the labels. Children inherit the axes; coordinates along an axis (of a zip, derived) stand
    in each child too, as xarray hands down index coordinates only.
    """
    groups: dict[str, list[str]] = {}
    for name, values in ds.data_vars.items():
        if VECTOR_STEP in values.dims:
            groups.setdefault(_label_dim(ds, values), []).append(str(name))
    vectors = [name for names in groups.values() for name in names]
    own = [n for n, c in ds.coords.items() if {VECTOR_STEP, *groups} & set(c.dims)]
    nodes = {"/": ds.drop_vars([*vectors, *own])}
    for label, names in groups.items():
        child = ds[names].drop_attrs(deep=False)
        axes = [n for n in child.coords if n in child.xindexes and n not in (VECTOR_STEP, label)]
        nodes[label] = child.drop_vars(axes)
    # The order of the flat Dataset, for who makes it one again.
    order = {VARIABLES: [str(n) for n in ds.data_vars], COORDINATES: [str(n) for n in ds.coords]}
    nodes["/"] = nodes["/"].assign_attrs(order)
    return xr.DataTree.from_dict(nodes)


def as_dataset(tree: xr.DataTree) -> xr.Dataset:
    """Return a tree as the flat Dataset that all analyses take, of one exported too."""
    ds = tree.to_dataset()
    for child in tree.children.values():
        if child.children:
            raise StudyError(f"{child.path} has groups of its own: it is no tree of a study")
        own = child.to_dataset(inherit=False)
        ds = ds.merge(own, join="exact", compat="override", combine_attrs="override")
    variables = [n for n in ds.attrs.get(VARIABLES, ds.data_vars) if n in ds.data_vars]
    coordinates = [n for n in ds.attrs.get(COORDINATES, ds.coords) if n in ds.coords]
    coords = {n: ds.coords[n].variable for n in coordinates}
    return ds[variables].drop_vars(coordinates).assign_coords(coords)


def _label_dim(ds: xr.Dataset, values: xr.DataArray) -> str:
    labels = [str(d) for d in values.dims if d not in ds.outcome.dims and d != VECTOR_STEP]
    if len(labels) != 1:
        raise StudyError(
            f"{values.name} lies over {', '.join(labels) or 'no labels'}, not over one"
        )
    return labels[0]
