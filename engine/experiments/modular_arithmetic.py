"""Grokking's standard workload: learn x o y modulo p from a part of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from phasecube.engine.experiment import Experiment, Measure, Params, Trial
from phasecube.engine.tasks.modular import (
    fourier_order,
    is_prime,
    n_pairs,
    n_train_rows,
    table,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from phasecube.engine.streams import Stream

STATIC: dict[str, JsonValue] = {"static": True}


class ModularArithmeticParams(Params):
    """Table, split, labels, model, initial weights and loss."""

    operation: Literal["add", "subtract", "multiply", "divide", "quadratic_form"] = Field(
        "add", description="x + y, x - y, x * y, x / y or x^2 + xy + y^2, modulo `modulus`"
    )
    modulus: int = Field(23, ge=2, le=1009, description="p: symbols, and classes")
    train_fraction: float = Field(
        0.5, gt=0, lt=1, json_schema_extra=STATIC, description="share of all pairs trained on"
    )
    label_corruption: float = Field(
        0.0, ge=0, le=1, description="share of training labels replaced by uniform ones"
    )
    model: Literal["mlp", "transformer"] = Field("mlp", description="network")
    activation: Literal["quadratic", "relu"] = Field("quadratic", description="nonlinearity")
    width: int = Field(128, ge=1, description="hidden units, or the transformer's stream")
    layers: int = Field(1, ge=1, description="mlp: hidden layers")
    heads: int = Field(4, ge=1, description="transformer: attention heads")
    init: Literal["auto", "gromov", "uniform_fan_in", "normal_fan_in"] = Field(
        "auto",
        description="gromov: normal of std 0.5 / (2 width)^(1/3); uniform_fan_in: torch's Linear;"
        " normal_fan_in: std 1 / sqrt(inputs); auto: gromov for the quadratic mlp of one layer,"
        " normal_fan_in for the transformer, else uniform_fan_in",
    )
    init_scale: float = Field(1.0, gt=0, description="factor on every initial weight")
    loss: Literal["mse", "centred_mse", "cross_entropy", "stablemax"] = Field(
        "mse", description="mse: mean over rows and classes; centred_mse: Li2's sum over classes"
    )
    loss_dtype: Literal["training", "float16", "float32", "float64"] = Field(
        "training", description="precision the logits are cast to before the loss"
    )
    ipr_constant_mode: bool = Field(True, description="whether ipr counts the Fourier mode 0")

    def faults(self) -> list[tuple[str, str]]:
        """Return what cannot be trained: no inverse, no rows, heads that do not divide."""
        found = []
        if self.operation == "divide" and not is_prime(self.modulus):
            found.append(("modulus", f"divide needs a prime, {self.modulus} is none"))
            return found
        pairs = n_pairs(self.operation, self.modulus)
        rows = n_train_rows(self.operation, self.modulus, self.train_fraction)
        if not 0 < rows < pairs:
            side = "training" if rows == 0 else "validation"
            found.append(
                ("train_fraction", f"{self.train_fraction} of {pairs} pairs leaves no {side} row")
            )
        if self.model == "transformer":
            if self.width % self.heads:
                found.append(("heads", f"{self.heads} does not divide width {self.width}"))
            if self.layers != 1:
                found.append(("layers", "the transformer has one layer; use model = 'mlp'"))
        if self.init == "gromov" and (self.model != "mlp" or self.layers != 1):
            found.append(("init", "gromov is for the mlp of one layer; use 'auto'"))
        return found


class ModularArithmetic(Experiment[ModularArithmeticParams]):
    """Train on n pairs of the table, validate on all others, full batch.

    The defaults are Gromov's quadratic network at modulus 23 (docs/science.md, G1).
    """

    name: ClassVar[str] = "modular_arithmetic"
    version: ClassVar[int] = 1
    params_type: ClassVar[type[Params]] = ModularArithmeticParams
    defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "lr": 1e-2,
        "beta2": 0.98,
        "weight_decay": 5.0,
        "steps": 400,
    }
    measures: ClassVar[Mapping[str, Measure]] = {
        "train_accuracy": Measure("accuracy on the training rows, against the labels trained on"),
        "val_accuracy": Measure("accuracy on the pairs held out"),
        "val_loss": Measure("loss on the pairs held out"),
        "logit_margin": Measure("training rows: label's logit minus the largest other, mean"),
        "softmax_collapse": Measure(
            "share of training rows whose softmax denominator is 1 in the loss's precision"
        ),
        "ipr": Measure("inverse participation ratio of the neurons' Fourier spectra, mean"),
        "train_accuracy_true": Measure(
            "accuracy on the training rows, against the true results", recorded=False
        ),
        "corrupted_memorised": Measure(
            "corrupted rows answered with the corrupted label", recorded=False
        ),
        "corrupted_restored": Measure(
            "corrupted rows answered with the true result", recorded=False
        ),
        "weight_norm_per_layer": Measure("Euclidean norm of each weight", dim="layer"),
    }

    def model(self, params: ModularArithmeticParams) -> nn.Module:
        """Return the network that reads (left, right) and gives logits."""
        from phasecube.engine.models.pair_mlp import PairMlp
        from phasecube.engine.models.pair_transformer import PairTransformer

        p = params.modulus
        if params.model == "transformer":
            return PairTransformer(
                p, params.width, p, heads=params.heads, activation=params.activation
            )
        return PairMlp(p, params.width, p, layers=params.layers, activation=params.activation)

    def init(self, model: nn.Module, params: ModularArithmeticParams, stream: Stream) -> None:
        """Draw the weights as `init` says, times `init_scale`."""
        from phasecube.engine.models.initialise import fill_normal, fill_uniform, gromov_std

        kind, scale = _init_kind(params), params.init_scale
        if kind == "gromov":
            std = scale * gromov_std(params.width)
            fill_normal(model, dict.fromkeys(dict(model.named_parameters()), std), stream)
            return
        spread = {name: scale / n**0.5 for name, n in _fan_in(model, params).items()}
        (fill_uniform if kind == "uniform_fan_in" else fill_normal)(model, spread, stream)

    def data(self, params: ModularArithmeticParams, stream: Stream) -> dict[str, Tensor]:
        """Return every pair in the trial's own order; the first rows are those trained on.

        Splits of one seed are nested over train_fraction, corrupted rows over
        label_corruption.
        """
        import torch

        left, right, result = table(params.operation, params.modulus)
        order = stream.permutation("split", len(result))
        n_train = n_train_rows(params.operation, params.modulus, params.train_fraction)
        columns = {"left": left, "right": right, "result": result}
        tensors = {
            name: torch.as_tensor(values)[torch.as_tensor(order)]
            for name, values in columns.items()
        }
        corrupted_R = torch.arange(n_train) < int(params.label_corruption * n_train)
        uniform_R = torch.as_tensor(
            stream.integers("corrupted labels", params.modulus, (len(result),))
        )
        truth_R = tensors["result"][:n_train]
        return {
            **tensors,
            "label": torch.where(corrupted_R, uniform_R[:n_train], truth_R),
            "corrupted": corrupted_R,
        }

    def loss(self, trial: Trial) -> Tensor:
        """Return the loss on the training rows."""
        label_R = trial.data["label"]
        n_train = label_R.shape[0]
        logits_RC = trial.model(trial.data["left"][:n_train], trial.data["right"][:n_train])
        return _loss(trial)(logits_RC, label_R)

    def measure(self, trial: Trial, wanted: frozenset[str]) -> dict[str, Tensor]:
        """Return the wanted measures from one forward pass over the whole table."""
        import torch

        from phasecube.engine.measures import classification as on

        data, label_R = trial.data, trial.data["label"]
        n_train = label_R.shape[0]
        logits_RC = trial.model(data["left"], data["right"])
        train_RC, val_RC = logits_RC[:n_train], logits_RC[n_train:]
        true_R, val_R = data["result"][:n_train], data["result"][n_train:]
        corrupted_R = data["corrupted"]
        layers = self.labels("weight_norm_per_layer", trial.params)
        found: dict[str, Callable[[], Tensor]] = {
            "train_accuracy": lambda: on.accuracy(train_RC, label_R),
            "val_accuracy": lambda: on.accuracy(val_RC, val_R),
            "val_loss": lambda: _loss(trial)(val_RC, val_R),
            "logit_margin": lambda: on.logit_margin(train_RC, label_R),
            "softmax_collapse": lambda: on.softmax_collapse(_in_loss_dtype(trial, train_RC)),
            "ipr": lambda: _ipr(trial),
            "train_accuracy_true": lambda: on.accuracy(train_RC, true_R),
            "corrupted_memorised": lambda: on.share(on.hits(train_RC, label_R), corrupted_R),
            "corrupted_restored": lambda: on.share(on.hits(train_RC, true_R), corrupted_R),
            "weight_norm_per_layer": lambda: torch.stack(
                [trial.weights[layer].norm() for layer in layers]
            ),
        }
        return {name: found[name]() for name in found if name in wanted}

    def labels(self, measure: str, params: ModularArithmeticParams) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the weights from input to output; needs no torch."""
        if params.model == "transformer":
            return (
                *("embedding", "position", "query", "key", "value", "attention_output"),
                *("mlp_in", "mlp_out", "unembedding"),
            )
        return ("input", *(f"hidden.{i}" for i in range(params.layers - 1)), "output")


