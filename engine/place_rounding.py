"""Operations whose rounding depends on where in a tensor a number stands.

torch's CPU kernels treat a tensor in blocks of two vectors and leave the rest at its end to
scalar code. For the operations named here the two round differently (found by comparing
60 functions in slices of a pack, both precisions; the others, tanh, exp, log, erf, sqrt,
softmax, sums and products among them, agreed in every bit). Spare lanes at the end of a
pack keep that rest away from the lanes that count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

REST = 31  # numbers left to scalar code: two vectors of 16 float32 (AVX-512), less one
ROUND_BY_PLACE = frozenset(
    {
        *("sigmoid", "gelu", "gelu_backward", "silu", "silu_backward", "elu", "elu_backward"),
        *("softplus", "softplus_backward", "mish", "mish_backward", "exp2", "sinh", "cosh"),
        *("atanh", "pow", "atan2", "hypot", "logaddexp", "logaddexp2"),
    }
)
EXACT_POWERS = (0, 0.5, 1, 2, 3, -1)  # written as products, roots and quotients


class PlaceRounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, finds how many spare lanes what is computed needs."""

    def __init__(self, n_lanes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._n_lanes = n_lanes
        self.spare: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, noting how small a lane's part of its result is."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.rstrip("_")
        if name in ROUND_BY_PLACE and isinstance(result, Tensor) and not _exact(name, args):
            per_lane = max(1, result.numel() // self._n_lanes)
            self.spare = max(self.spare, -(-REST // per_lane))
        return result


def _exact(name: str, args: tuple[Any, ...]) -> bool:
    power = args[1] if name == "pow" else None
    return isinstance(power, int | float) and power in EXACT_POWERS


def spare_lanes(run: Callable[[], Any], n_lanes: int) -> int:
    """Return how many lanes are to be trained beside those of `run`, which has `n_lanes`."""
    found = PlaceRounding(n_lanes)
    with found:
        run()
    return found.spare
