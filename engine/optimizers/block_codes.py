"""Eight bits for each number of an optimizer's state: a code, scaled by the largest of its block.

Reference: Dettmers et al. 2022, arXiv:2110.02861; the code: Dettmers 2016, arXiv:1511.04561.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

N_CODES = 256
N_DECADES = 7


def dynamic_codes(*, signed: bool) -> Tensor:
    """Return 256 numbers up to 1 in order, float64: 0, 1, and seven decades below 1.

    The upper of two neighbouring decades holds twice as many, in the middles of equal parts;
    the uppermost 64 of each sign, or 128 where there is no sign.
    """
    found = [torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)]
    for decade in range(N_DECADES):
        n_parts = 2 ** (decade if signed else decade + 1)
        borders = torch.linspace(0.1, 1.0, n_parts + 1, dtype=torch.float64)
        middles = (borders[:-1] + borders[1:]) / 2 * 10.0 ** (decade + 1 - N_DECADES)
        found += [middles, -middles] if signed else [middles]
    return torch.cat(found).sort().values


def linear_codes(*, signed: bool) -> Tensor:
    """Return equally spaced numbers from -1 or 0 to 1, float64; 0 is among them."""
    most = N_CODES // 2 - 1 if signed else N_CODES - 1
    return torch.arange(-most if signed else 0, most + 1, dtype=torch.float64) / most


CODES = {"dynamic": dynamic_codes, "linear": linear_codes}


class BlockCodes:
    """Rounds rows to numbers that 8 bits each and one number a block can hold."""

    def __init__(
        self, code: str, block_size: int, dtype: torch.dtype, device: torch.device, *, signed: bool
    ) -> None:
        codes = CODES[code](signed=signed)
        self._codes = codes.to(device, dtype)
        self._borders = ((codes[1:] + codes[:-1]) / 2).to(device, dtype)
        self._block_size = block_size

    def round_(self, rows_Kp: Tensor) -> None:
        """Replace each number by its nearest code times the largest of its block, in place.

        A block size of 0 makes each row one block.
        """
        size = rows_Kp.shape[1]
        block = self._block_size or size
        # Zeros at the end enlarge no block's largest number.
        padded = functional.pad(rows_Kp, (0, -size % block)).view(len(rows_Kp), -1, block)
        largest = padded.abs().amax(-1, keepdim=True)
        # A block of zeros divides by one: its code is zero.
        scaled = padded / torch.where(largest > 0, largest, 1.0)
        rounded = self._codes[torch.bucketize(scaled, self._borders)] * largest
        rows_Kp.copy_(rounded.flatten(1)[:, :size])
