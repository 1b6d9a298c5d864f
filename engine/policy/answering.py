"""The parameters of networks that answer in tokens: task, split, network and warm start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from phasecube.engine.policy.params import PolicyParams
from phasecube.engine.tasks.asked import Task, size_of

STATIC: dict[str, JsonValue] = {"static": True}
MOST_PROMPTS = 50_000


class VerifiableRewardParams(PolicyParams):
    """Task, split, network, and how long it is taught by right answers first."""

    task: Task = Field("modular_sum", description="what is asked")
    modulus: int = Field(17, ge=2, le=1009, description="modular_sum: results there are")
    terms: int = Field(2, ge=1, description="modular_sum: summands")
    digits: int = Field(1, ge=1, description="modular_sum: tokens that a result is written in")
    list_length: int = Field(4, ge=1, description="sorting: symbols of a list")
    list_symbols: int = Field(6, ge=2, description="sorting: symbols there are")
    string_length: int = Field(
        16, ge=2, le=24, description="parentheses: of the balanced string; the most with end_token"
    )
    prefix_length: int = Field(8, ge=1, le=14, description="parentheses: of it that is given")
    end_token: bool = Field(
        False, description="answers end by a token: length is an action; else all have L tokens"
    )
    train_fraction: float = Field(
        0.8, gt=0, lt=1, json_schema_extra=STATIC, description="share of all prompts trained on"
    )
    policy: Literal["mlp", "transformer"] = Field(
        "mlp", description="mlp: answers of one token; transformer: a causal decoder"
    )
    width: int = Field(128, ge=1, description="hidden units, or the transformer's stream")
    layers: int = Field(2, ge=1, description="hidden layers, or the transformer's blocks")
    heads: int = Field(4, ge=1, description="transformer: attention heads")
    context: int = Field(24, ge=2, description="transformer: tokens of a prompt and its answer")
    warm_start_steps: int = Field(
        112,
        ge=0,
        description="steps of cross-entropy on right answers before the algorithm's first",
    )
    demonstrations: int = Field(
        0, ge=0, description="prompts of a step of the warm start, drawn anew; 0: all"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return what cannot be asked, split, answered or learned from."""
        found = super().faults()
        if self.task == "parentheses":
            found += self._string_faults()
            if any(name == "prefix_length" for name, _ in found):
                return found
        size = size_of(self)
        if size.prompts > MOST_PROMPTS:
            what = "terms" if self.task == "modular_sum" else "list_length"
            found.append((what, f"makes {size.prompts} prompts; at most {MOST_PROMPTS} are listed"))
        n_train = int(self.train_fraction * size.prompts)
        if not 0 < n_train < size.prompts:
            side = "training" if n_train == 0 else "held-out"
            message = f"{self.train_fraction} of {size.prompts} prompts leaves no {side} one"
            found.append(("train_fraction", message))
        elif self.prompts > n_train:
            message = f"{self.prompts} a collection, and {n_train} of {size.prompts} to train on"
            found.append(("prompts", message))
        if self.warm_start_steps % max(self.updates, 1):
            message = (
                f"{self.warm_start_steps} steps end inside a collection of {self.updates} updates "
                "(minibatches x epochs); use a multiple"
            )
            found.append(("warm_start_steps", message))
        return found + self._network_faults(size.places, size.tokens)

    @property
    def prompt_count(self) -> int:
        """Return all prompts of the task."""
        return size_of(self).prompts

    @property
    def answer_tokens(self) -> int:
        """Return L, the most tokens of an answer."""
        return size_of(self).tokens

    def _string_faults(self) -> list[tuple[str, str]]:
        found = []
        if self.string_length % 2:
            found.append(("string_length", f"{self.string_length} is odd: nothing balances"))
        if self.prefix_length >= self.string_length:
            message = f"{self.prefix_length} of {self.string_length} leaves nothing to complete"
            found.append(("prefix_length", message))
        return found

    def _network_faults(self, places: int, tokens: int) -> list[tuple[str, str]]:
        if self.policy == "mlp":
            if tokens == 1:
                return []
            message = f"mlp answers one token, and answers have {tokens}; use 'transformer'"
            return [("policy", message)]
        found = []
        if self.width % self.heads:
            found.append(("heads", f"{self.heads} does not divide width {self.width}"))
        if places + tokens > self.context:
            message = (
                f"the model sees {self.context} tokens: a prompt of {places} and an answer of "
                f"{tokens} are {places + tokens}; raise it, or ask for less"
            )
            found.append(("context", message))
        return found
