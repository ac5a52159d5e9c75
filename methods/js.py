"""Jensen-Shannon divergence."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.gjs import jensen_shannon
from methods.kinds import OpenShare
from methods.registry import register


@register("js")
class JS(Method):
    """Jensen-Shannon divergence, [H(π e_y + (1-π) p) - (1-π) H(p)] / Z.  Englesson & Azizpour, NeurIPS 2021.

    With Z = -(1-π) log(1-π) it tends to cross entropy as π → 0 and to MAE as π → 1.

    Paper: Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels (arXiv 2105.04522).
    Reference code: github.com/ErikEnglesson/GJS
    Tuned by the authors: π per data set *and noise rate* (.1 to .9), an oracle; fixed at .5 here.
    Deviations: π.
    """

    title: ClassVar[str] = "JS"
    pi: OpenShare = 0.5

    def loss(self, batch: Batch) -> Tensor:
        """The divergence of e_y and p at weights π and 1 - π, over Z, [B]."""
        return jensen_shannon(batch.log_p[None], batch.labels, self.pi)
