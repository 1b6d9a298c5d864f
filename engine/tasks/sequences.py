"""Small sequence tasks: an input stream and what is to be told of its past at each time."""

from __future__ import annotations

import torch
from torch import Tensor


def moving_average(x_RT: Tensor, memory: Tensor | float) -> Tensor:
    """Return y_t = memory y_(t-1) + (1 - memory) x_t from y = 0, [rows, time]."""
    times_T = torch.arange(x_RT.shape[1], device=x_RT.device)
    age_TS = times_T.unsqueeze(1) - times_T
    # A power as an exponential: torch's pow rounds by where in a tensor a number stands.
    log_memory = torch.as_tensor(memory, dtype=x_RT.dtype, device=x_RT.device).log()
    kept_TS = torch.where(age_TS >= 0, (age_TS * log_memory).exp(), 0.0)
    average_RT: Tensor = x_RT @ ((1 - memory) * kept_TS).T
    return average_RT


def last_marked(x_RT: Tensor, mark_RT: Tensor) -> Tensor:
    """Return at each time the latest x whose mark is 1; the first x where there is none yet."""
    times_T = torch.arange(x_RT.shape[1], device=x_RT.device)
    past_TS = times_T.unsqueeze(1) >= times_T
    marked_RTS = (mark_RT > 0).unsqueeze(1) & past_TS
    last_RT = torch.where(marked_RTS, times_T, 0).amax(-1)
    return x_RT.gather(1, last_RT)
