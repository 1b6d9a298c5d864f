"""Which engine may run an experiment, and which is fastest: tried, never assumed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.function_trial import FunctionExperiment
from phasecube.engine.place_rounding import spare_lanes
from phasecube.engine.probe import TrialSteps, probe
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

__all__ = ["EngineChoice", "choose_engine"]

Requested = Literal["auto", "vmap", "vmap_gradient", "sequential"]
N_STEPS = 3
MORE_TRIED = 8  # trials beyond the first three, where some raise
SPARE_LANES = (1, 4, 32)  # tried beyond those that are known to be needed
# Two ways to order the same float operations: errors grow like eps * sqrt(operations), and
# N_STEPS of training amplify them. Wrong semantics are off by parts of the value itself.
RELATIVE_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}


@dataclass(frozen=True)
class Trace:
    """What a few steps gave each lane: losses [S, K], gradients [S, K, P], weights, buffers."""

    losses: Tensor
    gradients: Tensor
    frozen: dict[str, Tensor]
    measures: dict[str, Tensor]


class Refused(Exception):  # noqa: N818 an answer, not an error
    """Why an engine may not run an experiment."""


def choose_engine(
    experiment: Experiment[Any] | FunctionExperiment,
    trials: Trials,
    device: str = "cpu",
    requested: Requested = "auto",
    lanes: Literal["auto"] | int = "auto",
    compile: bool = False,  # noqa: A002 the sweep file's word
) -> EngineChoice:
    """Return the engine for a static group of which `trials` are some, and why.

    Raises ExperimentError where the requested engine cannot run the experiment.
    """
    if isinstance(experiment, FunctionExperiment):
        return EngineChoice(Engine.FUNCTION, 1, False, "a function trains one trial at a time")
    where = torch.device(device)
    if requested == "sequential":
        return EngineChoice(Engine.SEQUENTIAL, 1, False, "requested")
    kinds = {
        "auto": (Engine.VMAP_FORWARD, Engine.VMAP_GRADIENT),
        "vmap": (Engine.VMAP_FORWARD,),
        "vmap_gradient": (Engine.VMAP_GRADIENT,),
    }[requested]
    refusals = []
    for kind in kinds:
        try:
            spare = admit(experiment, trials, kind, where)
        except Refused as refusal:
            refusals.append(f"{kind.name.lower()}: {refusal}")
            continue
        if lanes == "auto":
            may_decline = requested == "auto"
            found, reason = _probed(experiment, trials, kind, where, spare, may_decline)
            if found == 0:
                return EngineChoice(Engine.SEQUENTIAL, 1, False, reason)
        else:
            found, reason = lanes, "lanes as requested"
        return EngineChoice(kind, found, compile, "; ".join([*refusals, reason]), spare)
    if requested != "auto":
        raise ExperimentError(
            f"engine = {requested!r} cannot run {experiment.name} ({'; '.join(refusals)}); "
            "use engine = 'auto'"
        )
    return EngineChoice(Engine.SEQUENTIAL, 1, False, "; ".join(refusals))


def _probed(
    experiment: Experiment[Any],
    trials: Trials,
    kind: Engine,
    device: torch.device,
    spare: int,
    may_decline: bool,
) -> tuple[int, str]:
    try:
        return probe(experiment, trials, kind, device, spare=spare, may_decline=may_decline)
    except Exception:  # noqa: BLE001 one of the trials raises: time those that do not
        three, _ = _three_unlike(experiment, trials, device)
        sound = three.take([i % len(three) for i in range(len(trials))])
        return probe(experiment, sound, kind, device, spare=spare, may_decline=may_decline)


def admit(experiment: Experiment[Any], trials: Trials, kind: Engine, device: torch.device) -> int:
    """Return how many spare lanes `kind` needs; raise Refused where it may not run at all.

    It may where it gives the numbers of the sequential run, lane by lane, and on a CPU the
    same bits whatever the company.
    """
    three, alone = _three_unlike(experiment, trials, device)
    ones = [three.take([i]) for i in range(len(three))]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*performance drop.*")
            lanes = TrialSteps(experiment, three, kind, device)
            needed = spare_lanes(lanes.step, len(three)) if device.type == "cpu" else 0
            for spare in [needed, *(n for n in SPARE_LANES if n > needed)]:
                packed = _trace(experiment, three, kind, device, spare)
                for lane, sequential in enumerate(alone):
                    _compare(packed, sequential, lane)
                if device.type != "cpu":
                    return spare
                single = [_trace(experiment, one, kind, device, spare) for one in ones]
                if all(_same_bits(packed, lane, one) for lane, one in enumerate(single)):
                    return spare
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"raises {_first_line(error)}") from error
    raise Refused("the last bits of a trial change with its company")


def _trace(
    experiment: Experiment[Any],
    trials: Trials,
    kind: Engine,
    device: torch.device,
    spare: int = 0,
) -> Trace:
    lanes = TrialSteps(experiment, trials, kind, device, spare=spare)
    found = [lanes.step() for _ in range(N_STEPS)]
    own = frozenset(experiment.measures).difference(ENGINE_MEASURES)
    return Trace(
        torch.stack([loss for loss, _ in found]),
        torch.stack([gradient for _, gradient in found]),
        {name: t.clone() for name, t in lanes.state.frozen.items()},
        lanes.engine.measure(own, found[-1][1]) if own else {},
    )


def _three_unlike(
    experiment: Experiment[Any], trials: Trials, device: torch.device
) -> tuple[Trials, list[Trace]]:
    """Return three trials that train alone, far apart where they can be, and their traces.

    Trials that raise are passed over: they will fail, and say nothing of the engine.
    """
    n = len(trials)
    apart = [0, n // 2, n - 1]
    others = np.linspace(0, n - 1, min(n, MORE_TRIED)).round().astype(int).tolist()
    found: list[tuple[int, Trace]] = []
    raised: Exception | None = None
    for place in [*apart, *(p for p in others if p not in apart)]:
        try:
            trace = _trace(experiment, trials.take([place]), Engine.SEQUENTIAL, device)
        except Exception as error:  # noqa: BLE001 user code may raise anything
            raised = error
            continue
        found.append((place, trace))
        if len(found) == len(apart):
            break
    if not found:
        assert raised is not None
        raise Refused(f"even alone it raises {_first_line(raised)}") from raised
    found += found[-1:] * (len(apart) - len(found))
    return trials.take([place for place, _ in found]), [trace for _, trace in found]


def _compare(packed: Trace, alone: Trace, lane: int) -> None:
    """Raise Refused where a lane's numbers are not those of the trial alone."""
    _close("losses", packed.losses[:, lane], alone.losses[:, 0])
    _close("gradients", packed.gradients[:, lane], alone.gradients[:, 0])
    for name, tensor in packed.frozen.items():
        if tensor.is_floating_point():
            _close(f"buffer {name}", tensor[lane], alone.frozen[name][0])
        elif not torch.equal(tensor[lane], alone.frozen[name][0]):
            raise Refused(f"buffer {name} differs from the sequential run")
    for name, value in packed.measures.items():
        # Values may hang on a tie (accuracy of equal logits); shapes may not.
        if value.shape[1:] != alone.measures[name].shape[1:]:
            raise Refused(f"measure {name} has another shape than in the sequential run")


def _close(what: str, packed: Tensor, alone: Tensor) -> None:
    scale = alone.nan_to_num().abs().max() if alone.numel() else torch.zeros(())
    atol = float(scale) * RELATIVE_TOLERANCE.get(packed.dtype, 1e-3)
    if not torch.allclose(packed, alone, rtol=0, atol=atol, equal_nan=True):
        raise Refused(f"{what} differ from the sequential run")


def _same_bits(packed: Trace, lane: int, alone: Trace) -> bool:
    pairs = [
        (packed.losses[:, lane], alone.losses[:, 0]),
        (packed.gradients[:, lane], alone.gradients[:, 0]),
        *((packed.frozen[name][lane], alone.frozen[name][0]) for name in packed.frozen),
        *((packed.measures[name][lane], alone.measures[name][0]) for name in packed.measures),
    ]
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}"
