"""Which engine may run an experiment, and which is fastest: tried, never assumed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.function_trial import FunctionExperiment
from phasecube.engine.probe import TrialSteps, probe
from phasecube.engine.record import Engine
from phasecube.engine.trials import Trials

__all__ = ["EngineChoice", "choose_engine"]

Requested = Literal["auto", "vmap", "vmap_gradient", "sequential"]
N_STEPS = 3
# Vector kernels leave up to 31 numbers at a tensor's end to scalar code, which for gelu,
# silu, sigmoid, softplus, elu, pow and others rounds differently: 32 lanes hold them always.
SPARE_LANES = (0, 1, 4, 32)
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
            found, reason = probe(
                experiment, trials, kind, where, spare=spare, may_decline=may_decline
            )
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


def admit(experiment: Experiment[Any], trials: Trials, kind: Engine, device: torch.device) -> int:
    """Return how many spare lanes `kind` needs; raise Refused where it may not run at all.

    It may where it gives the numbers of the sequential run, lane by lane, and on a CPU the
    same bits whatever the company.
    """
    three = _three_unlike(trials)
    ones = [three.take([i]) for i in range(len(three))]
    try:
        alone = [_trace(experiment, one, Engine.SEQUENTIAL, device) for one in ones]
    except Exception as error:
        raise Refused(f"even alone it raises {_first_line(error)}") from error
    for spare in SPARE_LANES:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=".*performance drop.*")
                packed = _trace(experiment, three, kind, device, spare)
                single = [_trace(experiment, one, kind, device, spare) for one in ones]
        except Exception as error:
            raise Refused(f"raises {_first_line(error)}") from error
        for lane, sequential in enumerate(alone):
            _compare(packed, sequential, lane)
        if device.type != "cpu" or all(_same_bits(packed, i, t) for i, t in enumerate(single)):
            return spare
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


def _three_unlike(trials: Trials) -> Trials:
    return trials.take([0, len(trials) // 2, len(trials) - 1])


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
