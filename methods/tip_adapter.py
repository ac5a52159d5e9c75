"""Training-free Tip-Adapter."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Method, Task
from methods.kinds import Weight
from methods.registry import register


@register("tip_adapter")
class TipAdapter(Method):
    """Tip-Adapter: scale f·t + α Σ_i exp(-β (1 - f·k_i)) y_i, a cache of the shots, nothing trained.  Zhang et al., ECCV 2022.

    The keys k are the shots' image features, the mean over augmented views where there are any; the values y their given labels.

    Paper: Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification (arXiv 2207.09519).
    Reference code: github.com/gaopengcuhk/Tip-Adapter
    Tuned by the authors: α and β per data set, from α = 1, β = 5.5; public code searches them on clean validation images.
    Deviations: no search, so α and β are what the paper begins with; at a logit scale below CLIP's 100 the cache weighs more. One
    template instead of several.
    """

    title: ClassVar[str] = "Tip-Adapter"
    train: ClassVar[bool] = False
    from_shots: ClassVar[bool] = True
    learns_little: ClassVar[str] = "nothing is trained, and α and β are not searched"
    alpha: Weight = 1.0
    beta: Weight = 5.5

    def start(self, task: Task) -> None:
        """Fill the cache: keys [N, D] and values [N, C]."""
        super().start(task)
        images = task.images
        self.keys = torch.nn.functional.normalize(images[min(1, len(images) - 1) :].mean(dim=0), dim=1)
        self.values = torch.nn.functional.one_hot(task.labels, task.num_classes).to(images)

    def scores(self, text: Tensor, images: Tensor, scale: float) -> Tensor:
        """The template's logits and the cache's, [N, C]."""
        near = torch.exp(self.beta * (images @ self.keys.T - 1))
        return super().scores(text, images, scale) + self.alpha * near @ self.values
