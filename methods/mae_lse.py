"""DSPT taken apart: MAE and the log-sum-exp penalty, written out."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.registry import register


@register("mae_lse")
class MAEWithPenalty(Method):
    """DSPT written out as MAE plus a confidence penalty, (1 - p_y) + w (log Σ_k exp(p_k) - 1).  Ours, an ablation of DSPT.

    w = 1 equals `dspt` exactly, w = 0 is `mae`: the weight tells which of the two parts does the work.

    Paper: none; DSPT is arXiv 2605.00591.
    Reference code: this file.
    Tuned by the authors: nothing.
    Deviations: none.
    """

    title: ClassVar[str] = "MAE + LSE"
    weight: Weight = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """(1 - p_y) + w (log Σ_k exp(p_k) - 1), [B]."""
        return 1 - batch.p_y + self.weight * (batch.log_p.exp().logsumexp(dim=1) - 1)