def _init_kind(params: ModularArithmeticParams) -> str:
    if params.init != "auto":
        return params.init
    if params.model == "transformer":
        return "normal_fan_in"
    published = params.activation == "quadratic" and params.layers == 1
    return "gromov" if published else "uniform_fan_in"


def _fan_in(model: nn.Module, params: ModularArithmeticParams) -> dict[str, int]:
    # Weights are [inputs, outputs]; a transformer's embeddings are rows that are looked
    # up, not summed, and take the stream's width (Nanda et al. 2023).
    looked_up = ("embedding", "position")
    return {
        name: params.width if name in looked_up else weight.shape[0]
        for name, weight in model.named_parameters()
    }


def _in_loss_dtype(trial: Trial, logits_RC: Tensor) -> Tensor:
    import torch

    dtype = trial.params.loss_dtype
    return logits_RC if dtype == "training" else logits_RC.to(getattr(torch, dtype))


def _loss(trial: Trial) -> Callable[[Tensor, Tensor], Tensor]:
    from phasecube.engine.losses import LOSSES

    function = LOSSES[trial.params.loss]
    return lambda logits_RC, label_R: function(_in_loss_dtype(trial, logits_RC), label_R)


def _ipr(trial: Trial) -> Tensor:
    """Return the mean over neurons and over the neuron's rows: left, right and, where the
    hidden layer is read out directly, output; for the transformer over its embedding."""
    import torch

    from phasecube.engine.measures.fourier import inverse_participation_ratio

    params, weights = trial.params, trial.weights
    p = params.modulus
    if params.model == "transformer":
        rows_NP = [weights["embedding"][:p].T]
    else:
        rows_NP = [weights["input"][:p].T, weights["input"][p:].T]
        if params.layers == 1:
            rows_NP.append(weights["output"])
    order = torch.as_tensor(fourier_order(params.operation, p), device=rows_NP[0].device)
    ratios = inverse_participation_ratio(
        torch.stack(rows_NP)[..., order], constant_mode=params.ipr_constant_mode
    )
    return ratios.nanmean()  # a neuron that decayed to exact zeros has no spectrum
