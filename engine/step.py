"""Three ways to get the losses and gradients of K trials from code that is written for one.

All share the lanes' state and the update rules; they differ by rounding, so the one used
is part of a row's status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.utils._pytree import tree_map

from phasecube.engine.answers import Due, chosen_measures, collected, scalar_loss
from phasecube.engine.choice import EngineChoice
from phasecube.engine.draws import seed_of
from phasecube.engine.errors import ExperimentError
from phasecube.engine.experiment import Experiment
from phasecube.engine.lane_trial import Known, LaneCode, LaneParams, LaneTrial
from phasecube.engine.pack_state import PackState
from phasecube.engine.record import Engine
from phasecube.engine.streams import Stream

Tensors = Mapping[str, Tensor]
# The lanes' function of an experiment, its static parameters and a number of lanes. All
# that differs between packs is an argument, so it serves every pack of this process.
_COMPILED: dict[Any, tuple[LaneCode, Callable[..., Any]]] = {}
MAX_COMPILED = 64


class StepEngine(Protocol):
    """Computes for the lanes it was made for; other lanes need a new one."""

    def collect(self) -> None:
        """Let the experiment collect for the lanes whose step asks for it.

        Once before the first `gradient` of a step: what runs on would run on twice.
        """

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the losses [K] and gradients [K, P] at each lane's step."""

    def measure(
        self,
        wanted: frozenset[str],
        gradient_KP: Tensor,
        update_KP: Tensor | None = None,
        some: PackState | None = None,
    ) -> dict[str, Tensor]:
        """Return the wanted measures of the experiment, [K] or [K, labels].

        `update_KP` is what the coming step adds, for measures that read it. `some` holds the
        lanes to be measured, by default all; the other arguments' rows are theirs.
        """


def step_engine(
    choice: EngineChoice, experiment: Experiment[Any], model: nn.Module, state: PackState
) -> StepEngine:
    """Return the chosen engine for the lanes of `state`."""
    if choice.engine is Engine.VMAP_FORWARD:
        return VmapForward(experiment, model, state, compiled=choice.compiled)
    if choice.engine is Engine.VMAP_GRADIENT:
        return VmapGradient(experiment, model, state, compiled=choice.compiled)
    if choice.engine is Engine.SEQUENTIAL:
        return Sequential(experiment, model, state)
    raise ExperimentError(f"{choice.engine.name.lower()} is no engine for an Experiment class")


class _Vmapped:
    """What both vmapped engines share: the lane's function, its collecting and the measures."""

    def __init__(
        self,
        experiment: Experiment[Any],
        model: nn.Module,
        state: PackState,
        transform: Callable[[LaneCode], Callable[..., Any]],
        *,
        compiled: bool,
    ) -> None:
        self._state = state
        self._due = Due(experiment, state)
        code = LaneCode(experiment, model, state.trials.static, state.places, state.dtype)
        self._measures: dict[frozenset[str], Callable[..., dict[str, Tensor]]] = {}
        self._measured = self._code = code
        if not compiled:
            self._transformed = transform(code)
            return
        # One layout of memory, so one compilation: a shared row may stand there expanded.
        state.data = {name: t.contiguous() for name, t in state.data.items()}
        key = (
            *(type(self), experiment, len(state), tuple(state.places)),
            *(str(sorted(state.trials.static.items())), str(state.weights_KP.device)),
        )
        if key not in _COMPILED:
            import torch._dynamo  # seconds of importing, which only compilation needs

            # torch counts recompilations per line of code, and all of these share one.
            torch._dynamo.config.recompile_limit = MAX_COMPILED
            # fullgraph: where something cannot be compiled, say so and do not run it slowly.
            function = torch.compile(transform(code), dynamic=False, fullgraph=True)
            _COMPILED[key] = (code, function)
        self._code, self._transformed = _COMPILED[key]

    def collect(self) -> None:
        """Replace the buffers that are collected of the lanes at such a step."""
        state, code, due_K = self._state, self._measured, self._due.lanes()
        if not due_K.any():
            return

        def lane_buffers(weights: Tensors, *rest: Any) -> Tensors:
            return collected(code.experiment, code.trial(weights, *rest))

        # Lanes that are not due are computed too: a lane's bits hang on no other's step.
        code.model.eval()
        with torch.no_grad():
            views = state.layout.views(state.weights_KP)
            found = vmap(lane_buffers, randomness="error")(views, *_inputs(state, state.frozen))
        places = torch.from_numpy(np.flatnonzero(due_K)).to(state.weights_KP.device)
        for name, rows_K in found.items():
            state.frozen[name][places] = rows_K[places]

    def measure(
        self,
        wanted: frozenset[str],
        gradient_KP: Tensor,
        update_KP: Tensor | None = None,
        some: PackState | None = None,
    ) -> dict[str, Tensor]:
        """Return the wanted measures; buffers that a measure changes are thrown away."""
        state, code = some or self._state, self._measured
        if wanted not in self._measures:

            def lane_measures(weights: Tensors, *rest: Any) -> dict[str, Tensor]:
                return chosen_measures(code.experiment, code.trial(weights, *rest), wanted)

            self._measures[wanted] = vmap(lane_measures, randomness="error")
        frozen = {name: t.clone() for name, t in state.frozen.items()}
        known = _known(state, gradient_KP, update_KP)
        weights = state.layout.views(state.weights_KP)
        code.model.eval()
        with torch.no_grad():
            return self._measures[wanted](weights, *_inputs(state, frozen), known)


