"""Active negative loss built from cross entropy."""

import math
from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import BelowChance, Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("anl_ce")
class ANLCE(Method):
    """Active negative loss, α NCE + β (1 - a_y / Σ_k a_k), a_k = log max(p_k, ε) - log ε.  Ye et al., NeurIPS 2023.

    The second term is the normalised CE to the complementary labels ("vertically flipped"), a passive loss that is not MAE.

    Paper: Active Negative Loss Functions for Learning with Noisy Labels (arXiv 2412.02373).
    Reference code: github.com/Virusdoll/Active-Negative-Loss
    Tuned by the authors: α = β = 5 on CIFAR-10 (the default here), α = 10, β = 1 on CIFAR-100; ε = 1e-7.
    Deviations: no δ ‖θ‖₁ on all weights (5e-5 on CIFAR-10), which is about a whole network: here the
    engine's weight decay on a few tokens stands for it. ε means logits 16 below the largest: at CLIP's scale 100 many classes lie
    lower, count a_k = 0 and get no gradient from the second term; NCE's shrinks as the logits spread (see `nce`).
    """

    title: ClassVar[str] = "ANL-CE"
    alpha: Weight = 5.0
    beta: Weight = 5.0
    eps: BelowChance = 1e-7

    def loss(self, batch: Batch) -> Tensor:
        """α log p_y / Σ_k log p_k + β (1 - a_y / Σ_k a_k), [B]."""
        above = (batch.log_p - math.log(self.eps)).clamp_min(0)  # [B, C], a_k
        return self.alpha * normalised_ce(batch) + self.beta * (1 - above.gather(1, batch.given)[:, 0] / above.sum(dim=1))
