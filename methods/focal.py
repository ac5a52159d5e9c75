"""Focal loss."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.registry import register


@register("focal")
class Focal(Method):
    """Focal loss, -(1 - p_y)^γ log p_y: more weight on what is not fitted, the opposite of robust.  Lin et al., ICCV 2017.

    Paper: Focal Loss for Dense Object Detection (arXiv 1708.02002).
    Reference code: github.com/facebookresearch/Detectron
    Tuned by the authors: γ = 2 for object detection; papers on label noise use .5, the default here.
    Deviations: none. The gradient goes through (1 - p_y)^γ too, as in the paper; the code that label-noise papers share holds that
    factor constant.
    """

    title: ClassVar[str] = "Focal"
    gamma: Weight = 0.5

    def loss(self, batch: Batch) -> Tensor:
        """-(1 - p_y)^γ log p_y, [B]."""
        rest = -torch.expm1(batch.log_p_y)  # 1 - p_y without cancellation
        return -rest.clamp_min(torch.finfo(rest.dtype).tiny).pow(self.gamma) * batch.log_p_y
