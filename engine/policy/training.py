"""An experiment that trains a policy on rewards; a subclass says what is asked and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from phasecube.engine.experiment import Experiment, Measure, Trial
from phasecube.engine.policy.measured import POLICY_MEASURES, QUANTILES, afterwards, of_collection
from phasecube.engine.policy.params import PolicyParams
from phasecube.engine.policy.parts import Algorithm, algorithm_of
from phasecube.engine.policy.passes import powers_of_two
from phasecube.engine.policy.rollouts import Rollouts, Update
from phasecube.engine.policy.token_laws import chosen, entropy_of, log_softmax, sampled

if TYPE_CHECKING:
    from torch import Tensor, nn

P = TypeVar("P", bound=PolicyParams)


class PolicyTraining(Experiment[P]):
    """Sample answers, judge them, and make `updates` steps on them; then sample anew.

    Sizes of a collection: B prompts, G answers to each, L tokens of each, V tokens there are.
    """

    measures: ClassVar[Mapping[str, Measure]] = POLICY_MEASURES

    def policy(self, params: P) -> nn.Module:
        """Return the module that gives logits; `logits` calls it by `trial.model`."""
        raise NotImplementedError

    def tokens(self, params: P) -> int:
        """Return L, the most tokens of an answer."""
        raise NotImplementedError

    def prompts(self, trial: Trial) -> Tensor:
        """Return the prompts of a collection, int64 [B]."""
        raise NotImplementedError

    def logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor) -> Tensor:
        """Return the logits of each token given those before it, [B, G, L, V]."""
        raise NotImplementedError

    def next_logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor, place: int) -> Tensor:
        """Return the logits of the token at `place` given those before it, [B, G, V].

        By default out of all; what knows them alone makes sampling L times cheaper.
        """
        return self.logits(trial, prompt_B, token_BGL)[:, :, place]

    def speaker(self, trial: Trial, prompt_B: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Return the function that answers are sampled by: tokens so far and a place ->
        log-probabilities of the token there, [B, G, V]; it may keep what all places share."""
        return lambda token_BGL, place: log_softmax(
            self.next_logits(trial, prompt_B, token_BGL, place)
        )

    def reward(self, trial: Trial, rollouts: Rollouts) -> Tensor:
        """Return the reward of each answer, [B, G]; `rollouts.reward_BG` is still empty."""
        raise NotImplementedError

    def valid(self, trial: Trial, token_BGL: Tensor) -> Tensor:  # noqa: ARG002
        """Return which tokens belong to the answer, bool [B, G, L]; by default all."""
        import torch

        return torch.ones_like(token_BGL, dtype=torch.bool)

    def exact(self, trial: Trial) -> Mapping[str, Tensor | Callable[[], Tensor]]:  # noqa: ARG002
        """Return measures that need no sampling, by name, or functions that compute them where
        they are wanted; they stand before sampled ones."""
        return {}

    def ks(self, params: P) -> tuple[int, ...]:
        """Return the numbers of answers of `pass_at`."""
        return powers_of_two(params.answers)

    def model(self, params: P) -> nn.Module:
        """Return the policy, beside what is collected with it."""
        from phasecube.engine.policy.collected import Collecting

        algorithm = params.made()
        shape_BGL = (params.prompts, params.answers, self.tokens(params))
        return Collecting(
            self.policy(params),
            shape_BGL,
            {
                name: start(params, shape_BGL) if callable(start) else start
                for name, start in algorithm.memory.items()
            },
            shaped=algorithm.shaping is not None,
        )

    def collect_every(self, params: P) -> int:
        """Return the updates of one collection."""
        return params.updates

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        """Return new answers with their advantages, and how far the old ones have moved."""
        from phasecube.engine.policy.collected import COLLECTED, MEMORY, memory_of

        algorithm, params = self._algorithm(trial), trial.params
        memory = memory_of(trial.buffers)
        moved = afterwards(self, trial)
        rollouts = self.answered(trial, self.prompts(trial))
        judged = {}
        if algorithm.shaping is not None:
            judged = {COLLECTED + "judged_BG": rollouts.reward_BG}
            rollouts = rollouts.with_reward(algorithm.shaping.function(rollouts, params))
        advantage = algorithm.advantage.function(rollouts, params, memory)
        if advantage.ndim == rollouts.reward_BG.ndim:
            advantage = advantage.unsqueeze(-1).expand(rollouts.token_BGL.shape)
        for part in algorithm.parts:
            if part.remember is not None:
                memory = {**memory, **part.remember(rollouts, params, memory)}
        return {
            **{COLLECTED + f.name: getattr(rollouts, f.name) for f in fields(Rollouts)},
            COLLECTED + "advantage_BGL": advantage,
            COLLECTED + "moved": moved,
            **judged,
            **{MEMORY + name: value for name, value in memory.items()},
            **self._reference(trial),
        }

    def answered(self, trial: Trial, prompt_B: Tensor) -> Rollouts:
        """Return sampled answers to the prompts, judged."""
        import torch

        shape_BG = (prompt_B.shape[0], trial.params.answers)
        n_tokens = self.tokens(trial.params)
        uniform_LBG = trial.rng.uniform("tokens", (n_tokens, *shape_BG))
        columns = [torch.zeros(shape_BG, dtype=torch.int64, device=prompt_B.device)] * n_tokens
        speak, laws = self.speaker(trial, prompt_B), []
        for place in range(n_tokens):
            laws.append(speak(torch.stack(columns, -1), place))
            columns[place] = sampled(laws[place], uniform_LBG[place].unsqueeze(-1))
        token_BGL = torch.stack(columns, -1)
        log_probs_BGLV = torch.stack(laws, -2)
        empty = Rollouts(
            prompt_B,
            token_BGL,
            self.valid(trial, token_BGL),
            chosen(log_probs_BGLV, token_BGL),
            entropy_of(log_probs_BGLV),
            torch.zeros(shape_BG, dtype=log_probs_BGLV.dtype, device=prompt_B.device),
        )
        return empty.with_reward(self.reward(trial, empty))

    def log_probs(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor) -> Tensor:
        """Return log-probabilities of every token that could stand there, [B, G, L, V]."""
        return log_softmax(self.logits(trial, prompt_B, token_BGL))

    def loss(self, trial: Trial) -> Tensor:
        """Return what the algorithm decreases on this step's minibatch."""
        update, algorithm = self.update(trial), self._algorithm(trial)
        loss_BGL = algorithm.surrogate.function(update)
        for part in algorithm.weights:
            loss_BGL = loss_BGL * part.function(update).detach()
        loss = update.mean(loss_BGL)
        for part in algorithm.penalties:
            loss = loss + part.function(update)
        return loss

    def update(self, trial: Trial) -> Update:
        """Return this step's minibatch, and what the policy of now says of it."""
        from phasecube.engine.policy.collected import COLLECTED, memory_of, rollouts_of

        params = trial.params
        whole = rollouts_of(trial.buffers)
        whole_advantage_BGL = trial.buffers[COLLECTED + "advantage_BGL"]
        place = trial.step % params.minibatches
        dim = 0 if params.split == "prompts" else 1

        def part(tensor: Tensor) -> Tensor:
            if dim == 1 and tensor.ndim == 1:  # prompts: each minibatch has all of them
                return tensor
            shape = tensor.shape
            cut = tensor.reshape(*shape[:dim], params.minibatches, -1, *shape[dim + 1 :])
            found: Tensor = cut.index_select(dim, place.reshape(1)).squeeze(dim)
            return found

        rollouts = Rollouts(**{f.name: part(getattr(whole, f.name)) for f in fields(Rollouts)})
        log_probs_BGLV = self.log_probs(trial, rollouts.prompt_B, rollouts.token_BGL)
        needs_reference = any(part.needs_reference for part in self._algorithm(trial).parts)
        return Update(
            params,
            trial.rng,
            trial.step,
            rollouts,
            part(whole_advantage_BGL),
            log_probs_BGLV,
            chosen(log_probs_BGLV, rollouts.token_BGL),
            self.log_probs(self.reference_trial(trial), rollouts.prompt_B, rollouts.token_BGL)
            if needs_reference
            else None,
            memory_of(trial.buffers),
            lambda prompt_B, token_BGL: self.log_probs(trial, prompt_B, token_BGL),
        )

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted measures, of the newest collection where they are sampled."""
        exact = self.exact(trial)
        found = {name: exact[name] for name in wanted & exact.keys()}
        values = {name: value() if callable(value) else value for name, value in found.items()}
        left = wanted - values.keys()
        return values | (of_collection(self, trial, left) if left else {})

    def labels(self, measure: str, params: P) -> tuple[str, ...]:
        """Return the k of `pass_at` and the quantiles of `batch_covariance_quantile`."""
        return tuple(map(str, self.ks(params) if measure == "pass_at" else QUANTILES))

    def reference_from(self, params: Any) -> int:  # noqa: ARG002
        """Return the step whose weights are the reference policy."""
        return 0

    def _algorithm(self, trial: Trial) -> Algorithm:
        kind: Any = self.params_type
        return _algorithm_of(kind, trial.params.algorithm)

    def reference_trial(self, trial: Trial) -> Trial:
        """Return the trial under the reference policy."""
        from phasecube.engine.policy.collected import reference_name

        return trial.at({name: trial.buffers[reference_name(name)] for name in trial.weights})

    def _reference(self, trial: Trial) -> dict[str, Tensor]:
        """Return the weights of now until the reference stands, and from then on those of then."""
        from phasecube.engine.policy.collected import reference_name

        found = {}
        for name, weight in trial.weights.items():
            at = reference_name(name)
            now = trial.step <= self.reference_from(trial.params)
            found[at] = weight.where(now, trial.buffers[at])
        return found


@lru_cache(maxsize=64)
def _algorithm_of(params_type: type[PolicyParams], text: str) -> Algorithm:
    """Return the algorithm; it is asked for several times at every step."""
    return algorithm_of(text, params_type.parts, params_type.algorithms)
