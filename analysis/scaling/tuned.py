"""The trials at the best value of an axis, as of a learning rate that is tuned for each size.

A law through trials of one learning rate is a law of that learning rate: the sizes that it suits
least look worse than they are. So the rate is an axis, and each size keeps its own best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from phasecube.analysis.caution import Caution
from phasecube.analysis.lines.slices import value_at
from phasecube.analysis.maps.phase_diagram import map_axis
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

SEED = "seed"
NAMED = 3  # places that a warning names; the others are counted


def tuned(
    ds: xr.Dataset, measure: str, best_over: Sequence[str], *, step: int | None = None
) -> tuple[xr.Dataset, tuple[Caution, ...]]:
    """Return the study with its best trials alone, and what speaks against the choice.

    At each place on the other axes the values of `best_over` are those of the least mean of
    `measure` over seeds, at `step` or at the last record: seeds choose together, for the best of
    each alone would be good luck too. A value at which a seed has no number (it diverged, failed
    or has not ended) is not chosen. The trials not chosen are NOT_PLANNED in what is returned,
    but for those that have not ended. Cautions: `optimum_at_the_edge` where the best is the first
    or last of a numeric axis, `nothing_to_choose` for places at which no value has all its seeds.
    Raises StudyError for a name that is no axis.
    """
    if not best_over:
        return ds, ()
    dims = {name: map_axis(ds, name).dim for name in best_over}
    if SEED in dims.values():
        raise StudyError("best_over = ['seed'] would keep good luck; average over seeds instead")
    values = value_at(ds, measure, step)
    strange = [str(d) for d in values.dims if d not in ds.outcome.dims]
    if strange:
        raise StudyError(f"{measure} is a vector over {', '.join(strange)}; best of what?")
    score = values.mean(SEED, skipna=False) if SEED in values.dims else values
    places = [str(d) for d in score.dims if d not in dims.values()]
    score = score.transpose(*places, *dims.values())
    sizes = [score.sizes[d] for d in dims.values()]
    score_PB = score.values.reshape(-1, int(np.prod(sizes)))
    score_PB = np.where(np.isfinite(score_PB), score_PB, np.inf)
    open_P = np.isinf(score_PB).all(1)
    best_P = score_PB.argmin(1)
    chosen_PB = (np.arange(score_PB.shape[1]) == best_P[:, None]) & ~open_P[:, None]
    chosen = score.copy(data=chosen_PB.reshape(score.shape))
    at = dict(zip(dims, np.unravel_index(best_P, sizes), strict=True))
    where = [_place(score, places, i) for i in range(len(best_P))]
    cautions = [
        caution
        for name, index_P in at.items()
        if (caution := _edge(ds, name, index_P, ~open_P, where, measure))
    ]
    if open_P.any():
        lost = _named([where[int(i)] for i in np.flatnonzero(open_P)])
        message = f"{int(open_P.sum())} of {len(where)} places are left out, as no value of "
        message += f"{', '.join(dims)} has a number for every seed: {lost}"
        cautions.append(Caution("nothing_to_choose", message))
    kept = chosen | (ds.outcome == Outcome.NOT_RUN)
    found = ds.assign(
        {
            measure: ds[measure].where(chosen),
            "outcome": ds.outcome.where(kept, Outcome.NOT_PLANNED).astype(ds.outcome.dtype),
        }
    )
    return found, tuple(cautions)


def _edge(
    ds: xr.Dataset,
    name: str,
    index_P: np.ndarray,
    known_P: np.ndarray,
    where: Sequence[str],
    measure: str,
) -> Caution | None:
    values_V = ds[name].values
    if values_V.dtype.kind not in "fiu" or len(values_V) < 2:
        return None
    ends = {int(values_V.argmin()): "least", int(values_V.argmax()): "largest"}
    at_edge = [int(i) for i in np.flatnonzero(known_P) if int(index_P[i]) in ends]
    if not at_edge:
        return None
    sides = {ends[int(index_P[i])] for i in at_edge}
    message = (
        f"{measure} is best at the {' or '.join(sorted(sides))} {name} tried in {len(at_edge)} of "
        f"{int(known_P.sum())} places ({_named([where[i] for i in at_edge])}); what is better "
        f"beyond is not known: widen the axis"
    )
    return Caution("optimum_at_the_edge", message)


def _place(score: xr.DataArray, places: Sequence[str], flat: int) -> str:
    sizes = [score.sizes[d] for d in places]
    index = np.unravel_index(flat, sizes) if places else ()
    return ", ".join(
        f"{d} = {score[d].values[i] if d in score.coords else i}"
        for d, i in zip(places, index, strict=True)
    )


def _named(where: Sequence[str]) -> str:
    more = len(where) - NAMED
    return "; ".join(where[:NAMED]) + (f"; and {more} more" if more > 0 else "")
