"""ε-softmax: cross entropy on nearly one-hot predictions, and mean absolute error."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Weight
from methods.registry import register


@register("eps_softmax")
class EpsSoftmax(Method):
    """ε-softmax, -α log max(q_y, 1e-8) + β ‖p - e_y‖₁, q = (p + m onehot(argmax p)) / (m + 1).  Wang et al., NeurIPS 2024.

    Where the prediction is the given label, CE on q nearly vanishes; elsewhere q_y = p_y / (m + 1).

    Paper: ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise (arXiv 2508.02387).
    Reference code: github.com/cswjl/eps-softmax
    Tuned by the authors: α, β, m = .01, 5, 1e5 on CIFAR-10 with symmetric noise (the default here), .02, 5, 1e3 with asymmetric; on
    CIFAR-100 α per noise rate, an oracle.
    Deviations: none. As in their code ‖p - e_y‖₁ is 2 (1 - p_y), and the clamp at 1e-8 cuts CE's gradient where p_y is below
    m · 1e-8 = .001: at CLIP's logit scale, where a gap of 7 in the logits suffices, most wrong labels teach by MAE alone.
    """

    title: ClassVar[str] = "ε-softmax"
    alpha: Weight = 0.01
    beta: Weight = 5.0
    m: Weight = 1e5

    def loss(self, batch: Batch) -> Tensor:
        """-α log max(q_y, 1e-8) + 2 β (1 - p_y), [B]."""
        largest = batch.log_p.argmax(dim=1) == batch.labels
        log_q_y = torch.where(largest, (batch.p_y + self.m).log(), batch.log_p_y) - math.log1p(self.m)
        return -self.alpha * log_q_y.clamp_min(math.log(1e-8)) + 2 * self.beta * (1 - batch.p_y)
