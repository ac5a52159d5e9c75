"""Sparse over-parameterisation: the label noise of each sample is learned beside the prompt."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from methods.base import Batch, Method, Task
from methods.kinds import Positive, Weight
from methods.registry import register


@register("sop")
class SOP(Method):
    """SOP: CE of p + u² e_y - v² (1 - e_y); u, v model a sample's label noise, sparse as they start near 0.  Liu et al., ICML 2022.

    Paper: Robust Training under Label Noise by Over-parameterization (arXiv 2202.14026).
    Reference code: github.com/shengliu66/SOP
    Tuned by the authors: lr_u, lr_v per data set and kind of noise; 1 and 10 on CIFAR-100 (the default here, their configuration
    file's).
    Deviations: u and v take plain SGD steps inside `loss`, once per visit of a sample, as the contract has no optimiser for a
    method's own parameters; their gradients are those of the batch's mean. As in the paper u descends CE alone and the squared
    error has weight 1, which is public code of August 2022: it had 100 before, and since September the squared error moves u
    as well. No SOP+ (consistency, balance). As there p' is clamped at 1e-4, u² and v² at 1 - 1e-4, so what is confidently
    wrong, which at CLIP's logit scale is a gap of 9, teaches nothing.
    """

    title: ClassVar[str] = "SOP"
    lr_u: Weight = 1.0
    lr_v: Weight = 10.0
    std: Positive = 1e-8

    def start(self, task: Task) -> None:
        """One u and C values of v per sample, from N(0, std²)."""
        super().start(task)
        size = len(task.labels), 1 + task.num_classes
        drawn = self.std * torch.randn(size, generator=task.generator, device=task.generator.device).to(task.zero_shot)
        self.u, self.v = drawn[:, :1], drawn[:, 1:]  # [N, 1] and [N, C]

    def loss(self, batch: Batch) -> Tensor:
        """-log p'_y, [B], p' = normalise(max(p + u² e_y - v² (1 - e_y), 1e-4)); and a step of u and v.

        u descends -log p'_y, v descends ‖e_ŷ + u² e_y - v² (1 - e_y) - e_y‖², ŷ the predicted class; both as means over the batch.
        """
        classes = batch.z.shape[1]
        given = one_hot(batch.labels, classes).to(batch.z)
        hard = one_hot(batch.z.argmax(dim=1), classes).to(batch.z)  # ŷ, constant
        u, v = (state[batch.index].requires_grad_() for state in (self.u, self.v))
        more, less = (u.square() * given).clamp_max(1 - 1e-4), (v.square() * (1 - given)).clamp_max(1 - 1e-4)
        p = torch.nn.functional.normalize((batch.log_p.exp() + more - less.detach()).clamp_min(1e-4), p=1, dim=1)
        fit = -p.clamp_min(1e-4).log().gather(1, batch.given)[:, 0]
        noise = (hard + more.detach() - less - given).square().sum(dim=1)
        at_u, at_v = torch.autograd.grad((fit + noise).mean(), (u, v), retain_graph=True)
        self.u[batch.index], self.v[batch.index] = (u - self.lr_u * at_u).detach(), (v - self.lr_v * at_v).detach()
        return fit
