"""Taylor cross entropy."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Terms
from methods.registry import register


@register("taylor_ce")
class TaylorCE(Method):
    """Taylor cross entropy, Σ_{i=1..t} (1 - p_y)^i / i.  Feng et al., IJCAI 2020.

    The first t terms of CE's Taylor series at p_y = 1: t = 1 is MAE, t → ∞ is cross entropy.

    Paper: Can Cross Entropy Loss Be Robust to Label Noise?
    Reference code: none by the authors known to us.
    Tuned by the authors: t on a validation set, per data set; 2 is the default here, as in later comparisons.
    Deviations: none.
    """

    title: ClassVar[str] = "Taylor-CE"
    t: Terms = 2

    def loss(self, batch: Batch) -> Tensor:
        """Σ_{i=1..t} (1 - p_y)^i / i, [B]."""
        error = 1 - batch.p_y
        loss = error
        for i in range(2, self.t + 1):
            loss = loss + error**i / i
        return loss
