"""Networks that answer in tokens, taught by examples first and then by a verifier's reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from phasecube.engine.experiment import Measure, Params, Trial
from phasecube.engine.policy.answering import VerifiableRewardParams
from phasecube.engine.policy.measured import POLICY_MEASURES
from phasecube.engine.policy.token_laws import chosen, entropy_of
from phasecube.engine.policy.training import PolicyTraining
from phasecube.engine.tasks.asked import questions_of, size_of
from phasecube.engine.tasks.parentheses import balances
from phasecube.engine.tasks.questions import same, until_end

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.policy.rollouts import Rollouts
    from phasecube.engine.streams import Stream


def _trained(trial: Trial) -> int:
    n: int = trial.data["prompt"].shape[0]
    return int(trial.params.train_fraction * n)


class VerifiableReward(PolicyTraining[VerifiableRewardParams]):
    """Sums, lists and strings of parentheses, answered by an MLP or a causal transformer.

    For `warm_start_steps` steps the loss is cross-entropy on right answers to the training
    prompts; then it is the algorithm's, on answers sampled from the policy, with the optimizer's
    moments running on. A reference policy is the one after the warm start, and what an algorithm
    remembers begins there. The defaults are the MLP on sums modulo 17 of docs/entropy.md.

    `reward` and `val_reward` are exact, over all prompts of their kind, where one answer is
    right (sums, lists), and `entropy` where it has one token; else they are of sampled answers.
    """

    name: ClassVar[str] = "verifiable_reward"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = VerifiableRewardParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.1,
        "steps": 1712,
        "prompts": 64,
        "answers": 8,
        "minibatches": 4,
        "split": "prompts",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        **POLICY_MEASURES,
        "val_reward": Measure("reward of an answer to a prompt held out, mean"),
    }

    def policy(self, params: VerifiableRewardParams) -> nn.Module:
        """Return the network."""
        size = size_of(params)
        answers = size.symbols + params.end_token
        if params.policy == "mlp":
            from phasecube.engine.models.prompt_mlp import PromptMlp

            return PromptMlp(size.places, size.prompt_symbols, params.width, params.layers, answers)
        from phasecube.engine.models.answer_decoder import AnswerDecoder

        # An end token may have a prompt symbol's number: nothing behind it counts.
        symbols = max(size.prompt_symbols, answers)
        shape = (params.context, params.width, params.layers, params.heads)
        return AnswerDecoder(symbols, answers, shape)

    def init(self, model: nn.Module, params: VerifiableRewardParams, stream: Stream) -> None:
        """Draw the MLP as torch's Linear does, uniform in 1 / sqrt(inputs), and the matrices of
        the transformer from N(0, 1 / inputs)."""
        from phasecube.engine.models.initialise import fill_normal, fill_uniform

        shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        if params.policy == "transformer":
            # A row of an embedding is looked up, not summed: 1 / width.
            inputs = {
                name: shape[-1] if "embedding" in name else shape[0]
                for name, shape in shapes.items()
                if len(shape) > 1
            }
            fill_normal(model, {name: n**-0.5 for name, n in inputs.items()}, stream)
            return
        bound = {name: shapes[name.replace(".bias.", ".weight.")][0] ** -0.5 for name in shapes}
        fill_uniform(model, bound, stream)

    def data(self, params: VerifiableRewardParams, stream: Stream) -> dict[str, Tensor]:
        """Return all prompts [N, P] in the trial's own order, those trained on first, and right
        answers to them [N, D, L]."""
        import torch

        asked = questions_of(params, stream)
        order = stream.permutation("split", len(asked.prompt_NP))
        return {
            "prompt": torch.as_tensor(asked.prompt_NP[order]),
            "answer": torch.as_tensor(asked.answer_NDL[order]),
        }

    def tokens(self, params: VerifiableRewardParams) -> int:
        """Return the most tokens of an answer."""
        return size_of(params).tokens

    def prompts(self, trial: Trial) -> Tensor:
        """Return prompts drawn from those trained on, none twice."""
        drawn: Tensor = trial.rng.permutation("prompts", _trained(trial))
        return drawn[: trial.params.prompts]

    def logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor) -> Tensor:
        """Return what the network says of the prompts' tokens."""
        found: Tensor = trial.model(trial.data["prompt"][prompt_B], token_BGL)
        return found

    def next_logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor, place: int) -> Tensor:
        """Return what the network says where it has seen no more than it must."""
        if place == 0:  # all answers to a prompt begin alike
            first_B1V = self.logits(trial, prompt_B, token_BGL[:, :1, :1])[:, 0]
            return first_B1V.expand(*token_BGL.shape[:2], -1)
        return self.logits(trial, prompt_B, token_BGL[..., : place + 1])[:, :, place]

    def valid(self, trial: Trial, token_BGL: Tensor) -> Tensor:
        """Return the tokens up to the first end token."""
        params = trial.params
        if not params.end_token:
            return super().valid(trial, token_BGL)
        found: Tensor = until_end(token_BGL, size_of(params).symbols)
        return found

    def reward(self, trial: Trial, rollouts: Rollouts) -> Tensor:
        """Return 1 where the answer is right."""
        params, token_BGL = trial.params, rollouts.token_BGL
        if params.task == "parentheses":
            prompt_B1P = trial.data["prompt"][rollouts.prompt_B].unsqueeze(1)
            right_BG = balances(prompt_B1P, token_BGL, end=params.end_token)
        else:
            answer_B1L = trial.data["answer"][rollouts.prompt_B]  # the only one that is right
            right_BG = same(token_BGL, answer_B1L, size_of(params).symbols)
        found: Tensor = right_BG.to(rollouts.reward_BG.dtype)
        return found

    def exact(self, trial: Trial) -> Mapping[str, Callable[[], Tensor]]:
        """Return what all training prompts tell: the reward where one answer is right, and
        the entropy where that has one token."""
        if trial.params.task == "parentheses":
            return {}
        import torch

        from phasecube.engine.policy.passes import pass_at

        train_N = torch.arange(_trained(trial), device=trial.data["answer"].device)
        token_N1L = trial.data["answer"][train_N]

        @cache
        def log_probs_N1LV() -> Tensor:  # noqa: N802
            return self.log_probs(trial, train_N, token_N1L)

        def right_N() -> Tensor:  # noqa: N802
            return self._right(trial, log_probs_N1LV(), token_N1L)

        found: dict[str, Callable[[], Tensor]] = {
            "reward": lambda: right_N().mean(),
            "reward_error": lambda: right_N().new_zeros(()),
            "pass_at": lambda: pass_at(right_N(), self.ks(trial.params)),
        }
        if token_N1L.shape[-1] > 1:
            return found

        def entropy() -> Tensor:
            return entropy_of(log_probs_N1LV()).mean()

        return {
            **found,
            "entropy": entropy,
            "sequence_entropy": entropy,
            "effective_actions": lambda: entropy().exp(),
        }

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted measures; of prompts held out with `answers` to each where sampled."""
        import torch

        found = super().measure(trial, wanted - {"val_reward"})
        if "val_reward" not in wanted:
            return found
        answer_NDL = trial.data["answer"]
        held_N = torch.arange(_trained(trial), answer_NDL.shape[0], device=answer_NDL.device)
        if trial.params.task == "parentheses":
            found["val_reward"] = self.answered(trial.redrawn("held out"), held_N).reward_BG.mean()
        else:
            token_N1L = answer_NDL[held_N]
            log_probs_N1LV = self.log_probs(trial, held_N, token_N1L)
            found["val_reward"] = self._right(trial, log_probs_N1LV, token_N1L).mean()
        return found

    def _right(self, trial: Trial, log_probs_N1LV: Tensor, token_N1L: Tensor) -> Tensor:
        """Return the probability of the tokens as an answer to each prompt, [N]."""
        log_prob_N1L = chosen(log_probs_N1LV, token_N1L)
        log_prob_N1L = log_prob_N1L.where(self.valid(trial, token_N1L), 0.0)
        return log_prob_N1L.sum((-2, -1)).exp()

    def loss(self, trial: Trial) -> Tensor:
        """Return cross-entropy on right answers in the warm start, then the algorithm's loss."""
        last = trial.params.warm_start_steps
        if last == 0:
            return super().loss(trial)
        # Both at every step: the lanes of a pack may stand at different ones.
        return self.taught(trial).where(trial.step < last, super().loss(trial))

    def taught(self, trial: Trial) -> Tensor:
        """Return the cross-entropy of a right answer's token, mean over prompts and tokens."""
        import torch

        n_train, n = _trained(trial), trial.params.demonstrations
        answer_NDL = trial.data["answer"]
        if n:
            prompt_B = trial.rng.integers("demonstrated prompts", n_train, (n,))
        else:
            n, prompt_B = n_train, torch.arange(n_train, device=answer_NDL.device)
        token_B1L = answer_NDL[prompt_B, :1]
        if answer_NDL.shape[1] > 1:
            which_B = trial.rng.integers("demonstrated answers", answer_NDL.shape[1], (n,))
            token_B1L = answer_NDL[prompt_B, which_B].unsqueeze(1)
        log_prob_B1L = chosen(self.log_probs(trial, prompt_B, token_B1L), token_B1L)
        valid_B1L = self.valid(trial, token_B1L)
        return -log_prob_B1L.where(valid_B1L, 0.0).sum() / valid_B1L.sum()

    def collect(self, trial: Trial) -> Mapping[str, Tensor]:
        """Return new answers; what the algorithm remembers stays as it began in the warm start."""
        from phasecube.engine.policy.collected import MEMORY

        found = super().collect(trial)
        last = trial.params.warm_start_steps
        if last == 0:
            return found
        begun = trial.step >= last
        return {
            name: tensor.where(begun, trial.buffers[name]) if name.startswith(MEMORY) else tensor
            for name, tensor in found.items()
        }

    def reference_from(self, params: Any) -> int:
        """Return the step after the warm start."""
        last: int = params.warm_start_steps
        return last
