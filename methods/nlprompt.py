"""NLPrompt: optimal transport finds the clean samples, MAE takes the others."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method, Predict, Task
from methods.kinds import Positive
from methods.registry import register

SPREAD = 300.0  # of cost / regularisation: the kernel's entries are above e^-300, and no scaling leaves float64


def transport(logits: Tensor, reg: float) -> Tensor:
    """The entropic optimal-transport plan [N, C] between samples and classes, both uniform, at cost -log_softmax(softmax(z)).

    In float64, and in the log domain where `reg` is so small that plain Sinkhorn underflows to an all-zero plan. POT's
    plain loop runs in numpy: several times faster than on torch's tensors, and on a GPU every turn of it would wait for the device.
    """
    import ot  # noqa: PLC0415 - takes a second, and a plan needs the class only

    logits = logits.cpu() if logits.is_mps else logits  # MPS has no float64
    cost = -logits.double().softmax(dim=1).log_softmax(dim=1)
    cost = cost - cost.min()  # the same plan, and the largest entry of the kernel is 1
    rows, columns = (cost.new_full((size,), 1 / size) for size in cost.shape)
    plain = float(cost.max()) < SPREAD * reg
    given = [of.cpu().numpy() if plain else of for of in (rows, columns, cost)]
    method = "sinkhorn" if plain else "sinkhorn_log"
    return torch.as_tensor(ot.sinkhorn(*given, reg, method=method, numItermax=1000, stopThr=1e-6, warn=False))


@register("nlprompt")
class NLPrompt(Method):
    """NLPrompt: CE where optimal transport confirms the label, else MAE (PromptOT + PromptMAE).  Pan et al., CVPR 2025.

    Before every epoch an entropic transport plan between all training samples and the classes gives pseudo-labels (row argmax); a
    sample is clean where that is its given label.

    Paper: NLPrompt: Noise-Label Prompt Learning for Vision-Language Models (arXiv 2412.01256).
    Reference code: github.com/qunovo/NLPrompt
    Tuned by the authors: learning rates .001, .0006, .0007 in their script; regularisation .01 in the code, .001 in the script.
    Deviations: .01, in the log domain: at .001 the public code's plain Sinkhorn underflows, the plan is all zero and the method
    becomes MAE; in the log domain a class's share of the plan is then still off by 6 % and more after 1000 iterations (at .01 by
    less than 1 %). Predictions are those of the clean view, of all samples (public code: of a crop, without the last batch). Clean
    and other samples share batches; public code takes all clean batches first, then the others, so a small set weighs more there.
    """

    title: ClassVar[str] = "NLPrompt"
    version: ClassVar[int] = 2  # 2: the belief is the plan's mass, no longer 0 or 1
    reg: Positive = 0.01

    def start(self, task: Task) -> None:
        """Every sample is believed clean until the first plan."""
        super().start(task)
        self.clean = torch.ones_like(task.labels, dtype=torch.bool)  # [N]
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N]

    def epoch_start(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002 - a hook's signature
        """Transport all samples to the classes."""
        plan = transport(predict()[0], self.reg)
        given = self.task.labels.to(plan.device)
        self.clean = (plan.argmax(dim=1) == given).to(self.clean.device)
        self.belief = (len(plan) * plan.gather(1, given[:, None])[:, 0]).clamp(0, 1).float().to(self.belief.device)

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y of clean samples, 1 - p_y of the others, [B]."""
        return torch.where(self.clean[batch.index], -batch.log_p_y, 1 - batch.p_y)

    def clean_belief(self) -> Tensor:
        """The share of a sample's mass that the plan moves to the given label, [N]; a row's largest may be less than one half."""
        return self.belief
