"""Which trials a point of a search stands for, before it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phasecube.engine.errors import SpecError
from phasecube.engine.load import load_experiment
from phasecube.sweeps.axis import Axis, Dim
from phasecube.sweeps.columns import spread
from phasecube.sweeps.combinations import cross_checks
from phasecube.sweeps.digest import content, digests_of
from phasecube.sweeps.points import POINT, Point
from phasecube.sweeps.schema import schema_of

if TYPE_CHECKING:
    from phasecube.sweeps.sweep import Sweep


class Feasible:
    """Answers for the points of one sweep; the experiment is loaded once."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._others = tuple(dim for dim in sweep.dims if dim.name != POINT)
        self._experiment = load_experiment(sweep.experiment, sweep.folder)
        searched = {axis.name for axis in sweep.searched}
        others = {axis.name for dim in self._others for axis in dim.axes}
        named = {*sweep.fixed, *searched, *others, *sweep.derived}
        self._schema = schema_of(self._experiment, named)
        self._checks = cross_checks(self._experiment)

    @property
    def known(self) -> Mapping[str, Any]:
        """Return the parameters that stand before a point is chosen, defaults filled in."""
        defaults = {name: param.default for name, param in self._schema.items()}
        return {**defaults, **self._sweep.fixed}

    def digests(self, point: Point) -> list[bytes]:
        """Return the digests of the point's trials.

        None where `where` leaves no trial of it, or its experiment could not train one.
        """
        axes = tuple(Axis(name, (value,)) for name, value in point.items())
        sweep = replace(self._sweep, dims=(Dim(POINT, axes), *self._others))
        try:
            table, _ = spread(sweep, self._schema)
        except SpecError:
            return []
        if any(check(values) for names, check in self._checks for values in table.values_at(names)):
            return []
        columns, constants = table.resolve(self._schema)
        found = digests_of(
            content(self._experiment.name, self._experiment.version, sweep.stop, constants),
            {n: (c.codes, c.values) for n, c in columns.items() if c.is_param},
            len(table),
        )
        return [digest.tobytes() for digest in found]
