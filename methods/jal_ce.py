"""Joint asymmetric loss built from cross entropy."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive, Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("jal_ce")
class JALCE(Method):
    """Joint asymmetric loss, α NCE + β mean_k (p_k - a 1{k = y})².  Wang et al., ICCV 2025.

    The second term, an asymmetric mean squared error, is passive where a is large: a constant + mean_k p_k² - 2 a p_y / C.

    Paper: Joint Asymmetric Loss for Learning with Noisy Labels.
    Reference code: github.com/cswjl/joint-asymmetric-loss
    Tuned by the authors: α, β, a = 5, 1, 20 on CIFAR-10 (the default here), 1, 1, 30 on CIFAR-100.
    Deviations: no L1 penalty on all weights. The second term sees p alone, whatever the logit scale, but its slope 2 a / C falls
    with the number of classes: 4 times MAE's at 10 classes, .4 at 100; NCE's shrinks as CLIP's logits spread (see `nce`).
    """

    title: ClassVar[str] = "JAL-CE"
    alpha: Weight = 5.0
    beta: Weight = 1.0
    a: Positive = 20.0

    def loss(self, batch: Batch) -> Tensor:
        """α log p_y / Σ_k log p_k + β mean_k (p_k - a 1{k = y})², [B]."""
        p, p_y = batch.log_p.exp(), batch.p_y
        squares = p.square().sum(dim=1) + self.a * (self.a - 2 * p_y)
        return self.alpha * normalised_ce(batch) + self.beta * squares / p.shape[1]
