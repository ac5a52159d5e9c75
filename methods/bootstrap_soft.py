"""Soft bootstrapping."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Share
from methods.registry import register


@register("bootstrap_soft")
class BootstrapSoft(Method):
    """Soft bootstrapping: cross entropy to (1 - t) onehot + t p.  Reed et al., ICLR 2015 (workshop).

    Paper: Training Deep Neural Networks on Noisy Labels with Bootstrapping (arXiv 1412.6596). Its β is 1 - t here.
    Reference code: none by the authors.
    Tuned by the authors: t = .05.
    Deviations: none. The gradient flows through the prediction in the target too, so the second term is the entropy t H(p), as in
    the paper's reading (softmax regression with minimum entropy regularisation).
    """

    title: ClassVar[str] = "Soft bootstrapping"
    t: Share = 0.05

    def loss(self, batch: Batch) -> Tensor:
        """-(1 - t) log p_y - t Σ_k p_k log p_k, [B]."""
        entropy = -(batch.log_p.exp() * batch.log_p).sum(dim=1)
        return -(1 - self.t) * batch.log_p_y + self.t * entropy
