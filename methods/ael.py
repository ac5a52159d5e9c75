"""Asymmetric exponential loss."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive
from methods.registry import register


@register("ael")
class AEL(Method):
    """Asymmetric exponential loss, exp(-p_y / a).  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: a = 2.5 on CIFAR-10 and CIFAR-100 (the default here), 3.5 on MNIST.
    Deviations: none. It sees p alone, whatever the logit scale; its slope in p_y is exp(-p_y / a) / a, .27 to .4 of MAE's at the
    default, and so is the step.
    """

    title: ClassVar[str] = "AEL"
    a: Positive = 2.5

    def loss(self, batch: Batch) -> Tensor:
        """exp(-p_y / a), [B]."""
        return (-batch.p_y / self.a).exp()
