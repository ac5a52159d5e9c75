"""Active passive loss: normalised cross entropy and asymmetric unhinged loss."""

from typing import ClassVar

from torch import Tensor

from methods.aul import AUL
from methods.base import Batch
from methods.kinds import AboveOne, Positive, Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("nce_aul")
class NCEAUL(AUL):
    """Normalised CE and asymmetric unhinged loss, α NCE + β ((a - p_y)^q - (a - 1)^q) / q.  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: α, β, a, q = 1, 4, 6.3, 1.5 on CIFAR-10 (the default here), 10, .015, 6, 3 on CIFAR-100.
    Deviations: none. AUL sees p alone, whatever the logit scale; NCE's gradient shrinks as CLIP's logits spread (see `nce`), so
    the passive part weighs more here than in the paper.
    """

    title: ClassVar[str] = "NCE+AUL"
    a: AboveOne = 6.3
    q: Positive = 1.5
    alpha: Weight = 1.0
    beta: Weight = 4.0

    def loss(self, batch: Batch) -> Tensor:
        """α NCE + β AUL, [B]."""
        return self.alpha * normalised_ce(batch) + self.beta * super().loss(batch)
