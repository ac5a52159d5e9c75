"""Partially Huberised cross entropy."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import AboveOne
from methods.registry import register


@register("phuber_ce")
class PHuberCE(Method):
    """Partially Huberised cross entropy: CE where p_y > 1/τ, else linear, -τ p_y + log τ + 1.  Menon et al., ICLR 2020.

    Paper: Can gradient clipping mitigate label noise? (OpenReview rklB76EKPr).
    Reference code: none by the authors; a reimplementation: github.com/dmizr/phuber
    Tuned by the authors: τ per data set (2 on CIFAR-10); 10 is the default here.
    Deviations: none. With more than τ classes an undecided sample (p_y = 1/C) lies in the linear part from the start.
    """

    title: ClassVar[str] = "PHuber-CE"
    tau: AboveOne = 10.0

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y where p_y > 1/τ, else -τ p_y + log τ + 1, [B]."""
        linear = -self.tau * batch.p_y + math.log(self.tau) + 1
        return torch.where(batch.p_y > 1 / self.tau, -batch.log_p_y, linear)
