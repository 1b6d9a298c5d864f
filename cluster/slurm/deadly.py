"""Packs that kill whoever runs them: found by the ends of the tasks that had them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from phasecube.cluster.cut import steps_left
from phasecube.cluster.job import Event
from phasecube.cluster.job_state import DEATHS, JobState
from phasecube.cluster.pack_queue import MAX_DEATHS
from phasecube.cluster.slurm.queue import Queue
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import TaskMarker, read_marker


def deadly_packs(study: Study, queue: Queue) -> Mapping[int, Event]:
    """Return the packs whose tasks died too often at one place, each as a `died` event.

    A failure that the task itself tells of (a full disk, other packages) is no pack's.
    """
    ends: list[tuple[TaskMarker, JobState, str]] = []
    for array in queue.arrays:
        for task, (state, said) in array.ended.items():
            if JobState(state) not in DEATHS:
                continue
            marker = read_marker(study.path, array.number, task)
            if marker is not None and marker.state == "running":
                ends.append((marker, JobState(state), said))
    packs = sorted({pack for marker, _, _ in ends for pack in marker.in_hand})
    if not packs:
        return {}  # as at nearly every poll: the store is not read for it
    left_P = steps_left(study.plan, study.store.read_status(packs))
    deaths: Counter[int] = Counter()
    last: dict[int, tuple[JobState, str]] = {}
    for marker, state, said in ends:
        for pack, left_then in marker.in_hand.items():
            if 0 < left_P[pack] == left_then:  # it has not come further since
                deaths[pack] += 1
                last[pack] = (state, f"{marker.slurm_id} on {marker.host}: {said}")
    found = {}
    for pack in (p for p, n in deaths.items() if n >= MAX_DEATHS):
        state, said = last[pack]
        outcome = "OUT_OF_MEMORY" if state is JobState.OUT_OF_MEMORY else "FAILED"
        message = f"the tasks that had it ended {state.value} {MAX_DEATHS} times, last {said}"
        group = int(study.plan.group[study.plan.trials_in(pack)[0]])
        found[pack] = Event("died", pack, group, {outcome: 0}, message=message)
    return found
