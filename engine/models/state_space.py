"""A diagonal linear state-space layer whose step size depends on the input.

Reference: Gu & Dao 2023, arXiv:2312.00752 (Mamba), without its input-dependent B and C.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class StateSpace(nn.Module):
    """h_t = exp(Delta_t A) h_(t-1) + Delta_t B x_t, y_t = C h_t + D x_t; channels N decay alone.

    Delta_t = softplus(W x_t + b) > 0 and A = -exp(log_decay) < 0, each [channels]: no state
    can grow, whatever the input.
    """

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.log_decay = nn.Parameter(torch.zeros(channels))
        self.step_weight = nn.Parameter(torch.zeros(channels, inputs))
        self.step_bias = nn.Parameter(torch.zeros(channels))
        self.input = nn.Parameter(torch.zeros(channels, inputs))
        self.output = nn.Parameter(torch.zeros(outputs, channels))
        self.skip = nn.Parameter(torch.zeros(outputs, inputs))

    def forward(
        self, x_RTI: Tensor, start_RN: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs [rows, time, outputs], states and Delta_t A [rows, time, channels].

        Delta_t A is the logarithm of what a step multiplies a state by. `start_RN` is the
        state before the first input, 0 if it is not given. All times are computed at once
        from sums of Delta_t A; the memory grows as time squared.
        """
        delta_RTN = softplus(x_RTI @ self.step_weight.T + self.step_bias)
        log_factor_RTN = delta_RTN * -self.log_decay.exp()
        log_kept_RTN = log_factor_RTN.cumsum(1)
        entered_RTN = delta_RTN * (x_RTI @ self.input.T)
        # [.., t, s, ..]: what is left at t of what entered at s; nothing before it enters.
        log_left_RTSN = log_kept_RTN.unsqueeze(2) - log_kept_RTN.unsqueeze(1)
        times = torch.arange(x_RTI.shape[1], device=x_RTI.device)
        later_TS1 = (times.unsqueeze(1) >= times).unsqueeze(-1)
        # The mask first: the exponential of a time that runs backwards may overflow.
        left_RTSN = torch.where(later_TS1, log_left_RTSN, -torch.inf).exp()
        state_RTN = (left_RTSN * entered_RTN.unsqueeze(1)).sum(2)
        if start_RN is not None:
            state_RTN = state_RTN + log_kept_RTN.exp() * start_RN.unsqueeze(1)
        output_RTO = state_RTN @ self.output.T + x_RTI @ self.skip.T
        return output_RTO, state_RTN, log_factor_RTN
