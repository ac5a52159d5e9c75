"""CoOp with cross entropy: the baseline and the control of every comparison."""

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("coop_ce")
class CoOpCE(Method):
    """CoOp with cross entropy, -log p_y.  Zhou et al., IJCV 2022."""

    def loss(self, batch: Batch) -> Tensor:
        """-log softmax(z)_y, [B]."""
        return torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none")
