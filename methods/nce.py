"""Normalised cross entropy."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


def normalised_ce(batch: Batch) -> Tensor:
    """CE over the sum of CE to every class, log p_y / Σ_k log p_k, [B]: between 0 and 1."""
    return batch.log_p_y / batch.log_p.sum(dim=1)


@register("nce")
class NCE(Method):
    """Normalised cross entropy, log p_y / Σ_k log p_k: the active half of the active passive losses.  Ma et al., ICML 2020.

    Paper: Normalized Loss Functions for Deep Learning with Noisy Labels (arXiv 2006.13554).
    Reference code: github.com/HanxunH/Active-Passive-Losses
    Tuned by the authors: nothing. They call it robust but underfitting, hence the sums with a passive loss.
    Deviations: none. The denominator grows with the logits' spread: at CLIP's scale it is about C times the mean gap to the largest
    logit, 10 to 20 at a random prompt, so the gradient is smaller than CE's by that factor.
    """

    title: ClassVar[str] = "NCE"

    def loss(self, batch: Batch) -> Tensor:
        """NCE, [B]."""
        return normalised_ce(batch)
