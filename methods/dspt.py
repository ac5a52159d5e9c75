"""DSPT, the method under test."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("dspt")
class DSPT(Method):
    """Double-Softmax Prompt Tuning: cross entropy on softmax(softmax(z)).  Li et al., ICML 2026 (arXiv 2605.00591).

    Identity: loss = (1 - p_y) + (log Σ_k exp(p_k) - 1), that is MAE plus a label-independent confidence penalty, whose span is
    log(C-1+e) - log C - 1/C: .059 at C = 10, .007 at C = 100 (see `mae_lse`). Gradient: dL/dz_j = p_j [(q_j - 1{j=y}) -
    Σ_k p_k (q_k - 1{k=y})] with q = softmax(p). It vanishes where the sample is fitted and where the model is confidently on
    another class: the "saturation zone" that filters mislabelled samples. The loss never reaches 0: its minimum is log(C-1+e) - 1.

    Paper: Intrinsic Gradient Suppression for Label-Noise Prompt Tuning in Vision-Language Models.
    Reference code: none known to us; written from the paper's formula.
    Tuned by the authors: nothing; the method has no hyper-parameter (the learning rate is one all the same).
    Deviations: none known.
    """

    title: ClassVar[str] = "DSPT"

    def loss(self, batch: Batch) -> Tensor:
        """-log softmax(softmax(z))_y, [B]."""
        return torch.nn.functional.cross_entropy(batch.log_p.exp(), batch.labels, reduction="none")
