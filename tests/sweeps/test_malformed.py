"""Every malformed sweep file is refused with these very messages, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasecube.engine.errors import SpecError
from phasecube.engine.experiment import ENGINE_MEASURES
from phasecube.engine.measures import GENERAL_MEASURES
from phasecube.engine.params import RunParams
from phasecube.sweeps.analyses import ANALYSES
from phasecube.sweeps.plan import expand
from phasecube.sweeps.sweep import parse_sweep, read_sweep

FOLDER = Path(__file__).parent
HEAD = 'name = "toy"\nexperiment = "my_experiment.py:Toy"\n'
MEASURES = ", ".join(sorted({*ENGINE_MEASURES, *GENERAL_MEASURES, "costly", "norms", "val_loss"}))
PARAMETERS = (
    "activation, adamw_lr_ratio, adamw_weights, adjust_lr, beta1, beta2, biased, branch_step, budgets, clip_norm, "
    "decay_fraction, decay_type, depth, dtype, eps, final_lr_fraction, gradient_projection, "
    "heads, independent_weight_decay, l2, lookahead, lr, momentum, nesterov, noise, optimizer, parent_trial, "
    "sam_rho, schedule, seed, state_block_size, state_code, state_min_size, steps, warmup_steps, "
    "weight_decay, width"
)

# rule: (the file after HEAD, or the whole file where it begins with "!", its faults)
TOY = ("activation", "biased", "depth", "heads", "noise", "width")

CASES: dict[str, tuple[str, list[str]]] = {
    "unknown top-level key": (
        "axis = 1",
        [
            "axis: unknown key; did you mean 'axes'? known are: analyses, axes, cluster, derived, experiment, fixed, name, pruner, question, record, resources, sampler, stop, title, when, where, zip"
        ],
    ),
    "missing name": (
        '!experiment = "my_experiment.py:Toy"',
        ["name: is missing; a sweep names it"],
    ),
    "not TOML": (
        "axes = [",
        ["end of document: no TOML: invalid value; texts stand in quotes, each key stands once"],
    ),
    "bad name": (
        '!name="A b"\nexperiment = "my_experiment.py:Toy"',
        ["name: takes a-z, 0-9, - and _, starting with a letter or digit; got 'A b'"],
    ),
    "unknown fixed": (
        "[fixed]\nwidht = 3",
        [f"fixed.widht: unknown parameter; did you mean 'width'? known are: {PARAMETERS}"],
    ),
    "type": ("[fixed]\nwidth = 1.5", ["fixed.width: input should be a valid integer, got 1.5"]),
    "bounds": (
        "[axes.noise]\nvalues = [0.5, 1.5]",
        ["axes.noise.values[1]: input should be less than or equal to 1, got 1.5"],
    ),
    "text for number": (
        '[axes.lr]\nvalues = [0.1, "big"]',
        ["axes.lr.values[1]: input should be a valid number, got 'big'"],
    ),
    "bool for int": (
        "[fixed]\nwidth = true",
        ["fixed.width: input should be a valid integer, got True"],
    ),
    "empty axis": ("[axes.lr]\nvalues = []", ["axes.lr.values: is empty; give at least one value"]),
    "no values": (
        '[axes.lr]\nunit = "1/step"',
        [
            "axes.lr: an axis takes exactly one of values, linear, geometric, integers, between, choices; got none"
        ],
    ),
    "two ranges": (
        "[axes.lr]\nvalues = [0.1]\nlinear = { start = 0.0, stop = 1.0, count = 3 }",
        [
            "axes.lr: an axis takes exactly one of values, linear, geometric, integers, between, choices; got values and linear"
        ],
    ),
    "log through 0": (
        "[axes.lr]\ngeometric = { start = 0.0, stop = 1.0, count = 3 }",
        [
            "axes.lr.geometric: a geometric range needs start and stop > 0, got 0 and 1; begin at a small positive value, or use linear"
        ],
    ),
    "log sign": (
        "[axes.lr]\ngeometric = { start = -1.0, stop = 1.0, count = 3 }",
        [
            "axes.lr.geometric: a geometric range needs start and stop > 0, got -1 and 1; begin at a small positive value, or use linear"
        ],
    ),
    "log scale": (
        '[axes.noise]\nvalues = [0.0, 1.0]\nscale = "log"',
        [
            "axes.noise: a log scale needs values > 0; take out those that are not, or use scale = 'linear'"
        ],
    ),
    "count": (
        "[axes.lr]\nlinear = { start = 0.0, stop = 1.0, count = 1 }",
        ["axes.lr.linear.count: input should be greater than or equal to 2; got 1"],
    ),
    "missing count": (
        "[axes.lr]\nlinear = { start = 0.0, stop = 1.0 }",
        ["axes.lr.linear.count: is missing"],
    ),
    "int step": (
        "[axes.width]\nintegers = { start = 1, stop = 9, step = 0 }",
        ["axes.width.integers.step: input should be greater than or equal to 1; got 0"],
    ),
    "int empty": (
        "[axes.width]\nintegers = { start = 9, stop = 1 }",
        [
            "axes.width.integers: an integer range from 9 to 1 is empty; stop is included and must not be below start"
        ],
    ),
    "nan": (
        "[axes.lr]\nvalues = [0.1, nan]",
        ["axes.lr.values[1]: takes a finite number; got nan"],
    ),
    "inf range": (
        "[axes.lr]\nlinear = { start = 0.0, stop = inf, count = 3 }",
        ["axes.lr.linear.stop: input should be a finite number; got inf"],
    ),
    "twice": (
        "[axes.lr]\nvalues = [0.1, 1e-1]",
        ["axes.lr.values[1]: 0.1 stands twice on this axis; name each value once"],
    ),
    "axis and fixed": (
        "[fixed]\nlr = 0.1\n[axes.lr]\nvalues = [0.1]",
        ["axes.lr: 'lr' is given by fixed.lr too; a parameter has one source"],
    ),
    "axis and zip": (
        "[axes.width]\nvalues = [32]\n[zip.size]\nwidth = [32, 64]\ndepth = [1, 2]",
        ["zip.size.width: 'width' is given by axes.width too; a parameter has one source"],
    ),
    "axis derived": (
        '[axes.width]\nvalues = [32]\n[derived]\nwidth = "2 * depth"',
        ["derived.width: 'width' is given by axes.width too; a parameter has one source"],
    ),
    "two whens overlap": (
        '[axes.width]\nvalues = [32, 64]\n[[when]]\nif = "width > 16"\n[when.axes.noise]\nvalues = [0.1]\n[[when]]\nif = "width > 32"\n[when.axes.noise]\nvalues = [0.2]',
        [
            "when[1].axes.noise: is given by when[0] too where both 'width > 16' and 'width > 32' hold; a parameter has one source"
        ],
    ),
    "axis and when": (
        '[axes.noise]\nvalues = [0.1]\n[[when]]\nif = "biased"\n[when.axes.noise]\nvalues = [0.1]',
        ["when[0].axes.noise: 'noise' is given by axes.noise too; a parameter has one source"],
    ),
    "when derived": (
        '[derived]\nwidth = "2 * depth"\n[[when]]\nif = "width > 2"\n[when.axes.noise]\nvalues = [0.1]',
        ["when[0].if: 'width' is derived; write what it derives from"],
    ),
    "when too early": (
        '[[when]]\nif = "noise > 0"\n[when.axes.heads]\nvalues = [1, 2]\n[[when]]\nif = "biased"\n[when.axes.noise]\nvalues = [0.1]',
        ["when[0].if: 'noise' is swept here or below; move its [[when]] up"],
    ),
    "when no rest": (
        '[derived]\nlr = "0.1 * c"\n[[when]]\nif = "biased"\n[when.axes.c]\nvalues = [1, 2]',
        ["when[0].axes.c: has no value elsewhere; give one in [fixed], c = ..."],
    ),
    "when without axes": ('[[when]]\nif = "biased"', ["when[0].axes: is missing"]),
    "when unknown key": (
        '[[when]]\nif = "biased"\nthen = 3\n[when.axes.noise]\nvalues = [0.1]',
        ["when[0].then: unknown key; known are: axes, if"],
    ),
    "axis unknown key": (
        "[axes.lr]\nvalues = [0.1]\nvalue = 3",
        [
            "axes.lr.value: unknown key; did you mean 'values'? known are: between, choices, geometric, integers, label, linear, scale, unit, values"
        ],
    ),
    "range unknown key": (
        "[axes.lr]\nlinear = { start = 0.0, stop = 1.0, count = 3, steps = 2 }",
        ["axes.lr.linear.steps: unknown key; did you mean 'stop'? known are: count, start, stop"],
    ),
    "cluster unknown key": (
        '[cluster.slurm]\nmem = "8G"',
        [
            "cluster.slurm.mem: unknown key; did you mean 'memory'? known are: account, constraint, cpus, drift, gpus, gres, memory, notice_s, packs_per_job, partition, processes, profile, python, qos, requeues, sbatch, setup, throttle, walltime"
        ],
    ),
    "cluster values": (
        '[cluster.slurm]\nmemory = "8GiB"\nwalltime = 4\naccount = "a\\nb"\ngpus = 0',
        [
            "cluster.slurm.account: is one line of text; got 'a\\nb'",
            "cluster.slurm.gpus: input should be greater than or equal to 1; got 0",
            'cluster.slurm.memory: takes a memory like "800M", "8G" or "1.5T"; got \'8GiB\'',
            'cluster.slurm.walltime: takes a time in quotes, like "4h" or "1-12:00:00"; got 4',
        ],
    ),
    "resources unknown key": (
        "[resources]\nlane = 3",
        [
            "resources.lane: unknown key; did you mean 'lanes'? known are: checkpoint_every_s, compile, device, engine, lanes, max_trials, pack_size, processes, threads, trial_walltime_s"
        ],
    ),
    "no name": (
        '[fixed]\n"a b" = 3',
        ["fixed.\"a b\": is no name; names are letters, digits and _; got 'a b'"],
    ),
    "number in quotes": (
        '[axes.lr]\nlinear = { start = 0.0, stop = "1.0", count = 3 }',
        ["axes.lr.linear.stop: input should be a valid number; got '1.0'"],
    ),
    "linear integers": (
        "[axes.width]\nlinear = { start = 8, stop = 9, count = 3 }",
        ["axes.width: input should be a valid integer, got 8.5"],
    ),
    "geometric integers too close": (
        "[axes.width]\ngeometric = { start = 2, stop = 4, count = 5 }",
        [
            "axes.width: 2 stands twice on this axis; name each value once",
            "axes.width: 3 stands twice on this axis; name each value once",
        ],
    ),
    "zip entry twice": (
        "[zip.size]\nwidth = [8, 8]\ndepth = [1, 1]",
        ["zip.size: entry 1 repeats entry 0"],
    ),
    "axis named as a measure": (
        '[axes.val_loss]\nvalues = [1, 2]\n[derived]\nlr = "0.1 * val_loss"',
        ["axes.val_loss: 'val_loss' is a name the cube keeps for itself; call the axis otherwise"],
    ),
    "axis named as a dim of a measure": (
        '[axes.layer]\nvalues = [1, 2]\n[derived]\nlr = "0.1 * layer"',
        ["axes.layer: 'layer' is a name the cube keeps for itself; call the axis otherwise"],
    ),
    "broken axis that an expression reads": (
        '[axes.c]\nvalues = []\n[derived]\nlr = "0.1 * c"',
        ["axes.c.values: is empty; give at least one value"],
    ),
    "measure twice": (
        '[record]\nmeasures = ["val_loss", "val_loss"]',
        ["record.measures[1]: 'val_loss' stands twice; name each measure once"],
    ),
    "target is a vector": (
        '[record]\nmeasures = ["val_loss", "norms"]\n[stop]\ntarget = { measure = "norms", above = 0.9 }',
        ["stop.target.measure: 'norms' is a vector; name one of val_loss"],
    ),
    "too many records": (
        "[fixed]\nsteps = 2_000_000_000\n[record]\nsteps = { every = 5 }",
        [
            "record.steps: every = 5 of 2,000,000,000 steps is 400,000,000 records a trial, more than 100,000; raise it, or use { log = 100 }"
        ],
    ),
    "a number of more than 64 bits": (
        "[fixed]\nseed = 99999999999999999999",
        ["fixed.seed: takes a whole number of 64 bits; got 99999999999999999999"],
    ),
    "negative step": (
        "[record]\nsteps = [-1, 5]",
        ["record.steps[0]: input should be greater than or equal to 0; got -1"],
    ),
    "where is no condition": (
        'where = ["lr * 2"]',
        ["where[0]: a condition is true or false; compare with something, got 0.2 at lr = 0.1"],
    ),
    "where is a text": (
        'where = "lr < 1"',
        ["where: is a list, written [like, this]; got 'lr < 1'"],
    ),
    "derived is a number": (
        "[derived]\nlr = 0.1",
        ["derived.lr: is an expression in quotes; a constant belongs to [fixed]; got 0.1"],
    ),
    "derived optimizer": (
        "[derived]\noptimizer = \"'sdg' if biased else 'adam'\"\n[axes.biased]\nvalues = [true, false]",
        [
            "derived.optimizer: unknown optimizer 'sdg'; did you mean 'sgd'? known are: adam, adamw, adamw_8bit, lion, muon, sgd, triple_momentum at biased = True"
        ],
    ),
    "many alike": (
        '[axes.noise]\nlinear = { start = 0.0, stop = 1.0, count = 6 }\n[derived]\ndepth = "40 * noise + 9"',
        [
            "derived.depth: input should be less than or equal to 8, got 9.0 at noise = 0.0",
            "derived.depth: input should be less than or equal to 8, got 17.0 at noise = 0.2",
            "derived.depth: input should be less than or equal to 8, got 25.0 at noise = 0.4 (and 3 more like it)",
        ],
    ),
    "two fail": (
        '[axes.noise]\nvalues=[0.0, 0.5]\n[derived]\nlr = "1 / noise"\nwidth = "int(1 / noise)"',
        [
            "derived.lr: '1 / noise' fails at noise = 0.0: float division by zero",
            "derived.width: 'int(1 / noise)' fails at noise = 0.0: float division by zero",
        ],
    ),
    "device": (
        '[resources]\ndevice = "gpu"',
        ["resources.device: takes 'cpu', 'cuda' or a numbered one such as 'cuda:1'; got 'gpu'"],
    ),
    "analysis select": (
        '[axes.lr]\nvalues = [0.1, 0.2]\n[[analyses]]\nkind = "curves"\nmeasures = ["val_loss"]\nselect = { lr = [0.1, 0.2] }',
        ["analyses[0].select.lr: fixes the axis at one value; give one, not several"],
    ),
    "analysis over": (
        '[axes.lr]\nvalues = [0.1]\n[[analyses]]\nkind = "curves"\nover = ["sed"]\nmeasures = ["val_los"]\nselect = { noise = 0.1 }',
        [
            "analyses[0].over: 'sed' is no axis; did you mean 'seed'? known are: lr, seed",
            "analyses[0].measures: 'val_los' is not recorded; did you mean 'val_loss'? known are: gradient_norm, norms, train_loss, val_loss, weight_norm",
            "analyses[0].select: 'noise' is no axis; known are: lr",
        ],
    ),
    "zip lengths": (
        "[zip.size]\nwidth = [32, 64]\ndepth = [1]",
        ["zip.size: zipped lists have one length; width has 2, depth has 1"],
    ),
    "zip name": (
        "[axes.lr]\nvalues=[0.1]\n[zip.lr]\nwidth = [32, 64]",
        [
            "zip.lr: the dimension 'lr' exists already; call the zip otherwise",
        ],
    ),
    "unknown axis": (
        "[axes.learning_rate]\nvalues = [0.1]",
        [f"axes.learning_rate: unknown parameter; known are: {PARAMETERS}"],
    ),
    "reserved": (
        "[axes.step]\nvalues = [1]",
        ["axes.step: 'step' is a name the cube keeps for itself; call the axis otherwise"],
    ),
    "optimizer": (
        '[fixed]\noptimizer = "adm"',
        [
            "fixed.optimizer: unknown optimizer 'adm'; did you mean 'adam'? known are: adam, adamw, adamw_8bit, lion, muon, sgd, triple_momentum"
        ],
    ),
    "not taken": (
        '[fixed]\noptimizer = "adam"\n[axes.weight_decay]\nvalues = [0.0, 1.0]',
        [
            "axes.weight_decay: adam does not take weight_decay; it takes beta1, beta2, eps, l2; weight_decay belongs to sgd, adamw, adamw_8bit, lion, muon"
        ],
    ),
    "measure": (
        '[record]\nmeasures = ["val_los"]',
        [
            f"record.measures[0]: unknown measure 'val_los'; did you mean 'val_loss'? known are: {MEASURES}"
        ],
    ),
    "target": (
        '[stop]\ntarget = { measure = "costly", above = 0.9 }',
        [
            "stop.target.measure: 'costly' is not recorded; known are: gradient_norm, train_loss, val_loss, weight_norm"
        ],
    ),
    "target sides": (
        '[stop]\ntarget = { measure = "val_loss" }',
        ["stop.target: a target takes exactly one of above and below"],
    ),
    "steps": (
        "[record]\nsteps = { evry = 3 }",
        [
            "record.steps.evry: unknown key; did you mean 'every'? known are: every, log",
            "record.steps: steps take { every = 10 }, { log = 100 } or a list like [0, 10, 100]",
        ],
    ),
    "steps order": (
        "[record]\nsteps = [10, 5]",
        ["record.steps: explicit steps increase and stand once each"],
    ),
    "where unknown": (
        'where = ["lr * widht < 1"]',
        [f"where[0]: unknown name 'widht'; did you mean 'width'? known are: {PARAMETERS}"],
    ),
    "where syntax": ('where = ["lr <"]', ["where[0]: 'lr <' is no expression: invalid syntax"]),
    "where attribute": (
        'where = ["lr.__class__ == 1"]',
        [
            "where[0]: 'lr.__class__ == 1' holds an attribute (a dot after a name), which expressions do not have"
        ],
    ),
    "where function": (
        'where = ["open(1)"]',
        [
            "where[0]: 'open(1)' calls 'open'; the functions are sqrt, log, log2, log10, exp, min, max, abs, round, floor, ceil, int, float"
        ],
    ),
    "cycle": (
        '[derived]\nwidth = "2 * depth"\ndepth = "width / 2"',
        [
            "derived.width: derives from itself: width -> depth -> width",
            "derived.depth: derives from itself: depth -> width -> depth",
        ],
    ),
    "too large": (
        "[axes.lr]\nlinear = { start = 0.1, stop = 1.0, count = 2000 }\n[axes.noise]\nlinear = { start = 0.0, stop = 1.0, count = 2000 }",
        [
            "axes: lr 2000 x noise 2000 = 4,000,000 cells, more than resources.max_trials = 1,000,000; take values out, or raise the limit"
        ],
    ),
    "axis too long": (
        "[axes.seed]\nintegers = { start = 0, stop = 1_000_000_000_000 }",
        [
            "axes.seed: has 1,000,000,000,001 values, more than resources.max_trials = 1,000,000; take values out, or raise the limit"
        ],
    ),
    "analysis kind": (
        '[[analyses]]\nkind = "groking"',
        [
            "analyses[0].kind: unknown analysis 'groking'; did you mean 'grokking'? known are: "
            + ", ".join(sorted(ANALYSES))
        ],
    ),
    "analysis that lacks what it draws": (
        '[[analyses]]\nkind = "slices"\nmeasure = "val_loss"\nby = "wdth"',
        [
            "analyses[0].x: is missing; slices cannot be drawn without it",
            "analyses[0].by: 'wdth' is no axis; known are: layer",
        ],
    ),
    "analysis of measures that are not recorded": (
        '[[analyses]]\nkind = "entropy_law"\nreward = "val_los"',
        [
            "analyses[0].entropy: reads 'entropy', which is not recorded; add it to record.measures, or name another with entropy",
            "analyses[0].reward: 'val_los' is not recorded; did you mean 'val_loss'? known are: gradient_norm, norms, train_loss, val_loss, weight_norm",
        ],
    ),
    "analysis of a learning rate that is no axis": (
        '[[analyses]]\nkind = "lr_stability"\nlr = "lrr"\nsensitivity = "val_loss"\n[record]\nmeasures = ["train_loss"]',
        [
            "analyses[0].lr: 'lrr' is no axis; known are: none",
            "analyses[0].sensitivity: 'val_loss' is not recorded; did you mean 'train_loss'? known are: train_loss",
        ],
    ),
    "analyses of how a boundary moves and sharpens": (
        '[[analyses]]\nkind = "boundary_law"\nmeasure = "val_loss"\nagainst = "widht"\n[[analyses]]\nkind = "finite_size"\nmeasure = "val_loss"\nsize = "n"',
        [
            "analyses[0].against: 'widht' is no axis; known are: none",
            "analyses[1].x: is missing; finite_size cannot be drawn without it",
            "analyses[1].size: 'n' is no axis; known are: none",
        ],
    ),
    "analysis with expressions that cannot be drawn": (
        '[[analyses]]\nkind = "trajectories"\nmeasure = "val_loss"\ntimes = "lr *"\nreference = ["step / widht", "1 / noise"]',
        [
            "analyses[0].times: 'lr *' is no expression: invalid syntax",
            "analyses[0].reference: 'widht' is no axis and no parameter; did you mean 'width'? known are: "
            + ", ".join(sorted({*RunParams.model_fields, *TOY, "layer", "step"})),
        ],
    ),
    "measure of another optimizer": (
        '[axes.optimizer]\nvalues = ["adam", "sgd"]\n[record]\nmeasures = ["sharpness", "preconditioned_sharpness"]',
        [
            "record.measures[1]: preconditioned_sharpness is of adam and adamw only, and the sweep has sgd",
        ],
    ),
    "more values than any index": (
        "[axes.lr]\ngeometric = { start = 0.01, stop = 1.0, count = 9223372036854775808 }",
        [
            "axes.lr: has 9,223,372,036,854,775,808 values, more than resources.max_trials = 1,000,000; take values out, or raise the limit",
        ],
    ),
    "analysis option": (
        '[[analyses]]\nkind = "curves"\nmeasure = "val_loss"',
        [
            "analyses[0].measure: unknown option; did you mean 'measures'? known are: measures, over, scale, select, title, x, y"
        ],
    ),
    "analysis axis": (
        '[[analyses]]\nkind = "curves"\nx = "lr"',
        ["analyses[0].x: 'lr' is no axis; known are: none"],
    ),
    "lanes": (
        "[resources]\nlanes = 0",
        ["resources.lanes: takes a whole number from 1 to 1,000,000, or 'auto'; got 0"],
    ),
    "engine": (
        '[resources]\nengine = "fast"',
        [
            "resources.engine: input should be 'auto', 'vmap', 'vmap_gradient' or 'sequential'; got 'fast'"
        ],
    ),
    "table": ("fixed = 3", ["fixed: is a table, written [like.this] or { like = this }; got 3"]),
    "where none": ('where = ["lr > 10"]', ["where: leaves no trial; loosen a condition"]),
    "derive bounds": (
        '[axes.noise]\nvalues=[0.0, 0.5]\n[derived]\ndepth = "20 * noise"',
        [
            "derived.depth: input should be greater than or equal to 1, got 0.0 at noise = 0.0",
            "derived.depth: input should be less than or equal to 8, got 10.0 at noise = 0.5",
        ],
    ),
    "derive fail": (
        '[axes.noise]\nvalues=[0.0, 0.5]\n[derived]\nlr = "1 / noise"',
        ["derived.lr: '1 / noise' fails at noise = 0.0: float division by zero"],
    ),
    "cross": ("[fixed]\nheads = 3", ["fixed.heads: width 32 is no multiple of heads 3"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_sweep_is_refused_with_its_message(case: str) -> None:
    body, expected = CASES[case]
    text = body[1:] if body.startswith("!") else HEAD + body
    with pytest.raises(SpecError) as caught:
        expand(parse_sweep(text, FOLDER))
    assert [str(fault) for fault in caught.value.faults] == expected


def test_faults_of_combinations_come_with_those_of_sections_that_are_no_trial() -> None:
    text = HEAD + '[fixed]\nheads = 3\n[record]\nmeasures = ["val_los"]\n[resources]\nlanes = 0\n'
    with pytest.raises(SpecError) as caught:
        parse_sweep(text, FOLDER)
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["fixed.heads", "record.measures[0]", "resources.lanes"]


def test_a_function_that_declares_no_measures_must_be_told_them() -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep('name = "a"\nexperiment = "my_experiment.py:train"', FOLDER)
    assert [str(fault) for fault in caught.value.faults] == [
        "record.measures: is missing; the function declares none, name what it reports"
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("modular_arithmetics", "modular_arithmetic"),
        ("gone.py:Toy", "gone.py"),
        ("my_experiment.py:Tox", "Tox"),
    ],
)
def test_an_experiment_that_cannot_be_loaded_is_a_fault(reference: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(f'name = "a"\nexperiment = "{reference}"', FOLDER)
    (fault,) = caught.value.faults
    assert fault.path == "experiment"
    assert message in fault.message


def test_all_faults_come_in_one_message_and_in_file_order() -> None:
    text = (
        HEAD
        + """
nme = "x"
[fixed]
widht = 3
depth = 1.5
[axes.lr]
geometric = { start = 0.0, stop = 1.0, count = 3 }
[axes.noise]
values = []
[record]
measures = ["val_los"]
[[analyses]]
kind = "groking"
[resources]
lanes = 0
"""
    )
    with pytest.raises(SpecError) as caught:
        parse_sweep(text, FOLDER, "toy.toml")
    assert [fault.path for fault in caught.value.faults] == [
        "nme",
        "fixed.widht",
        "fixed.depth",
        "axes.lr.geometric",
        "axes.noise.values",
        "record.measures[0]",
        "analyses[0].kind",
        "resources.lanes",
    ]
    assert str(caught.value).startswith("toy.toml has 8 faults:")


def test_a_file_that_is_not_there_is_a_fault_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read_sweep(tmp_path / "gone.toml")
