"""What pruning saves and loses: every pruner on the grokking and the learning-rate studies.

    python bench/pruning.py [--only grokking lr] [--real KIND ...] [--keep FOLDER]

Each study of the catalog is run once at demo size, unpruned; every pruner is then replayed on
its records: the trial-steps it saves, whether the best point is kept, how many of the best tenth
of points, and Spearman's correlation of their places. Then one pruner is really run, in
one process, and its outcomes are held against the replay's. Last, what a decision costs
with 1,000 and 5,000 points, beside one by Optuna's own study of as many trials.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

# name: catalog sweep, what is replaced in its text, judged by, rungs early and late, and what a
# user who knows the study calls hopeless.
STUDIES: dict[str, tuple[str, dict[str, str], str, list[list[int]], dict[str, Any]]] = {
    "grokking": (
        "grokking_onset",
        {
            "stop = 3 }": "stop = 1 }",
            "steps = { log = 100 }": 'measures = ["val_loss"]\nsteps = { every = 20 }',
            "vector_steps": "# vector_steps",
        },
        "val_loss",
        [[20, 60, 180, 540], [180, 540]],
        {"upper": 0.08},
    ),
    "lr": (
        "lr_sensitivity",
        {
            "where = [\n    \"width == 32 or arm in ['plain', 'qk-norm']\",\n"
            "    \"seed < 2 or arm in ['plain', 'qk-norm']\",\n]": "",
            "count = 7": "count = 9",
            '[axes.width]\nvalues = [8, 16, 32]\nscale = "log"': "",
            "steps = 300": "steps = 300\nwidth = 8",
            "stop = 2 }": "stop = 1 }",
            '["val_loss", "max_attention_logit", "attention_entropy", "log_z_mean"]': (
                '["val_loss"]'
            ),
            "steps = { every = 30 }": "steps = { every = 10 }\n"
            '[resources]\nengine = "vmap"\nlanes = 16\npack_size = 16',
        },
        "val_loss",
        [[10, 30, 90], [90, 180]],
        {"upper": 4.2, "n_warmup_steps": 30},
    ),
}
PRUNERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("median", {}),
    ("percentile", {"percentile": 25.0}),
    ("percentile", {"percentile": 75.0}),
    ("successive_halving", {"reduction_factor": 3}),
    ("hyperband", {"reduction_factor": 3}),
    ("patient", {"patience": 1}),
    ("patient", {"patience": 1, "wrapped": {"kind": "median"}}),
    ("threshold", {}),
)


def sweep_text(name: str, pruner: str = "") -> str:
    from phasecube import sweeps

    catalog, replaced, *_ = STUDIES[name]
    text = (Path(sweeps.__path__[0]) / "catalog" / f"{catalog}.toml").read_text()
    text = text[: text.index("[[analyses]]")]
    for old, new in replaced.items():
        assert text.count(old) == 1, f"{catalog}.toml has changed: {old!r}"
        text = text.replace(old, new)
    return f"{text}\n{pruner}"


def section(name: str, kind: str, options: dict[str, Any]) -> str:
    """Return the [pruner] of a study in TOML."""

    def toml(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
        return repr(value).replace("'", '"')

    _, _, measure, rungs, _ = STUDIES[name]
    return (
        f'[pruner]\nkind = "{kind}"\nmeasure = "{measure}"\nrungs = {rungs[0]}\n'
        f"options = {toml(options)}\n"
    )


def run(name: str, folder: Path, pruner: str = "") -> Path:
    """Run a study in one process, unless it stands; return where."""
    import phasecube

    study = folder / f"{name}{'_pruned' * bool(pruner)}"
    sweep = folder / f"{study.name}.toml"
    sweep.write_text(sweep_text(name, pruner))
    began_s, cpu_s = time.monotonic(), time.process_time()
    phasecube.run(sweep, study, processes=1)
    print(
        f"# {study.name}: {time.monotonic() - began_s:.0f} s, "
        f"{time.process_time() - cpu_s:.0f} s of CPU",
        flush=True,
    )
    return study


def replays(name: str, path: Path) -> None:
    """Print the table of one study."""
    from phasecube.cluster.pruning_replay import recorded_trials
    from phasecube.cluster.study import Study
    from phasecube.sweeps.adaptive_sections import PrunerSection
    from phasecube.sweeps.pruner_rungs import rung_faults
    from phasecube.sweeps.replay import replay

    study = Study(path)
    _, _, measure, rung_sets, hopeless = STUDIES[name]
    for place, (rungs, (kind, options)) in enumerate(itertools.product(rung_sets, PRUNERS)):
        options = options or (hopeless if kind == "threshold" else {})
        table = {"kind": kind, "measure": measure, "rungs": rungs, "options": options}
        asked = PrunerSection.model_validate(table)
        recorded = recorded_trials(study, asked)
        found = replay(recorded, asked)
        if refused := rung_faults(asked, [recorded.last_step], recorded.members.n_seeds):
            print(f"{kind:44} cannot work: {refused[0].message[:60]}...")
            continue
        if place % len(PRUNERS) == 0:
            lanes = sorted({queue.lanes for queue in recorded.queues})
            print(
                f"{name}: {found.points} points of {recorded.members.n_seeds} seeds, "
                f"{study.plan.n_trials} trials of {recorded.last_step} steps, lanes {lanes}, "
                f"rungs {rungs}; best {measure} {found.best:.4g}"
            )
            print(
                f"{'pruner':44}{'saved':>8}{'pruned':>8}{'best':>10}{'best tenth':>12}{'order':>7}"
            )
        words = "".join(f", {k} {v['kind'] if k == 'wrapped' else v}" for k, v in options.items())
        tenth = f"{round((found.decile_kept or 0) * found.decile)} of {found.decile}"
        order = "" if found.rank_correlation is None else f"{found.rank_correlation:.2f}"
        best = "kept" if found.best_kept == found.best else f"{found.best_kept or np.nan:.4g}"
        print(
            f"{kind + words:44}{found.saved / found.steps:8.1%}{found.points_pruned:8}{best:>10}"
            f"{tenth:>12}{order:>7}",
            flush=True,
        )


def real(name: str, folder: Path, unpruned: Path, kind: str) -> None:
    """Run a pruner and hold its outcomes against the replay's."""
    from phasecube.cluster.pruning_replay import recorded_trials
    from phasecube.cluster.study import Study
    from phasecube.engine.record import Outcome, Status
    from phasecube.sweeps.replay import replay

    options = next(o for k, o in PRUNERS if k == kind)
    study = Study(run(name, folder, section(name, kind, options)))
    asked = study.sweep.pruner
    assert asked is not None
    foretold = replay(recorded_trials(Study(unpruned), asked), asked)
    status_RF = study.store.read_status()
    pruned = np.flatnonzero(status_RF[:, Status.OUTCOME] == Outcome.PRUNED)
    really = {int(row): int(status_RF[row, Status.STOPPED_AT]) for row in pruned}
    same = len(really.items() & foretold.pruned.items())
    n_steps = int(status_RF[np.unique(study.plan.row), Status.STOPPED_AT].sum())
    print(
        f"{name}, {kind} really run: {len(really)} trials pruned, "
        f"{1 - n_steps / foretold.steps:.1%} of the steps saved; foretold "
        f"{len(foretold.pruned)} and "
        f"{foretold.saved / foretold.steps:.1%}; the same step for {same}",
        flush=True,
    )


