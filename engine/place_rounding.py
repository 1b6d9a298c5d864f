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
from torch.overrides import TorchFunctionMode

REST = 31  # numbers left to scalar code: two vectors of 16 float32 (AVX-512), less one
ROUND_BY_PLACE = frozenset(
    {
        *("sigmoid", "special_expit", "gelu", "silu", "elu", "selu", "celu", "softplus", "mish"),
        *("exp2", "special_exp2", "sinh", "cosh", "atanh", "arctanh", "atan2", "arctan2"),
        *("pow", "rpow", "float_power", "hypot", "logaddexp", "logaddexp2"),
    }
)
EXACT_POWERS = (0, 0.5, 1, 2, 3, -1)  # written as products, roots and quotients


class PlaceRounding(TorchFunctionMode):
    """While active, finds how many spare lanes what is computed under vmap needs."""

    def __init__(self) -> None:
        super().__init__()
        self.spare: int = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, noting how many numbers a lane's part of its result holds."""
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if name in ROUND_BY_PLACE and isinstance(result, Tensor) and not _exact(name, args):
            self.spare = max(self.spare, -(-REST // max(1, result.numel())))
        return result


def _exact(name: str, args: tuple[Any, ...]) -> bool:
    power = args[1] if name == "pow" and len(args) > 1 else None
    return isinstance(power, int | float) and power in EXACT_POWERS


def spare_lanes(run: Callable[[], Any]) -> int:
    """Return how many lanes are to be trained beside those of `run`: a step and its measures."""
    found = PlaceRounding()
    with found:
        run()
    return found.spare
