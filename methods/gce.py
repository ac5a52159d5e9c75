"""Generalised cross entropy."""

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("gce")
class GCE(Method):
    """Generalised cross entropy, (1 - p_y^q) / q.  Zhang & Sabuncu, NeurIPS 2018.

    q → 0 is cross entropy, q = 1 is MAE. PTNL (ICCV 2023) uses q = .5 for CLIP prompts.
    """

    q: float = 0.7

    def loss(self, batch: Batch) -> Tensor:
        """(1 - p_y^q) / q, [B]; p_y^q through log p, whose gradient stays finite where p_y underflows."""
        log_p_y = batch.z.log_softmax(dim=1).gather(1, batch.given)[:, 0]
        return (1 - (self.q * log_p_y).exp()) / self.q
