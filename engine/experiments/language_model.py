"""A small decoder-only transformer that learns to tell the next token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from phasecube.engine.experiment import Experiment, Measure, Params, Trial
from phasecube.engine.tasks import tokens as text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.models.decoder import Seen
    from phasecube.engine.streams import Stream


class LanguageModelParams(Params):
    """Text, shape of the decoder, parametrization, initial weights and z-loss."""

    tokens: str = Field(
        "markov",
        description="markov: rows ~ Dirichlet(`concentration`); zipf: independent, ~ rank^-"
        "`zipf_exponent`; or the path of your own: .npy of uint16 or uint32, raw .bin, .u16, .u32",
    )
    tokens_digest: str = Field(
        "", description="of a file of tokens: stands for its content; planning says what to write"
    )
    vocabulary: int = Field(64, ge=2, le=2**20, description="V: tokens there are")
    concentration: float = Field(
        0.05,
        gt=0,
        json_schema_extra={"static": True},
        description="markov: small values make few successors likely",
    )
    zipf_exponent: float = Field(
        1.0, ge=0, json_schema_extra={"static": True}, description="zipf: 0 is uniform"
    )
    copy_probability: float = Field(
        0.3,
        ge=0,
        le=1,
        json_schema_extra={"static": True},
        description="markov, zipf: share of tokens that repeat the one `copy_distance` back",
    )
    copy_distance: int = Field(8, ge=1, description="markov, zipf: how far back is copied")
    sequences: int = Field(8192, ge=1, description="training sequences of context + 1 tokens")
    held_out: int = Field(64, ge=1, description="sequences that measures are taken on")
    batch: int = Field(32, ge=1, description="sequences a step, drawn with replacement")
    context: int = Field(32, ge=1, description="T: tokens a sequence that are predicted from")
    width: int = Field(32, ge=1, description="D: of the stream")
    depth: int = Field(2, ge=1, description="blocks of attention and MLP")
    heads: int = Field(2, ge=1, description="attention heads")
    position: Literal["rope", "learned"] = Field("rope", description="how places are told apart")
    qk_norm: bool = Field(False, description="LayerNorm on each query and key")
    tied: bool = Field(False, description="the head is the embedding")
    activation: Literal["gelu", "relu"] = Field("gelu", description="of the MLP")
    parametrization: Literal["standard", "mup"] = Field(
        "standard",
        description="mup: lr of matrices and logits over width / base_width, scores over d_head;"
        " for Adam",
    )
    base_width: int = Field(32, ge=1, description="mup: width at which lr and logits are as given")
    z_loss: float = Field(1e-4, ge=0, description="weight of mean (log Z)^2 in the loss")
    init_scale: float = Field(1.0, ge=0, description="factor on every initial matrix")
    embedding_init_scale: float = Field(1.0, ge=0, description="also on embeddings")
    attention_init_scale: float = Field(1.0, ge=0, description="also on attention's matrices")
    mlp_init_scale: float = Field(1.0, ge=0, description="also on the MLPs' matrices")
    head_init_scale: float = Field(1.0, ge=0, description="also on the untied head")

    def faults(self) -> list[tuple[str, str]]:
        """Return what cannot be trained: heads that do not divide, a file that is not there."""
        found = []
        if self.width % self.heads:
            found.append(("heads", f"{self.heads} does not divide width {self.width}"))
        elif self.position == "rope" and self.width // self.heads % 2:
            found.append(
                ("heads", f"rope turns pairs: width / heads = {self.width // self.heads} is odd")
            )
        if self.tokens in MADE:
            if self.tokens_digest:
                found.append(("tokens_digest", f"is of a file, and {self.tokens} reads none"))
        else:
            found += text.file_faults(self.tokens, self.tokens_digest, 2 * (self.context + 1))
        return found


MADE = ("markov", "zipf")


class LanguageModel(Experiment[LanguageModelParams]):
    """Next-token cross-entropy on fresh minibatches of a pool of sequences.

    The defaults are a small form of Wortsman et al. 2023 (arXiv:2309.14322): AdamW
    with independent decay, clipping, warm-up and cosine, z-loss; no biases, RoPE.
    """

    name: ClassVar[str] = "language_model"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = LanguageModelParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "lr": 1e-2,
        "beta2": 0.95,
        "steps": 300,
        "schedule": "cosine",
        "warmup_steps": 30,
        "clip_norm": 1.0,
        "weight_decay": 1e-4,
        "independent_weight_decay": True,
    }
    # An embedding is looked up and costs no FLOP; tied, it is the head too and is counted once.
    # Backward takes two products for each of the forward pass.
    counts: ClassVar[Mapping[str, str]] = {
        "parameters": "vocabulary * width * (1 if tied else 2) + width"
        " + (context * width if position == 'learned' else 0)"
        " + depth * (12 * width ** 2 + 2 * width + (2 * (width // heads) if qk_norm else 0))",
        "embedding_parameters": "vocabulary * width"
        " + (context * width if position == 'learned' else 0)",
        "tokens_per_step": "batch * context",
        "flop_per_step": "6 * batch * context"
        " * (depth * (12 * width ** 2 + 2 * context * width) + width * vocabulary)",
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "val_loss": Measure("cross-entropy on held-out sequences, without z-loss", "nat"),
        "max_attention_logit": Measure("largest attention score before the softmax"),
        "log_z_mean": Measure("log of the softmax's denominator over tokens, mean", "nat"),
        "log_z_rms": Measure("root mean square of log Z", "nat"),
        "max_attention_logit_per_layer": Measure("largest attention score", dim="layer"),
        "attention_entropy": Measure("entropy of where a token looks, mean", "nat", dim="layer"),
        "activation_rms": Measure("root mean square of the stream after a block", dim="layer"),
        "massive_ratio": Measure(
            "largest over median magnitude of the stream of a sequence, mean", dim="layer"
        ),
    }

    def model(self, params: LanguageModelParams) -> nn.Module:
        """Return the decoder."""
        from phasecube.engine.models.decoder import Decoder, DecoderShape

        return Decoder(
            DecoderShape(
                vocabulary=params.vocabulary,
                context=params.context,
                width=params.width,
                depth=params.depth,
                heads=params.heads,
                position=params.position,
                qk_norm=params.qk_norm,
                tied=params.tied,
                activation=params.activation,
                width_multiple=_multiple(params),
            )
        )

    def init(self, model: nn.Module, params: LanguageModelParams, stream: Stream) -> None:
        """Draw each matrix from N(0, scale^2 / inputs); norms stay 1.

        An embedding's rows are looked up, not summed, and take 1 / width. Under muP what
        does not grow on both sides (embeddings, head) keeps the base width's.
        """
        from phasecube.engine.models.initialise import fill_normal

        std = {}
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                continue
            if name.startswith("blocks."):
                inputs = weight.shape[0]
            else:
                inputs = params.base_width if params.parametrization == "mup" else params.width
            std[name] = params.init_scale * _own_scale(name, params) / inputs**0.5
        fill_normal(model, std, stream)

    def lr_factor(self, params: LanguageModelParams) -> Mapping[str, float]:
        """Return base_width / width for each matrix inside the blocks, under muP.

        Reference: Yang et al. 2022, arXiv:2203.03466, table 8, column of Adam.
        """
        multiple = _multiple(params)
        if multiple is None:
            return {}
        parts = ("attention.query", "attention.key", "attention.value", "attention.output")
        names = [
            f"blocks.{i}.{part}"
            for i in range(params.depth)
            for part in (*parts, "mlp_in", "mlp_out")
        ]
        return dict.fromkeys(names, 1 / multiple)

    def data(self, params: LanguageModelParams, stream: Stream) -> dict[str, Tensor]:
        """Return training and held-out sequences of context + 1 tokens."""
        import torch

        train_RL, held_RL = sequences(params, stream)
        kind = torch.int32  # a pack holds one pool for each seed
        return {
            "train": torch.as_tensor(train_RL).to(kind),
            "held_out": torch.as_tensor(held_RL).to(kind),
        }

    def loss(self, trial: Trial) -> Tensor:
        """Return cross-entropy plus weighted z-loss on this step's sequences."""
        from phasecube.engine.losses import z_loss

        params, train_RL = trial.params, trial.data["train"]
        row_B = trial.rng.integers("batch", train_RL.shape[0], (params.batch,))
        loss, log_z_N = _predicted(trial, train_RL[row_B])
        both: Tensor = loss + params.z_loss * z_loss(log_z_N)
        return both

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted measures from one forward pass over the held-out sequences."""
        import torch

        from phasecube.engine.measures import activations, attention
        from phasecube.engine.models.decoder import Seen

        seen = Seen()
        loss, log_z_N = _predicted(trial, trial.data["held_out"], seen)

        def each(of: Callable[[Tensor], Tensor], layers: list[Tensor]) -> Tensor:
            return torch.stack([of(layer) for layer in layers])

        def largest() -> Tensor:
            return each(attention.largest_logit, seen.scores)

        found: dict[str, Callable[[], Tensor]] = {
            "val_loss": lambda: loss,
            "max_attention_logit": lambda: largest().amax(),
            "log_z_mean": lambda: log_z_N.mean(),
            "log_z_rms": lambda: activations.rms(log_z_N),
            "max_attention_logit_per_layer": largest,
            "attention_entropy": lambda: each(attention.attention_entropy, seen.scores),
            "activation_rms": lambda: each(activations.rms, seen.stream),
            "massive_ratio": lambda: each(activations.massive_ratio, seen.stream),
        }
        return {name: found[name]() for name in found if name in wanted}

    def labels(self, measure: str, params: LanguageModelParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the blocks' numbers from input to output."""
        return tuple(str(i + 1) for i in range(params.depth))


