"""Joint training with co-regularisation."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, mean_over
from methods.co_teaching import CoTeaching, rank
from methods.kinds import Share
from methods.registry import register


@register("jocor")
class JoCoR(CoTeaching):
    """JoCoR: two learners, one joint loss (1-λ) (CE + CE) + λ (KL + KL) on its own smallest values.  Wei et al., CVPR 2020.

    Where the learners disagree, the joint loss is large and the sample is left out: agreement takes the place of Co-teaching's
    exchange.

    Paper: Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization (arXiv 2003.02752).
    Reference code: github.com/hongxin001/JoCoR
    Tuned by the authors: λ on a noisy validation set, .05 to .95; their code's default, .1, is the default here. τ = the true
    noise rate, an oracle.
    Deviations: τ is estimated as in `co_teaching`, the ramp is that one's. The first learner is evaluated (the paper scores both).
    Both start from different contexts, without which they would stay the same.
    """

    title: ClassVar[str] = "JoCoR"
    lam: Share = 0.1

    def loss(self, batch: Batch) -> Tensor:
        """(1-λ) (CE_1 + CE_2) + λ (KL(p_2 ‖ p_1) + KL(p_1 ‖ p_2)) of the samples where it is smallest, 0 for the others, [B]."""
        first, second = batch.logits[:, 0].log_softmax(dim=-1)  # [B, C] each
        ce = -(first + second).gather(1, batch.given)[:, 0]
        symmetric_kl = ((first.exp() - second.exp()) * (first - second)).sum(dim=1)
        joint = (1 - self.lam) * ce + self.lam * symmetric_kl
        count, ranks = self.kept(batch), rank(joint.detach())
        self.belief[batch.index] = (1 - ranks / (2 * count)).clamp_min(0).to(self.belief)
        return mean_over(ranks < count, joint)
