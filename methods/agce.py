"""Asymmetric generalised cross entropy."""

import math
from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive
from methods.registry import register


@register("agce")
class AGCE(Method):
    """Asymmetric generalised cross entropy, ((a + 1)^q - (a + p_y)^q) / q.  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: a = .6, q = .6 on CIFAR-10 (the default here); other pairs per data set.
    Deviations: none.
    """

    title: ClassVar[str] = "AGCE"
    a: Positive = 0.6
    q: Positive = 0.6

    def loss(self, batch: Batch) -> Tensor:
        """((a + 1)^q - (a + p_y)^q) / q, [B]."""
        return (math.pow(self.a + 1, self.q) - (self.a + batch.p_y).pow(self.q)) / self.q
