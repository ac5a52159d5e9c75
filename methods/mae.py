"""Mean absolute error, the robust loss that DSPT has to be told apart from."""

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("mae")
class MAE(Method):
    """PromptMAE, 1 - p_y.  Ghosh et al., AAAI 2017; for prompts: Pan et al. (NLPrompt), CVPR 2025."""

    def loss(self, batch: Batch) -> Tensor:
        """1 - p_y, [B]."""
        return 1 - batch.z.softmax(dim=1).gather(1, batch.given)[:, 0]
