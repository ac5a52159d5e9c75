"""Symmetric cross entropy."""

import math

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("sce")
class SCE(Method):
    """Symmetric cross entropy, α CE + β RCE.  Wang et al., ICCV 2019.

    RCE = -Σ_k p_k log clamp(onehot_k, 1e-4) = -log(1e-4) (1 - p_y). Defaults are the authors' for CIFAR-10.
    """

    alpha: float = 0.1
    beta: float = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """α (-log p_y) + β 9.21 (1 - p_y), [B]."""
        log_p_y = batch.z.log_softmax(dim=1).gather(1, batch.given)[:, 0]
        return -self.alpha * log_p_y - self.beta * math.log(1e-4) * (1 - log_p_y.exp())
