"""The module of a policy's training: the policy, and what was collected with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from phasecube.engine.policy.measured import AFTERWARDS
from phasecube.engine.policy.rollouts import Rollouts

COLLECTED = "collected."
MEMORY = "memory."
REFERENCE = "reference."


class Collecting(nn.Module):
    """A policy beside its collection. Buffers: `collected.*`, `memory.*`, `reference.*`."""

    def __init__(
        self,
        policy: nn.Module,
        shape_BGL: tuple[int, int, int],
        memory: Mapping[str, float | Tensor],
        *,
        shaped: bool,
    ) -> None:
        super().__init__()
        self.policy = policy
        n_prompts, n_answers, _ = shape_BGL
        collected, kept, reference = nn.Module(), nn.Module(), nn.Module()
        self.collected, self.memory, self.reference = collected, kept, reference
        collected.register_buffer("prompt_B", torch.zeros(n_prompts, dtype=torch.int64))
        collected.register_buffer("token_BGL", torch.zeros(shape_BGL, dtype=torch.int64))
        collected.register_buffer("valid_BGL", torch.ones(shape_BGL, dtype=torch.bool))
        for name in ("log_prob_BGL", "entropy_BGL", "advantage_BGL"):
            collected.register_buffer(name, torch.zeros(shape_BGL))
        collected.register_buffer("reward_BG", torch.zeros(n_prompts, n_answers))
        if shaped:
            collected.register_buffer("judged_BG", torch.zeros(n_prompts, n_answers))
        # One tensor and not one each: every buffer costs every step some 20 us.
        collected.register_buffer("moved", torch.zeros(len(AFTERWARDS)))
        for name, start in memory.items():
            first = start if isinstance(start, Tensor) else torch.tensor(float(start))
            kept.register_buffer(name, first)
        for name, weight in policy.named_parameters():
            reference.register_buffer(flat(name), torch.zeros_like(weight))

    def forward(self, *inputs: Any) -> Any:
        """Return what the policy says."""
        return self.policy(*inputs)


def flat(name: str) -> str:
    """Return the name of a weight as that of a buffer, which may hold no dot."""
    return name.replace(".", "__")


def reference_name(weight: str) -> str:
    """Return the buffer that keeps a trained weight of the policy as the reference's."""
    return REFERENCE + flat(weight.removeprefix("policy."))


def rollouts_of(buffers: Mapping[str, Tensor]) -> Rollouts:
    """Return the answers that stand in the buffers."""
    return Rollouts(**{f.name: buffers[COLLECTED + f.name] for f in fields(Rollouts)})


def judged_of(buffers: Mapping[str, Tensor]) -> Tensor:
    """Return the answers' rewards as they were judged, before any shaping, [B, G]."""
    return buffers.get(COLLECTED + "judged_BG", buffers[COLLECTED + "reward_BG"])


def memory_of(buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what runs on over collections."""
    return {n.removeprefix(MEMORY): t for n, t in buffers.items() if n.startswith(MEMORY)}
