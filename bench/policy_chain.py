"""What learning a policy costs on the sum-modulo chain: packed against one trial at a time.

    python bench/policy_chain.py [--algorithm grpo --lanes 16 --steps 1200]

One thread. 32 prompts x 8 answers of 3 tokens out of 10, 8 updates a collection; what is
recorded by default is taken at every collection, in memory. The sequential engine trains one
trial of the same steps. CPU seconds of the thread, the best of three.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from phasecube.engine.allocator import keep_large_blocks
from phasecube.engine.choice import EngineChoice
from phasecube.engine.experiment import ENGINE_MEASURES
from phasecube.engine.experiments.sum_chain import SumChain
from phasecube.engine.params import parameters
from phasecube.engine.record import Engine, PackRecord, RecordRule, StopRule
from phasecube.engine.run_pack import run_pack
from phasecube.engine.trials import Trials

UPDATES, REPEATS = 8, 3


def main() -> None:
    """Print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", default="grpo")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_large_blocks()  # as a worker does
    seconds = {}
    for engine, lanes in ((Engine.VMAP_FORWARD, asked.lanes), (Engine.SEQUENTIAL, 1)):
        taken_s = [trained(engine, lanes, asked.algorithm, asked.steps) for _ in range(REPEATS)]
        seconds[engine] = min(taken_s) / lanes
        print(f"{engine.name.lower():<14}{lanes:>3} lanes {seconds[engine]:>8.3f} s a trial")
    ratio = seconds[Engine.SEQUENTIAL] / seconds[Engine.VMAP_FORWARD]
    print(f"{asked.algorithm}, {asked.steps} steps: packed {ratio:.1f} x as fast")


def trained(engine: Engine, lanes: int, algorithm: str, steps: int) -> float:
    """Return the CPU seconds in which `lanes` trials are trained and recorded."""
    experiment = SumChain()
    known = parameters(experiment)
    values = {name: parameter.default for name, parameter in known.items()}
    values |= {"algorithm": algorithm, "steps": steps, "minibatches": UPDATES}
    static = {name: values[name] for name, p in known.items() if p.static}
    varying = {name: [values[name]] * lanes for name, p in known.items() if not p.static}
    trials = Trials(np.arange(lanes), static, varying | {"seed": list(range(lanes))})
    own = [name for name, measure in experiment.measures.items() if measure.recorded]
    at = np.arange(0, steps + 1, UPDATES)
    rule = RecordRule(at, (*ENGINE_MEASURES, *own), at[:0], {}, "float32")
    record = PackRecord.empty(lanes, rule)
    choice = EngineChoice(engine, lanes, False, "asked for by a benchmark")
    began_s = time.thread_time()
    if not run_pack(experiment, trials, record, rule, StopRule(), choice):
        raise RuntimeError("the pack did not end")
    return time.thread_time() - began_s


if __name__ == "__main__":
    main()
