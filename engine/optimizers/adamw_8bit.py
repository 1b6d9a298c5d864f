"""AdamW whose moments are kept in eight bits a number.

The numbers are those of 8-bit states; the memory is not saved, because a moment stands in the
precision of training. Reference: Dettmers et al. 2022, arXiv:2110.02861; docs/optimizers.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from phasecube.engine.optimizers.adam import AdamW
from phasecube.engine.optimizers.block_codes import BlockCodes
from phasecube.engine.optimizers.rule import Hyperparameters


class AdamW8Bit(AdamW):
    """AdamW; what the next step finds of both moments is rounded to codes, tensor by tensor.

    The step itself is taken with the moments as they are before they are rounded, as in
    bitsandbytes. Tensors of fewer than `state_min_size` numbers keep theirs.
    """

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__(hyper)
        code, block = hyper.static("state_code"), hyper.static("state_block_size")
        self._codes = {
            name: BlockCodes(code, block, hyper.dtype, hyper.device, signed=signed)
            for name, signed in (("first", True), ("second", False))
        }
        smallest = hyper.static("state_min_size")
        self._rounded = [s for s in hyper.layout.slices if s.stop - s.start >= smallest]

    def update(
        self, weights_KP: Tensor, gradient_KP: Tensor, moments: Mapping[str, Tensor], step: int
    ) -> None:
        """Move every lane by one step."""
        super().update(weights_KP, gradient_KP, moments, step)
        for place in self._rounded:
            for name, codes in self._codes.items():
                codes.round_(moments[name][:, place])
