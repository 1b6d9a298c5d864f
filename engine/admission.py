"""Which engine may run an experiment, and which is fastest: tried, never assumed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phasecube.engine.choice import EngineChoice
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import ENGINE_MEASURES, Experiment
from phasecube.engine.function_trial import FunctionExperiment
from phasecube.engine.place_rounding import spare_lanes
from phasecube.engine.probe import ONE_PLAIN, TrialSteps, probe
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
            choice = admit(experiment, trials, kind, where)
        except Refused as refusal:
            refusals.append(f"{kind.name.lower()}: {refusal}")
            continue
        if lanes == "auto":
            found, reason = _probed(experiment, trials, choice, where, requested == "auto")
            if found == 0:
                return EngineChoice(Engine.SEQUENTIAL, 1, False, reason)
        else:
            found, reason = lanes, "lanes as requested"
        choice = replace(choice, lanes=found, reason="; ".join([*refusals, reason]))
        return compiled(experiment, trials, choice, where) if compile else choice
    if requested != "auto":
        raise ExperimentError(
            f"engine = {requested!r} cannot run {experiment.name} ({'; '.join(refusals)}); "
            "use engine = 'auto'"
        )
    return EngineChoice(Engine.SEQUENTIAL, 1, False, "; ".join(refusals))


def _probed(
    experiment: Experiment[Any],
    trials: Trials,
    choice: EngineChoice,
    device: torch.device,
    may_decline: bool,
) -> tuple[int, str]:
    try:
        return probe(experiment, trials, choice, device, may_decline=may_decline)
    except Exception:  # noqa: BLE001 one of the trials raises: time those that do not
        sound = _sound(experiment, trials, len(trials), device)
        return probe(experiment, sound, choice, device, may_decline=may_decline)


def admit(
    experiment: Experiment[Any], trials: Trials, kind: Engine, device: torch.device
) -> EngineChoice:
    """Return `kind` with the spare lanes it needs; raise Refused where it may not run at all.

    It may where it gives the numbers of the sequential run, lane by lane, and on a CPU the
    same bits whatever the company.
    """
    three, alone = _three_unlike(experiment, trials, device)
    ones = [three.take([i]) for i in range(len(three))]
    choice = EngineChoice(kind, len(three), False, "admitted")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*performance drop.*")
            lanes = TrialSteps(experiment, three, choice, device)
            own = _own_measures(experiment)

            def look(gradient_KP: Tensor) -> None:
                if own:
                    lanes.measure(own, gradient_KP)

            needed = spare_lanes(lambda: lanes.step(look)) if device.type == "cpu" else 0
            for spare in [needed, *(n for n in SPARE_LANES if n > needed)]:
                choice = replace(choice, spare=spare)
                packed = _trace(experiment, three, choice, device)
                for lane, sequential in enumerate(alone):
                    _compare(packed, lane, sequential, 0)
                if device.type != "cpu":
                    return choice
                single = [_trace(experiment, one, choice, device) for one in ones]
                if all(_same_bits(packed, lane, one, 0) for lane, one in enumerate(single)):
                    return choice
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"raises {_first_line(error)}") from error
    raise Refused("the last bits of a trial change with its company")


def compiled(
    experiment: Experiment[Any], trials: Trials, choice: EngineChoice, device: torch.device
) -> EngineChoice:
    """Return `choice` compiled, or as it is with the reason why it stays so."""
    forth = _sound(experiment, trials, choice.lanes, device)
    back = forth.take(np.arange(len(forth))[::-1])
    with_compiler = replace(choice, compiled=True)
    try:
        eager = _trace(experiment, forth, choice, device)
        found, turned, one = (
            _trace(experiment, some, with_compiler, device)
            for some in (forth, back, forth.take([0]))
        )
        for lane in range(len(forth)):
            _compare(found, lane, eager, lane)
        if device.type == "cpu":
            _same_in_every_place(found, turned, one)
    except Exception as error:  # noqa: BLE001 a compiler may raise anything; eager stands
        why = str(error) if isinstance(error, Refused) else _first_line(error)
        return replace(choice, reason=f"{choice.reason}; not compiled: {why}")
    return replace(with_compiler, reason=f"{choice.reason}; compiled")


def _same_in_every_place(forth: Trace, back: Trace, alone: Trace) -> None:
    last = forth.losses.shape[1] - 1
    if not all(_same_bits(forth, lane, back, last - lane) for lane in range(last + 1)):
        raise Refused("the last bits of a trial change with its place")
    if not _same_bits(forth, 0, alone, 0):
        raise Refused("the last bits of a trial change with its company")


def _sound(experiment: Experiment[Any], trials: Trials, n: int, device: torch.device) -> Trials:
    """Return `n` trials, some of them alike, of which none raises."""
    three, _ = _three_unlike(experiment, trials, device)
    return three.take([i % len(three) for i in range(n)])


def _trace(
    experiment: Experiment[Any], trials: Trials, choice: EngineChoice, device: torch.device
) -> Trace:
    lanes = TrialSteps(experiment, trials, choice, device)
    gradients: list[Tensor] = []
    losses = [lanes.step(lambda g: gradients.append(g.clone())) for _ in range(N_STEPS)]
    own = _own_measures(experiment)
    return Trace(
        torch.stack(losses),
        torch.stack(gradients),
        {name: t.clone() for name, t in lanes.state.frozen.items()},
        lanes.measure(own, gradients[-1]) if own else {},
    )


def _own_measures(experiment: Experiment[Any]) -> frozenset[str]:
    return frozenset(experiment.measures).difference(ENGINE_MEASURES)


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
            trace = _trace(experiment, trials.take([place]), ONE_PLAIN, device)
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


def _compare(one: Trace, lane: int, other: Trace, other_lane: int) -> None:
    """Raise Refused where a lane's numbers differ by more than rounding."""
    _close("losses", one.losses[:, lane], other.losses[:, other_lane])
    _close("gradients", one.gradients[:, lane], other.gradients[:, other_lane])
    for name, tensor in one.frozen.items():
        mine, theirs = tensor[lane], other.frozen[name][other_lane]
        if mine.is_floating_point():
            _close(f"buffer {name}", mine, theirs)
        elif not torch.equal(mine, theirs):
            raise Refused(f"buffer {name} differs from the sequential run")
    for name, value in one.measures.items():
        # Values may hang on a tie (accuracy of equal logits); shapes may not.
        if value.shape[1:] != other.measures[name].shape[1:]:
            raise Refused(f"measure {name} has another shape than in the sequential run")


def _close(what: str, packed: Tensor, alone: Tensor) -> None:
    scale = alone.nan_to_num().abs().max() if alone.numel() else torch.zeros(())
    atol = float(scale) * RELATIVE_TOLERANCE.get(packed.dtype, 1e-3)
    if not torch.allclose(packed, alone, rtol=0, atol=atol, equal_nan=True):
        raise Refused(f"{what} differ from the sequential run")


def _same_bits(one: Trace, lane: int, other: Trace, other_lane: int) -> bool:
    pairs = [
        (one.losses[:, lane], other.losses[:, other_lane]),
        (one.gradients[:, lane], other.gradients[:, other_lane]),
        *((t[lane], other.frozen[name][other_lane]) for name, t in one.frozen.items()),
        *((t[lane], other.measures[name][other_lane]) for name, t in one.measures.items()),
    ]
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line[:200]}"
