"""Which trials a point of a search stands for, before it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

from phasecube.engine.errors import SpecError
from phasecube.engine.load import load_experiment
from phasecube.engine.schedules import schedule_faults
from phasecube.sweeps.axis import Axis, Dim
from phasecube.sweeps.columns import Table, spread
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
        params_type = getattr(self._experiment, "params_type", None)
        self._checks: list[tuple[Sequence[str], Callable[[dict[str, Any]], Sequence[Any]]]] = []
        if params_type is not None:
            names = list(params_type.model_fields)
            self._checks = [
                (names, lambda values: params_type(**values).faults()),
                (list(signature(schedule_faults).parameters), lambda v: schedule_faults(**v)),
            ]

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
        if any(self._is_at_fault(table, names, check) for names, check in self._checks):
            return []
        columns, constants = table.resolve(self._schema)
        found = digests_of(
            content(self._experiment.name, self._experiment.version, sweep.stop, constants),
            {n: (c.codes, c.values) for n, c in columns.items() if c.is_param},
            len(table),
        )
        return [digest.tobytes() for digest in found]

    @staticmethod
    def _is_at_fault(
        table: Table, names: Sequence[str], check: Callable[[dict[str, Any]], Sequence[Any]]
    ) -> bool:
        varying = [name for name in names if name in table.columns]
        constants = {name: table.constants[name] for name in names if name not in varying}
        for trial in table.combinations(varying)[0]:
            at = {n: table.columns[n].values[table.columns[n].codes[trial]] for n in varying}
            if check({**constants, **at}):
                return True
        return False
