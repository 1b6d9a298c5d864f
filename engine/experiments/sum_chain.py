"""Entropy collapse where everything is known: a chain of tokens whose sum is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from phasecube.engine.experiment import Measure, Params, Trial
from phasecube.engine.policy.measured import EXACT_MEASURES
from phasecube.engine.policy.params import PolicyParams
from phasecube.engine.policy.passes import powers_of_two
from phasecube.engine.policy.token_laws import log_softmax
from phasecube.engine.policy.training import PolicyTraining

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.policy.rollouts import Rollouts
    from phasecube.engine.streams import Stream


class SumChainParams(PolicyParams):
    """The chain, and the spread of its first logits."""

    length: int = Field(3, ge=1, description="L: tokens of an answer")
    symbols: int = Field(10, ge=2, description="V: tokens there are, and the modulus of the sum")
    sigma: float = Field(1.0, ge=0, description="standard deviation of the logits at step 0")

    @property
    def answer_tokens(self) -> int:
        """Return the length of the chain."""
        return self.length


class SumChain(PolicyTraining[SumChainParams]):
    """Tokens a_1 .. a_L; the reward is 1 where their sum modulo V is the prompt's target.

    A table of logits [prompt, place, sum so far, token], each prompt with a target of its own.
    Reward and entropy are exact, by the law of the sum at each place. The optimum may keep
    (L - 1) / L of the largest entropy, all but the last token's: losing more is collapse and
    nothing that the reward asks for. docs/entropy.md has what is expected of it.
    """

    name: ClassVar[str] = "sum_chain"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = SumChainParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.3,
        "steps": 1200,
        "reduction": "prompt_sum",
    }
    measures: ClassVar[Mapping[str, Measure]] = EXACT_MEASURES

    def policy(self, params: SumChainParams) -> nn.Module:
        """Return the table."""
        from phasecube.engine.models.chain_table import ChainTable

        return ChainTable(params.prompts, params.length, params.symbols)

    def init(self, model: nn.Module, params: SumChainParams, stream: Stream) -> None:
        """Draw the logits."""
        import torch

        shape = (params.prompts, params.length, params.symbols, params.symbols)
        with torch.no_grad():
            drawn = torch.as_tensor(stream.normal("table", shape))
            model.get_parameter("policy.table").copy_(params.sigma * drawn)

    def data(self, params: SumChainParams, stream: Stream) -> dict[str, Tensor]:
        """Return the target of each prompt."""
        import torch

        return {
            "target": torch.as_tensor(stream.integers("target", params.symbols, (params.prompts,)))
        }

    def tokens(self, params: SumChainParams) -> int:
        """Return the length of the chain."""
        return params.length

    def prompts(self, trial: Trial) -> Tensor:
        """Return every prompt."""
        import torch

        return torch.arange(trial.params.prompts, device=trial.data["target"].device)

    def logits(self, trial: Trial, prompt_B: Tensor, token_BGL: Tensor) -> Tensor:
        """Return the rows of the sums so far."""
        from phasecube.engine.models.chain_table import rows_of

        before_BGL = (token_BGL.cumsum(-1) - token_BGL) % trial.params.symbols
        # Not by trial.model, which puts every buffer into the module first.
        return rows_of(trial.weights["policy.table"], prompt_B, before_BGL)

    def speaker(self, trial: Trial, prompt_B: Tensor) -> Callable[[Tensor, int], Tensor]:
        """Return rows of the table, which is normalised once for all places."""
        from phasecube.engine.models.chain_table import rows_of

        log_BLSV = log_softmax(trial.weights["policy.table"])

        def speak(token_BGL: Tensor, place: int) -> Tensor:
            before_BG1 = token_BGL[..., :place].sum(-1, keepdim=True) % trial.params.symbols
            return rows_of(log_BLSV, prompt_B, before_BG1, place).squeeze(-2)

        return speak

    def reward(self, trial: Trial, rollouts: Rollouts) -> Tensor:
        """Return 1 where the sum is the prompt's target."""
        sum_BG = rollouts.token_BGL.sum(-1) % trial.params.symbols
        target_B1 = trial.data["target"][rollouts.prompt_B].unsqueeze(-1)
        right_BG: Tensor = sum_BG == target_B1
        return right_BG.to(rollouts.reward_BG.dtype)

    def exact(self, trial: Trial) -> Mapping[str, Callable[[], Tensor]]:
        """Return what the law of the sum at each place tells."""
        from phasecube.engine.models.chain_law import ChainLaw
        from phasecube.engine.policy.collected import REFERENCE
        from phasecube.engine.policy.passes import pass_at

        table_BLSV, length = trial.weights["policy.table"], trial.params.length
        law = ChainLaw(table_BLSV, trial.data["target"])

        def entropy() -> Tensor:
            return law.token_mean(law.entropy_BLS)

        return {
            "reward": lambda: law.right_B().mean(),
            "reward_error": lambda: table_BLSV.new_zeros(()),
            "entropy": entropy,
            # The logits know a prefix by its sum alone, so this is the entropy of the answer.
            "sequence_entropy": lambda: length * entropy(),
            "effective_actions": lambda: entropy().exp(),
            "covariance": law.covariance,
            "entropy_change": lambda: law.change(trial.update["policy.table"]),
            "entropy_change_predicted": lambda: law.predicted_change(trial.update["policy.table"]),
            "kl_reference": lambda: law.kl(trial.buffers[REFERENCE + "table"]),
            "pass_at": lambda: pass_at(law.right_B(), self.ks(trial.params)),
        }

    def ks(self, params: SumChainParams) -> tuple[int, ...]:  # noqa: ARG002
        """Return powers of two to 256: exactly known, they need not be sampled."""
        return powers_of_two(256)
