"""Packs that are retried begin with a clean sheet: deaths counted against them are forgotten."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from phasecube.cluster.job_array import read_arrays
from phasecube.cluster.study import Study
from phasecube.cluster.task_marker import read_markers, write_marker


def forgive(study: Study, packs: Collection[int]) -> None:
    """Forget which tasks died with these packs in hand: they are to be tried anew."""
    for array in read_arrays(study.path):
        for task, marker in read_markers(study.path, array.number).items():
            if task in array.ended and not set(packs).isdisjoint(marker.in_hand):
                kept = {pack: n for pack, n in marker.in_hand.items() if pack not in packs}
                write_marker(study.path, array.number, task, replace(marker, in_hand=kept))
