"""An ablation of DSPT: what freedom from hyper-parameters buys or costs."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive
from methods.registry import register


@register("dspt_t")
class DSPTWithTemperature(Method):
    """DSPT with a temperature on the second softmax: cross entropy on softmax(softmax(z) / T).  Ours, an ablation of DSPT.

    T = 1 is DSPT. A smaller T weighs the confidence penalty more and enlarges the step by up to 1/T; T → ∞ is MAE over T. It adds,
    on purpose, the hyper-parameter that DSPT does without.

    Paper: none; DSPT is arXiv 2605.00591.
    Reference code: this file.
    Tuned by the authors: T = .5 is a round number, not tuned.
    Deviations: none.
    """

    title: ClassVar[str] = "DSPT-T"
    temperature: Positive = 0.5

    def loss(self, batch: Batch) -> Tensor:
        """-log softmax(softmax(z) / T)_y, [B]."""
        return torch.nn.functional.cross_entropy(batch.log_p.exp() / self.temperature, batch.labels, reduction="none")
