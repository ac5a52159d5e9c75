"""DSPT, the method under test."""

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("dspt")
class DSPT(Method):
    """Double-Softmax Prompt Tuning: cross entropy on softmax(softmax(z)).  arXiv 2605.00591, ICML 2026.

    The outer softmax over probabilities saturates where the model is confidently on another class, so such a sample gives almost
    no gradient. Identity: loss = (1 - p_y) + (log Σ_k exp(p_k) - 1), that is MAE plus a label-independent confidence penalty.
    It never reaches 0: its minimum is log(C - 1 + e) - 1.
    """

    def loss(self, batch: Batch) -> Tensor:
        """-log softmax(softmax(z))_y, [B]."""
        return torch.nn.functional.cross_entropy(batch.z.softmax(dim=1), batch.labels, reduction="none")
