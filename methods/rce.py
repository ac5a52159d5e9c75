"""Reverse cross entropy."""

import math
from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import OpenShare
from methods.registry import register


@register("rce")
class RCE(Method):
    """Reverse cross entropy, -Σ_k p_k log clamp(onehot_k, 1e-4) = 9.21 (1 - p_y).  Wang et al., ICCV 2019.

    That is MAE with a 9.21 times larger step: beside MAE it shows what the step size alone does.

    Paper: Symmetric Cross Entropy for Robust Learning with Noisy Labels (arXiv 1908.06112), one half of it.
    Reference code: github.com/YisenWang/symmetric_cross_entropy_for_noisy_labels
    Tuned by the authors: log 0 is replaced by A = log 1e-4 = -9.21 here, as in their code; their paper tries -2 to -8.
    Deviations: public code also clamps p at 1e-7, which the loss does not need.
    """

    title: ClassVar[str] = "RCE"
    floor: OpenShare = 1e-4

    def loss(self, batch: Batch) -> Tensor:
        """-log(floor) (1 - p_y), [B]."""
        return -math.log(self.floor) * (1 - batch.p_y)