class VmapForward(_Vmapped):
    """vmap of the forward pass, then one ordinary backward pass through all lanes."""

    def __init__(
        self, experiment: Experiment[Any], model: nn.Module, state: PackState, *, compiled: bool
    ) -> None:
        def losses(code: LaneCode) -> Callable[..., Any]:
            return vmap(partial(_loss, code), randomness="error")

        super().__init__(experiment, model, state, losses, compiled=compiled)
        views = state.layout.views(state.weights_KP)
        # Leaves that share the rows' memory: the update rule writes the rows in place.
        self._leaves = {name: view.detach().requires_grad_() for name, view in views.items()}
        self._tensors = list(self._leaves.values())
        self._ones_K = torch.ones(len(state), dtype=state.dtype, device=state.weights_KP.device)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the losses [K] and gradients [K, P]."""
        self._code.model.train()
        losses_K = self._transformed(self._leaves, *_inputs(self._state, self._state.frozen))
        # A vector of ones and not a sum: a lane that is NaN meets no other.
        found = torch.autograd.grad(losses_K, self._tensors, self._ones_K, allow_unused=True)
        return losses_K.detach(), _joined(found, self._tensors)


class VmapGradient(_Vmapped):
    """vmap of the gradient of one trial."""

    def __init__(
        self, experiment: Experiment[Any], model: nn.Module, state: PackState, *, compiled: bool
    ) -> None:
        def gradients(code: LaneCode) -> Callable[..., Any]:
            return vmap(grad_and_value(partial(_loss, code)), randomness="error")

        super().__init__(experiment, model, state, gradients, compiled=compiled)
        self._views = state.layout.views(state.weights_KP)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the losses [K] and gradients [K, P]."""
        self._code.model.train()
        found, losses_K = self._transformed(self._views, *_inputs(self._state, self._state.frozen))
        return losses_K.detach(), _joined([found[n] for n in self._views], self._views.values())


