"""The rungs of a sweep: the steps at which its trials are judged, and whether they can work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from phasecube.engine.errors import Fault
from phasecube.engine.experiment import Measure
from phasecube.sweeps.adaptive_sections import PrunerSection, SamplerSection
from phasecube.sweeps.faults import scalar_faults
from phasecube.sweeps.steps_section import Cadence

# These compare trials of several rungs: with one there is nothing to halve again.
_SEVERAL_RUNGS = ("successive_halving", "hyperband")
_LONGEST = 10**9  # where it is not known yet
_WILCOXON_P = 0.1  # Optuna's default of p_threshold
_NEEDS_ANSWERS = {
    "boundary": "asks each trial for its answer, and a pruned one has none",
    "pbt": "replaces the poorer trials itself",
}


def rungs_of(rungs: Cadence | list[int], last: int) -> npt.NDArray[np.int64]:
    """Return the steps at which trials of `last` steps are judged: none is 0 or the last."""
    if isinstance(rungs, list):
        steps = np.asarray(rungs, np.int64)
    elif rungs.every is not None:
        steps = np.arange(0, last, rungs.every)
    else:
        assert rungs.log is not None
        steps = np.rint(np.geomspace(1, max(last, 1), rungs.log)).astype(np.int64)
    inside = (steps > 0) & (steps < last)
    return np.unique(steps[inside]).astype(np.int64)


def least_replicates(pruner: PrunerSection, n_seeds: int) -> int:
    """Return on how many seeds a point is judged at least; 2 where the sweep repeats its points."""
    if pruner.min_replicates is not None:
        return pruner.min_replicates
    return 2 if n_seeds >= 2 else 1


def pruner_faults(
    pruner: PrunerSection, sampler: SamplerSection | None, recorded: Mapping[str, Measure] | None
) -> Iterator[Fault]:
    """Yield the faults of `[pruner]` by itself; `recorded` None: what is recorded is not known."""
    if isinstance(pruner.rungs, list) and pruner.rungs != sorted(set(pruner.rungs)):
        yield Fault("pruner.rungs", "explicit steps increase and stand once each")
    if sampler is not None and sampler.kind in _NEEDS_ANSWERS:
        yield Fault(
            "pruner", f"the {sampler.kind} sampler {_NEEDS_ANSWERS[sampler.kind]}; leave it out"
        )
    if recorded is not None:
        yield from scalar_faults("pruner.measure", pruner.measure, recorded)
    yield from _options(pruner)


def _options(pruner: PrunerSection) -> Iterator[Fault]:
    if pruner.options.get("min_resource") == "auto" or pruner.options.get("max_resource") == "auto":
        yield Fault(
            "pruner.options",
            "'auto' hangs on which trial ends first, and the same store must give the same "
            "decision; name a step, or leave it out: the first rung, and the last step",
        )
    elif pruner.options or pruner.kind not in ("median", "wilcoxon", *_SEVERAL_RUNGS):
        from phasecube.sweeps.pruner_classes import make_pruner

        try:
            make_pruner(pruner, first_rung=1, last_step=_LONGEST)
        except ValueError as error:
            yield Fault("pruner.options", str(error))


def rung_faults(pruner: PrunerSection, lengths: Sequence[int], n_seeds: int) -> list[Fault]:
    """Return why a pruner cannot work on trials of these lengths, with so many seeds a point."""
    last, found = max(lengths), []
    rungs = rungs_of(pruner.rungs, last)
    if not len(rungs):
        found.append(
            Fault(
                "pruner.rungs",
                f"none lies inside a run of {last:,} steps; trials are judged after step 0 and "
                "before the last, so name steps between",
            )
        )
    elif len(rungs) == 1 and pruner.kind in _SEVERAL_RUNGS:
        found.append(
            Fault(
                "pruner.rungs",
                f"{pruner.kind} compares trials at several rungs, and step {rungs[0]:,} is the "
                f"only one inside a run of {last:,} steps; give more, or take median or threshold",
            )
        )
    first = pruner.options.get("min_resource")
    if (
        pruner.kind in _SEVERAL_RUNGS
        and isinstance(first, int)
        and len(rungs)
        and first > rungs[-1]
    ):
        found.append(
            Fault(
                "pruner.options",
                f"min_resource = {first:,} is past the last rung, step {rungs[-1]:,}: nothing "
                "would ever be pruned; name an earlier step, or leave it out: the first rung",
            )
        )
    patience = pruner.options.get("patience")
    if pruner.kind == "patient" and isinstance(patience, int) and 0 < len(rungs) < patience + 2:
        found.append(
            Fault(
                "pruner.rungs",
                f"with patience = {patience} a trial is judged from its rung {patience + 2} on, "
                f"and a run of {last:,} steps has {len(rungs)}; give more, or less patience",
            )
        )
    found += _seed_faults(pruner, n_seeds)
    return found


def _seed_faults(pruner: PrunerSection, n_seeds: int) -> Iterator[Fault]:
    least = pruner.min_replicates
    if least is not None and least > n_seeds:
        yield Fault(
            "pruner.min_replicates",
            f"{least} seeds are asked for, and no point has more than {n_seeds}: nothing would "
            "ever be pruned; ask for fewer, or give the seed axis more values",
        )
    threshold = pruner.options.get("p_threshold", _WILCOXON_P)
    if pruner.kind == "wilcoxon" and isinstance(threshold, int | float) and 0 < threshold <= 1:
        needed = 2  # Optuna's least number of pairs
        while 0.5**needed >= threshold:
            needed += 1
        if n_seeds < needed:
            yield Fault(
                "pruner.kind",
                f"wilcoxon compares a point with the best, seed by seed: {n_seeds} seeds give no "
                f"p below {0.5**n_seeds:.2g}, and p_threshold is {threshold:g}; give the seed "
                f"axis {needed} values, or take median",
            )
