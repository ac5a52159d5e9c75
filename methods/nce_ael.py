"""Active passive loss: normalised cross entropy and asymmetric exponential loss."""

from typing import ClassVar

from torch import Tensor

from methods.ael import AEL
from methods.base import Batch
from methods.kinds import Positive, Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("nce_ael")
class NCEAEL(AEL):
    """Normalised CE and asymmetric exponential loss, α NCE + β exp(-p_y / a).  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: α, β, a = 1, 4, 5 on CIFAR-10 (the default here), 10, .1, 1.5 on CIFAR-100.
    Deviations: none. AEL sees p alone, whatever the logit scale; NCE's gradient shrinks as CLIP's logits spread (see `nce`), so
    the passive part weighs more here than in the paper.
    """

    title: ClassVar[str] = "NCE+AEL"
    a: Positive = 5.0
    alpha: Weight = 1.0
    beta: Weight = 4.0

    def loss(self, batch: Batch) -> Tensor:
        """α NCE + β AEL, [B]."""
        return self.alpha * normalised_ce(batch) + self.beta * super().loss(batch)
