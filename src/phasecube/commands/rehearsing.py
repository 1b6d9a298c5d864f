"""`rehearse`: a sweep's life on Slurm, on this machine and without a Slurm."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

from phasecube import api
from phasecube.cluster.stop_signal import StopSignal
from phasecube.commands.display import duration
from phasecube.commands.slurm import flags_of, settings_of
from phasecube.engine.errors import StudyError


def rehearse(arguments: argparse.Namespace) -> int:
    """Run some packs through every misfortune and compare them with an undisturbed run."""
    from phasecube.cluster.rehearsal.rehearse import rehearse

    sweep = api.read(arguments.sweep, arguments.settings)
    settings, _ = settings_of(sweep, flags_of(arguments))
    keep: Path | None = arguments.keep
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise StudyError(f"{keep} is not empty; give --keep a folder of its own")
    place = tempfile.TemporaryDirectory() if keep is None else nullcontext(str(keep))
    with StopSignal() as stop, place as folder:
        found = rehearse(
            sweep,
            settings,
            Path(folder).absolute(),
            n_packs=arguments.packs,
            interruptions=arguments.interruptions,
            say=print,
            stop=stop,
        )
    if stop():
        print("stopped; a rehearsal leaves nothing to resume")
        return 128 + stop.number
    befell = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in found.interruptions.items())
    print(
        f"\n{found.trials:,} trials in {found.packs:,} packs, {found.arrays} job arrays, "
        f"{found.attempts} starts of tasks\n"
        f"befell them: {befell or 'nothing'}; {found.requeued} went back to the queue at the end "
        "of their walltime\n"
        f"undisturbed {duration(found.undisturbed_s)}, disturbed {duration(found.rehearsed_s)}"
    )
    if not found.finished:
        print("it did not finish: see what was said above; --keep FOLDER keeps the logs")
        return 1
    if found.differing:
        print(f"{found.differing:,} trials differ from the undisturbed run; --keep FOLDER to look")
        return 1
    print("every record is that of the undisturbed run, bit for bit")
    return 0
