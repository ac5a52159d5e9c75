"""Active passive loss: normalised cross entropy and asymmetric generalised cross entropy."""

from typing import ClassVar

from torch import Tensor

from methods.agce import AGCE
from methods.base import Batch
from methods.kinds import Positive, Weight
from methods.nce import normalised_ce
from methods.registry import register


@register("nce_agce")
class NCEAGCE(AGCE):
    """Normalised CE and asymmetric generalised CE, α NCE + β ((a + 1)^q - (a + p_y)^q) / q.  Zhou et al., ICML 2021.

    Paper: Asymmetric Loss Functions for Learning with Noisy Labels (arXiv 2106.03110).
    Reference code: github.com/hitcszx/ALFs
    Tuned by the authors: α, β, a, q = 1, 4, 6, 1.5 on CIFAR-10 (the default here), 10, .1, 1.8, 3 on CIFAR-100.
    Deviations: none. AGCE sees p alone, whatever the logit scale; NCE's gradient shrinks as CLIP's logits spread (see `nce`), so
    the passive part weighs more here than in the paper.
    """

    title: ClassVar[str] = "NCE+AGCE"
    a: Positive = 6.0
    q: Positive = 1.5
    alpha: Weight = 1.0
    beta: Weight = 4.0

    def loss(self, batch: Batch) -> Tensor:
        """α NCE + β AGCE, [B]."""
        return self.alpha * normalised_ce(batch) + self.beta * super().loss(batch)
