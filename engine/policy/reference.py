"""The KL to a reference policy, estimated from the tokens that were sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from phasecube.engine.policy.rollouts import Update


def penalty(update: Update) -> Tensor:
    """Return `kl_coefficient` times an estimate of KL(policy || reference), as the loss is reduced.

    Estimators of Schulman 2020 (joschu.net/blog/kl-approx.html), with x = log reference - log
    policy of the sampled token: k1 = -x, k2 = x^2 / 2, k3 = exp(x) - x - 1, which GRPO uses
    (Shao et al. 2024, arXiv:2402.03300, eq. 4). As numbers on the policy that answered, k1 and k3
    have no bias; as losses their mean gradients are 0 for k1, that of KL(policy || reference)
    for k2, and that of KL(reference || policy) for k3 (Tang & Munos 2025, arXiv:2506.09477).
    The released code clamps k3 to [-10, 10], where its gradient ends; here it is not clamped.
    """
    assert update.reference_BGLV is not None, "the part kl_reference needs a kept reference"
    token_BGL1 = update.rollouts.token_BGL.unsqueeze(-1)
    reference_BGL = update.reference_BGLV.gather(-1, token_BGL1).squeeze(-1)
    x_BGL = reference_BGL - update.log_prob_BGL
    estimate_BGL = {
        "k1": lambda: -x_BGL,
        "k2": lambda: x_BGL.square() / 2,
        "k3": lambda: x_BGL.exp() - x_BGL - 1,
    }[update.params.kl_estimator]()
    found: Tensor = update.params.kl_coefficient * update.mean(estimate_BGL)
    return found


def warnings(params: Any) -> list[tuple[str, str]]:
    """Return an estimator that only adds noise."""
    if params.kl_estimator != "k1":
        return []
    return [
        (
            "kl_estimator",
            "k1 as a loss has a mean gradient of 0 on the policy that answered: it holds nothing "
            "and adds noise; use k2 (gradient of KL(policy || reference)) or k3",
        )
    ]
