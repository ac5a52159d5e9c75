"""Cross entropy on logits of bounded norm."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive
from methods.registry import register


@register("logit_clip")
class LogitClip(Method):
    """LogitClip, cross entropy on z min(1, τ / ‖z‖₂): no sample's loss can grow without bound.  Wei et al., ICML 2023.

    Paper: Mitigating Memorization of Noisy Labels by Clipping the Model Prediction (arXiv 2212.04055).
    Reference code: github.com/hongxin001/LogitClip
    Tuned by the authors: τ per data set and noise on a validation set; 1 here, theirs for CIFAR-10 with moderate symmetric noise.
    Deviations: τ counts in units of the logit scale, so it bounds ‖cosines‖₂: CLIP's logits, many times a CNN's, would be cut to
    next to nothing. The cosines of C classes share an offset, which softmax ignores and the norm does not: at cosines near .2 the
    bound 1 begins to bite at 25 classes. Clipped logits have norm τ, as in the paper; public code compares the norm with τ and
    then scales to 1/τ, which is the same at 1 only.
    """

    title: ClassVar[str] = "LogitClip"
    tau: Positive = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """-log softmax(z min(1, τ scale / ‖z‖₂))_y, [B]."""
        norm, bound = batch.z.norm(dim=1, keepdim=True), self.tau * batch.scale
        held = torch.where(norm > 1.00001 * bound, norm, bound)  # rounding decides nothing at the bound
        clipped = batch.z * bound / held
        return -clipped.log_softmax(dim=1).gather(1, batch.given)[:, 0]
