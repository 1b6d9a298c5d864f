"""Why a trial was pruned, in words: from the line written then, or from the store as it stands."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from phasecube.cluster.pruned import read_pruned
from phasecube.cluster.study import Study
from phasecube.engine.record import Outcome, Status


def why_pruned(study: Study, trial: int) -> list[str]:
    """Return the lines that say why a trial of the plan was pruned; none where it was not."""
    plan = study.plan
    row = int(plan.row[trial])
    status_F = study.store.read_status([row // plan.pack_size])[row]
    if status_F[Status.OUTCOME] != Outcome.PRUNED:
        return []
    step, digest = int(status_F[Status.STOPPED_AT]), plan.digests[trial].tobytes().hex()
    for line in reversed(read_pruned(study.path)):
        if digest in line.get("trials", ()) and line.get("step") == step:
            return _lines(line)
    return [
        f"pruned     at step {step:,}; why was not written down, or is lost",
        *_anew(study, row),
    ]


def _lines(line: dict[str, Any]) -> list[str]:
    pruner = line["pruner"]
    options = ", ".join(f"{name} = {value}" for name, value in pruner["options"].items())
    n_seeds = f", the median of {line['seeds']} seeds" if line["seeds"] > 1 else ""
    goal = "below" if pruner["goal"] == "minimize" else "above"
    said = [
        f"pruned     at step {line['step']:,} by {pruner['kind']}{f' ({options})' * bool(options)}",
        f"  {pruner['measure']} was {line['value']:.6g}{n_seeds}",
    ]
    if not line["seen"]:
        return [*said, f"  no other point had {line['among']}: it was judged by itself"]
    what = "finished points" if line["among"] == "finished" else "points that reached that step"
    said.append(
        f"  of {line['seen']:,} {what} {line['better']:,} were {goal} it there "
        f"(best {line['best']:.6g}, median {line['median']:.6g})"
    )
    return said


def _anew(study: Study, row: int) -> list[str]:
    """Return what the pruner says of the row's point now."""
    from phasecube.cluster.pruning import Published
    from phasecube.sweeps.pruner_optuna import judge

    plan = study.plan
    pruner = plan.sweep.pruner
    if pruner is None:
        return ["  its sweep has no [pruner] any more"]
    seen = Published(plan, study.store, pruner)
    seen.refresh()
    step = int(seen.status_RF[row, Status.STOPPED_AT])
    if step not in seen.steps_G.tolist():
        return [f"  step {step:,} is no rung of [pruner] as it stands now"]
    point = int(seen.members.point_R[row])
    verdicts = judge(pruner, seen.table(), [point], step, seen.last_step)
    if not verdicts:
        return ["  the store has too few values of its seeds at that step to judge it again"]
    line = asdict(verdicts[0]) | {"pruner": pruner.model_dump()}
    again = "would prune it" if verdicts[0].pruned else "would keep it"
    return [
        "  worked out again from the store as it stands now, which may know more points than",
        f"  were seen then: the pruner {again}",
        *_lines(line)[1:],
    ]
