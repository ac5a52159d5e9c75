"""Label smoothing."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Share
from methods.registry import register


@register("label_smoothing")
class LabelSmoothing(Method):
    """Label smoothing: cross entropy to (1 - t) onehot + t/C.  Szegedy et al., CVPR 2016; under noise: Lukasik et al., ICML 2020.

    Papers: Rethinking the Inception Architecture for Computer Vision (arXiv 1512.00567); Does label smoothing mitigate label noise?
    (arXiv 2003.02819).
    Reference code: torch's own `cross_entropy`, used here.
    Tuned by the authors: t = .1 on ImageNet (2016); larger t helps under more noise (2020), which would be an oracle.
    Deviations: none.
    """

    title: ClassVar[str] = "Label smoothing"
    t: Share = 0.1

    def loss(self, batch: Batch) -> Tensor:
        """-(1 - t) log p_y - t/C Σ_k log p_k, [B]."""
        return torch.nn.functional.cross_entropy(batch.z, batch.labels, reduction="none", label_smoothing=self.t)