class Sequential:
    """One plain module, whose parameters are views into the single lane's row."""

    def __init__(self, experiment: Experiment[Any], model: nn.Module, state: PackState) -> None:
        if len(state) != 1:
            raise ValueError(f"the sequential engine trains one trial at a time, got {len(state)}")
        self._experiment = experiment
        self._model = model
        self._state = state
        self._due = Due(experiment, state)
        trained = dict(model.named_parameters())
        views = state.layout.views(state.weights_KP)
        for name, view in views.items():
            trained[name].data = view[0]
        self._weights = {name: trained[name] for name in views}
        self._tensors = list(self._weights.values())
        self._frozen = {
            n: t for n, t in (*trained.items(), *model.named_buffers()) if n not in views
        }
        for name, tensor in self._frozen.items():
            tensor.data = state.frozen[name][0]
        self._buffers = [name for name, _ in model.named_buffers()]
        self._data = {name: t[0] for name, t in state.data.items()}
        self._params = LaneParams(state.trials.static, state.places, state.vector_KV[0])
        self._seed = int(state.trials.params(0)["seed"])

    def collect(self) -> None:
        """Replace the buffers that are collected, at such a step."""
        if not self._due.lanes().any():
            return
        weights = {name: t.detach() for name, t in self._weights.items()}
        self._model.eval()
        with torch.no_grad():
            for name, tensor in collected(self._experiment, self._trial(weights, None)).items():
                self._frozen[name].copy_(tensor)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the loss [1] and gradient [1, P]."""
        self._model.train()
        # Modules with a generator of their own (nn.Dropout) draw a function of seed and step.
        step = int(self._state.host_steps_K[0])
        torch.default_generator.manual_seed(seed_of(self._seed, "module", step))
        loss = scalar_loss(self._experiment, self._trial(self._weights, None))
        if self._buffers:
            self._keep_replaced_buffers()
        found = torch.autograd.grad(loss, self._tensors, allow_unused=True)
        batched = [None if g is None else g.unsqueeze(0) for g in found]
        return loss.detach().unsqueeze(0), _joined(batched, [t.unsqueeze(0) for t in self._tensors])

    def measure(
        self,
        wanted: frozenset[str],
        gradient_KP: Tensor,
        update_KP: Tensor | None = None,
        some: PackState | None = None,  # noqa: ARG002 there is one lane
    ) -> dict[str, Tensor]:
        """Return the wanted measures; buffers that a measure changes are put back."""
        known = tree_map(lambda t: t[0], _known(self._state, gradient_KP, update_KP))
        before = {name: t.clone() for name, t in self._frozen.items()}
        weights = {name: t.detach() for name, t in self._weights.items()}
        self._model.eval()
        with torch.no_grad():
            found = chosen_measures(self._experiment, self._trial(weights, known), wanted)
            for name, tensor in self._frozen.items():
                tensor.copy_(before[name])
        return {name: value.unsqueeze(0) for name, value in found.items()}

    def _keep_replaced_buffers(self) -> None:
        """Write a buffer that the module replaced, and did not write into, into the state."""
        for name in self._buffers:
            owner, _, leaf = name.rpartition(".")
            module, kept = self._model.get_submodule(owner), self._frozen[name]
            found = getattr(module, leaf)
            if found is not kept:
                kept.copy_(found.detach())
                setattr(module, leaf, kept)

    def _trial(self, weights: Tensors, known: Known | None) -> LaneTrial:
        state = self._state
        rng = Stream.traced(state.keys_K2[0], state.steps_K[0], state.dtype)
        return LaneTrial(
            *(self._params, self._data, weights, rng, state.steps_K[0], self._call),
            *(self._frozen, known, self._model),
        )

    def _call(self, weights: Tensors, inputs: tuple[Any, ...]) -> Any:
        return functional_call(self._model, {**weights, **self._frozen}, inputs)


def _inputs(state: PackState, frozen: Tensors) -> tuple[Any, ...]:
    """Return what a lane's function takes behind the weights."""
    return frozen, state.vector_KV, state.data, state.keys_K2, state.steps_K


def _loss(code: LaneCode, weights: Tensors, *rest: Any) -> Tensor:
    return scalar_loss(code.experiment, code.trial(weights, *rest))


def _known(state: PackState, gradient_KP: Tensor, update_KP: Tensor | None) -> Known:
    """Return what measures may know of the lanes' step beside their weights."""
    views = state.layout.views
    known: dict[str, Any] = {
        "gradient": views(gradient_KP),
        "moments": {name: views(rows_KP) for name, rows_KP in state.moments.items()},
    }
    return known if update_KP is None else {**known, "update": views(update_KP)}


def _joined(found: Any, like: Any) -> Tensor:
    """Return gradients of all tensors side by side, [K, P]; zero where a weight is unused."""
    rows = [
        torch.zeros_like(t).flatten(1) if g is None else g.reshape(len(g), -1)
        for g, t in zip(found, like, strict=True)
    ]
    return torch.cat(rows, 1)
