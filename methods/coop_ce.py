"""CoOp with cross entropy: the baseline and the control of every comparison."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("coop_ce")
class CoOpCE(Method):
    """CoOp with cross entropy, -log p_y.  Zhou et al., IJCV 2022.

    Paper: Learning to Prompt for Vision-Language Models (arXiv 2109.01134).
    Reference code: github.com/KaiyangZhou/CoOp
    Tuned by the authors: number of context tokens, class position and epochs per number of shots: here the training protocol's.
    Deviations: cached features; V fixed augmented views stand in for a fresh crop per epoch.
    """

    title: ClassVar[str] = "CoOp"

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y, [B]."""
        return -batch.log_p_y
