"""`replay`: what another pruner would have done on a study."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from phasecube.cluster.study import Study

if TYPE_CHECKING:
    from phasecube.sweeps.adaptive_sections import PrunerSection
    from phasecube.sweeps.replay import Recorded, Replay

N_LOST, N_RUNGS = 5, 8


def replay(arguments: argparse.Namespace) -> int:
    """Print what a pruner would have saved and lost."""
    from phasecube.cluster.pruning_replay import asked_pruner, recorded_trials
    from phasecube.sweeps.replay import replay as run

    study = Study(arguments.study)
    pruner = asked_pruner(
        study,
        arguments.pruner,
        measure=arguments.measure,
        goal=arguments.goal,
        rungs=arguments.rungs,
        min_replicates=arguments.min_replicates,
        options=arguments.options,
    )
    recorded = recorded_trials(study, pruner, arguments.lanes)
    print("\n".join(lines(study, pruner, recorded, run(recorded, pruner))))
    return 0


def lines(study: Study, pruner: PrunerSection, recorded: Recorded, found: Replay) -> list[str]:
    """Return the replay in words."""
    rungs = recorded.steps_G.tolist()
    shown = ", ".join(f"{step:,}" for step in rungs[:N_RUNGS])
    lanes = sorted({queue.lanes for queue in recorded.queues})
    options = "".join(f", {name} = {value}" for name, value in pruner.options.items())
    said = [
        f"{study.path}: {pruner.kind}{options}; {pruner.measure}, {pruner.goal}",
        f"  rungs      {shown}{', ...' if len(rungs) > N_RUNGS else ''} ({len(rungs)})",
        f"  order      pack after pack, {' or '.join(map(str, lanes))} trials at once",
        f"  steps      {found.saved:,} of {found.steps:,} trial-steps saved "
        f"({found.saved / max(found.steps, 1):.1%})",
        f"  points     {found.points_pruned:,} of {found.points:,} pruned"
        + (f", each judged on {recorded.least} or more seeds" if recorded.least > 1 else ""),
    ]
    if found.best is not None:
        said.append(f"  best       {_best(pruner.measure, found)}")
    if found.decile_kept is not None:
        n_kept = round(found.decile_kept * found.decile)
        correlation = found.rank_correlation
        said.append(
            f"  best tenth {n_kept} of {found.decile} kept"
            + ("" if correlation is None else f", rank correlation {correlation:.2f}")
        )
    for lost in found.lost[:N_LOST]:
        digest = study.plan.row_digests[lost.first_row].tobytes().hex()
        said.append(
            f"    lost: {digest[:12]}, place {lost.rank}, at step {lost.step:,} with "
            f"{lost.value:.6g}; came to {lost.final:.6g}"
        )
    if len(found.lost) > N_LOST:
        said.append(f"    and {len(found.lost) - N_LOST} more")
    left_out = study.plan.n_trials - sum(len(queue.rows) for queue in recorded.queues)
    if left_out:
        said.append(f"  left out   {left_out:,} trials that have not run, or failed")
    if found.points_unknown:
        said.append(
            f"  not known  {found.points_unknown:,} points were really pruned and would have gone "
            f"on here: what the {found.unknown_steps:,} steps they lack would have brought, and "
            "how many of them it would have saved; they count as saved nothing, and in no ranking"
        )
    return said


def _best(measure: str, found: Replay) -> str:
    if found.best_kept is None:
        return f"{measure} {found.best:.6g} lost, with every other point"
    if found.best_kept == found.best:
        return f"{measure} {found.best:.6g}, kept"
    return f"{measure} {found.best_kept:.6g} instead of {found.best:.6g}"
