"""Mean absolute error, the robust loss that DSPT has to be told apart from."""

from typing import ClassVar

from torch import Tensor

from methods.base import Batch, Method
from methods.registry import register


@register("mae")
class MAE(Method):
    """PromptMAE: mean absolute error, 1 - p_y.  Ghosh et al., AAAI 2017; for prompts: Pan et al. (NLPrompt), CVPR 2025.

    Papers: Robust Loss Functions under Label Noise for Deep Neural Networks (arXiv 1712.09482); NLPrompt (arXiv 2412.01256).
    Reference code: github.com/qunovo/NLPrompt (there as GCE with q = 1)
    Tuned by the authors: nothing in the loss; NLPrompt's script sweeps the learning rate.
    Deviations: the constant: |onehot - p| summed over classes is 2 (1 - p_y); half of it, as all public code has it. NLPrompt adds
    1e-6 to p_y, which changes nothing in float32.
    """

    title: ClassVar[str] = "PromptMAE"

    def loss(self, batch: Batch) -> Tensor:
        """1 - p_y, [B]."""
        return 1 - batch.p_y
