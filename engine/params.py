"""The parameters of a trial: those every run has, those of the experiment, one flat namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from phasecube.engine.experiment import Experiment, Params
from phasecube.engine.function_trial import FunctionExperiment

VARIES: JsonDict = {"static": False}


class RunParams(Params):
    """What every trained experiment has beside its own parameters."""

    seed: int = Field(
        0, ge=0, lt=2**63, json_schema_extra=VARIES, description="root of all streams"
    )
    steps: int = Field(1000, ge=1, le=2**31 - 1, description="optimizer steps")
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of training")
    parent_trial: str = Field(
        "",
        pattern=r"^([0-9a-f]{32})?$",
        json_schema_extra=VARIES,
        description="digest of the trial that this one goes on from; empty: from none",
    )
    branch_step: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        json_schema_extra=VARIES,
        description="the step at which it begins, with the parent's weights and moments",
    )
    optimizer: str = Field("sgd", description="update rule, a key of OPTIMIZERS")
    lr: float = Field(0.1, ge=0, description="learning rate")
    schedule: Literal["constant", "cosine", "wsd", "wsd_s"] = Field(
        "constant",
        description="lr over the run; wsd: warm-up, stable, decay; wsd_s: again to each budget",
    )
    warmup_steps: int = Field(
        0, ge=0, le=2**31 - 1, json_schema_extra=VARIES, description="steps of linear warm-up of lr"
    )
    decay_fraction: float = Field(
        0.1, ge=0, le=1, description="wsd: the last part of all steps, in which lr decays"
    )
    decay_type: Literal["linear", "1-sqrt"] = Field("linear", description="wsd: shape of the decay")
    budgets: str = Field(
        "",
        description='wsd_s: steps at which lr has decayed, "300, 600, 1200"; last: `steps`',
    )
    final_lr_fraction: float = Field(
        0.0, ge=0, le=1, description="cosine, wsd, wsd_s: what lr decays to, as a share of lr"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="sgd, triple_momentum, muon: momentum")
    nesterov: bool = Field(False, description="sgd, muon: Nesterov momentum")
    lookahead: float = Field(
        0.0,
        ge=0,
        description="triple_momentum: where the gradient is taken, in last steps from the iterate",
    )
    beta1: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="adam, adamw, adamw_8bit, lion, muon's AdamW: decay of the first moment",
    )
    beta2: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="adam, adamw, muon's AdamW: decay of the second moment; lion: of the momentum",
    )
    eps: float = Field(
        1e-8, gt=0, description="adam, adamw, muon's AdamW: added to the root of the second moment"
    )
    weight_decay: float = Field(
        0.0,
        ge=0,
        description="sgd, adamw, lion, muon: decoupled decay, theta -= lr * weight_decay * theta",
    )
    independent_weight_decay: bool = Field(
        False, description="weight_decay is multiplied by lr's schedule only, not by lr"
    )
    l2: float = Field(0.0, ge=0, description="sgd, adam: coupled decay, gradient += l2 * theta")
    clip_norm: float = Field(
        0.0, ge=0, description="the gradient of all weights is shortened to this norm; 0: never"
    )
    sam_rho: float = Field(
        0.0, ge=0, description="SAM: how far uphill the gradient is taken; 0: where the weights are"
    )
    gradient_projection: Literal["none", "orthogonal"] = Field(
        "none", description="orthogonal: perpGrad, the gradient's part along each weight removed"
    )
    adjust_lr: Literal["original", "match_rms_adamw"] = Field(
        "match_rms_adamw", description="muon: how lr grows with a matrix, as in torch.optim.Muon"
    )
    adamw_weights: str = Field(
        "*embed*, *head*", description="muon: 2-D weights left to AdamW, patterns of names"
    )
    adamw_lr_ratio: float = Field(1.0, ge=0, description="muon: learning rate of AdamW over lr")
    state_code: Literal["dynamic", "linear"] = Field(
        "dynamic", description="adamw_8bit: the 256 numbers that a moment is rounded to"
    )
    state_block_size: int = Field(
        256, ge=0, description="adamw_8bit: numbers that share one scale; 0: a whole tensor"
    )
    state_min_size: int = Field(
        4096, ge=0, description="adamw_8bit: smaller tensors keep their moments' precision"
    )


# The digest leaves a run parameter out while it has this value: all trials had it before it was a
# parameter, so a new parameter renames no trial. No entry ever changes, also if a default does.
AS_BEFORE: Mapping[str, Any] = {
    "parent_trial": "",
    "branch_step": 0,
    "schedule": "constant",
    "warmup_steps": 0,
    "decay_fraction": 0.1,
    "decay_type": "linear",
    "budgets": "",
    "final_lr_fraction": 0.0,
    "momentum": 0.0,
    "nesterov": False,
    "lookahead": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-08,
    "weight_decay": 0.0,
    "independent_weight_decay": False,
    "l2": 0.0,
    "clip_norm": 0.0,
    "sam_rho": 0.0,
    "gradient_projection": "none",
    "adjust_lr": "match_rms_adamw",
    "adamw_weights": "*embed*, *head*",
    "adamw_lr_ratio": 1.0,
    "state_code": "dynamic",
    "state_block_size": 256,
    "state_min_size": 4096,
}


def branch_faults(steps: int, parent_trial: str, branch_step: int) -> list[tuple[str, str]]:
    """Return (parameter, message) for each combination that no trial can have."""
    if not parent_trial and branch_step:
        return [("branch_step", f"a trial that begins at step {branch_step} has a parent_trial")]
    if parent_trial and not 0 < branch_step < steps:
        message = f"lies after 0 and before the trial's end, {steps}; got {branch_step}"
        return [("branch_step", message)]
    return []


@dataclass(frozen=True)
class Param:
    """One parameter: its type and bounds, default, and whether it is static in a pack."""

    name: str
    field: FieldInfo
    default: Any
    static: bool
    source: Literal["run", "experiment"]

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Return the validator of one value."""
        annotation: Any = Annotated[self.field.annotation, self.field]
        # strict: the text "0.1" is no number and `true` no width; an int is still a float.
        return TypeAdapter(annotation, config={**Params.model_config, "strict": True})

    def validate(self, value: Any) -> Any:
        """Return `value` as the parameter's type; raise ValueError that says what is wrong."""
        if self.field.annotation is int and isinstance(value, float) and value.is_integer():
            value = int(value)  # 2 * width of a derived parameter is 64.0
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            raise ValueError("; ".join(e["msg"] for e in error.errors())) from error