def cost() -> None:
    """Print what a decision costs, beside Optuna's own."""
    from phasecube.sweeps.adaptive_sections import PrunerSection
    from phasecube.sweeps.pruner_optuna import judge
    from phasecube.sweeps.pruner_points import Members, fold

    print(f"{'ms a decision':24}{'1,000':>9}{'5,000':>9}{'Optuna 1k':>11}{'5k':>9}")
    rungs, last, at_once = np.array([10, 30, 90]), 270, 32
    for kind, options in (
        ("median", {}),
        ("successive_halving", {"reduction_factor": 3}),
        ("hyperband", {"reduction_factor": 3}),
        ("threshold", {"upper": 4.0}),
    ):
        table = {"kind": kind, "measure": "x", "rungs": rungs.tolist(), "options": options}
        asked = PrunerSection.model_validate(table)
        ours, theirs = [], []
        for n in (1000, 5000):
            values_RG = np.random.default_rng(0).normal(size=(n, 3))
            values_RG[-at_once:, 1:] = np.nan
            outcome_R = np.ones(n, int)
            outcome_R[-at_once:] = 0
            rows = np.arange(n)
            members = Members(rows, np.zeros(n, np.int64), rows, 1)
            for _ in range(2):  # the first imports what Optuna imports late
                began_s = time.process_time()
                shown = fold(members, rungs, values_RG, values_RG[:, -1], outcome_R, rows, 1)
                judge(asked, shown, range(n - at_once, n), 10, last)
            ours.append((time.process_time() - began_s) / at_once)
            theirs.append(_optuna_s(kind, options, values_RG, rungs, last))
        print(
            f"{kind:24}"
            + "".join(f"{1e3 * s:{w}.2f}" for s, w in zip(ours + theirs, (9, 9, 11, 9))),
            flush=True,
        )


def _optuna_s(
    kind: str, options: dict[str, Any], values_RG: np.ndarray, rungs: np.ndarray, last: int
) -> float:
    """Return the CPU seconds of a decision in an in-memory study of as many finished trials."""
    import optuna

    from phasecube.sweeps.adaptive_sections import PrunerSection
    from phasecube.sweeps.pruner_classes import make_pruner

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = {"kind": kind, "measure": "x", "rungs": rungs.tolist(), "options": options}
    asked = PrunerSection.model_validate(table)
    pruner = make_pruner(asked, first_rung=int(rungs[0]), last_step=last)
    study = optuna.create_study(pruner=pruner)
    for row_G in values_RG[:-16]:
        attrs = {f"completed_rung_{g}": float(v) for g, v in enumerate(row_G) if np.isfinite(v)}
        values = {int(s): float(v) for s, v in zip(rungs, row_G) if np.isfinite(v)}
        study.add_trial(
            optuna.trial.create_trial(value=0.0, intermediate_values=values, system_attrs=attrs)
        )
    trials = [study.ask() for _ in range(16)]
    began_s = time.process_time()
    for trial in trials:
        trial.report(0.0, int(rungs[0]))
        trial.should_prune()
    return (time.process_time() - began_s) / len(trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*STUDIES, "cost"], default=[*STUDIES, "cost"])
    parser.add_argument("--real", nargs="*", default=["successive_halving"], metavar="KIND")
    parser.add_argument("--keep", type=Path, help="keep the studies there, and use those there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.only:
            if name == "cost":
                cost()
                continue
            unpruned = run(name, folder)
            replays(name, unpruned)
            for kind in arguments.real:
                real(name, folder, unpruned, kind)


if __name__ == "__main__":
    main()
