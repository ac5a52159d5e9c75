"""Asymmetric unhinged loss."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import AboveOne, Positive
from methods.registry import register


@register("aul")
class AUL(Method):
    """Asymmetric unhinged loss, ((a - p_y)^q - (a - 1)^q) / q.  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: a = 5.5, q = 3 on CIFAR-10 and CIFAR-100 (the default here), a = 3, q = .1 on MNIST.
    Deviations: none. It sees p alone, whatever the logit scale; its slope in p_y is (a - p_y)^(q-1), 20 to 30 times MAE's at the
    default, and so is the step.
    """

    title: ClassVar[str] = "AUL"
    a: AboveOne = 5.5
    q: Positive = 3.0

    def loss(self, batch: Batch) -> Tensor:
        """((a - p_y)^q - (a - 1)^q) / q, [B]."""
        rest = 1 - batch.p_y
        return math.pow(self.a - 1, self.q) * torch.expm1(self.q * torch.log1p(rest / (self.a - 1))) / self.q  # no cancellation