def _is_static(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "static" in extra:
        return bool(extra["static"])
    return info.annotation is not float


def parameters(
    experiment: Experiment[Any] | type[Experiment[Any]] | FunctionExperiment,
) -> Mapping[str, Param]:
    """Return every parameter of a trial of `experiment`, run parameters first."""
    if isinstance(experiment, FunctionExperiment):
        return _function_parameters(experiment)
    found: dict[str, Param] = {}
    for source, model in (("run", RunParams), ("experiment", experiment.params_type)):
        for name, info in model.model_fields.items():
            default = experiment.defaults.get(name, info.default)
            param = Param(name, info, default, _is_static(info), source)  # type: ignore[arg-type]
            # `x: float = 1` means 1.0: a digest knows a value by its type.
            found[name] = replace(param, default=param.validate(default))
    return found


def _function_parameters(experiment: FunctionExperiment) -> Mapping[str, Param]:
    """Return seed, steps and what the function declares; a default's type is the parameter's.

    None is static: a function trains one trial at a time, so a pack may mix all of them.
    """
    run = RunParams.model_fields
    found = {
        name: Param(name, run[name], experiment.params.get(name, run[name].default), False, "run")
        for name in ("seed", "steps")
    }
    for name, default in experiment.params.items():
        if name not in found:
            info = FieldInfo(annotation=type(default), default=default)
            found[name] = Param(name, info, default, False, "experiment")
    return found