def sequences(params: LanguageModelParams, stream: Stream) -> tuple[text.Tokens, text.Tokens]:
    """Return training and held-out sequences, [rows, context + 1] each."""
    length = params.context + 1
    chain = chain_of(params, stream)
    if chain is None:
        return text.file_sequences(
            params.tokens,
            params.tokens_digest,
            params.vocabulary,
            (params.sequences, params.held_out),
            length,
            stream,
        )
    both_RL = chain.sequences(stream, params.sequences + params.held_out, length)
    return both_RL[: params.sequences], both_RL[params.sequences :]


def chain_of(params: LanguageModelParams, stream: Stream) -> text.Chain | None:
    """Return the law of a trial's made text, None where it is read from a file."""
    copies = params.copy_probability, params.copy_distance
    if params.tokens == "markov":
        return text.markov_chain(stream, params.vocabulary, params.concentration, *copies)
    if params.tokens == "zipf":
        return text.zipf_chain(params.vocabulary, params.zipf_exponent, *copies)
    return None


def _predicted(trial: Trial, tokens_BL: Tensor, seen: Seen | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of each next token, and log Z of each."""
    from phasecube.engine.losses import cross_entropy_and_log_z

    # int64: torch gathers by nothing shorter.
    tokens_BL = tokens_BL.long()
    logits_NV = trial.model(tokens_BL[:, :-1], seen)
    return cross_entropy_and_log_z(logits_NV, tokens_BL[:, 1:].reshape(-1))


def _multiple(params: LanguageModelParams) -> float | None:
    return params.width / params.base_width if params.parametrization == "mup" else None


def _own_scale(name: str, params: LanguageModelParams) -> float:
    if "embedding" in name:
        return params.embedding_init_scale
    if name == "head":
        return params.head_init_scale
    return params.attention_init_scale if "attention" in name else params.mlp_init_scale
