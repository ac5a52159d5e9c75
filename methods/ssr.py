"""SSR on prompts."""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base import Batch, Method, Predict, Task
from methods.kinds import AtLeastOne, Positive, Share
from methods.mixup import beta_draw, mixed_log_p
from methods.registry import register


@register("ssr")
class SSR(Method):
    """SSR on prompts: confident predictions relabel, neighbours in feature space select, mixup trains.  Feng et al., BMVC 2022.

    Before every epoch: max_k p_k > θ_r relabels a sample with its predicted class. The labels of its k nearest neighbours, over
    each class's frequency, vote; it is clean where its label's vote is at least θ_s times the largest.

    Paper: SSR: An Efficient and Robust Framework for Learning with Unknown Label Noise (arXiv 2111.11288).
    Reference code: github.com/MrChenFeng/SSR_BMVC2022
    Tuned by the authors: θ_s = 1, k = 200 everywhere; θ_r per data set (.9 by default, .8 at high noise); Beta(4) for mixup.
    Deviations: neighbours are those of CLIP's frozen features, so only the labels that vote change over epochs; k is the number of
    shots per class where that is smaller, since 200 neighbours of 16 shots are other classes. No feature consistency (the image
    tower is frozen), no class-balanced sampling: batches stay those of all methods, their mean is over the clean samples. Features
    of one view are mixed, not pixels of two. CLIP's predictions at scale 100 pass θ_r often: it relabels early.
    """

    title: ClassVar[str] = "SSR"
    version: ClassVar[int] = 2  # 2: the belief is graded
    theta_s: Share = 1.0
    theta_r: Share = 0.9
    k: AtLeastOne = 200
    alpha: Positive = 4.0

    def start(self, task: Task) -> None:
        """Find the neighbours, each sample its own first one; all are believed clean until the first epoch."""
        super().start(task)
        count = min(self.k, max(1, round(len(task.labels) / task.num_classes)))
        self.neighbours = (task.images[0] @ task.images[0].T).topk(count, dim=1).indices  # [N, k]
        self.labels = task.labels
        self.clean = torch.ones_like(task.labels, dtype=torch.bool)  # [N]
        self.belief = torch.ones(len(task.labels), device=task.labels.device)  # [N]

    def epoch_start(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002 - a hook's signature
        """Relabel and select."""
        largest, predicted = predict()[0].softmax(dim=1).max(dim=1)
        self.labels = torch.where(largest > self.theta_r, predicted, self.task.labels)
        given = torch.nn.functional.one_hot(self.labels, self.task.num_classes).float()  # [N, C]
        votes = given[self.neighbours].mean(dim=1) / given.mean(dim=0).clamp_min(1e-12)
        most = votes.max(dim=1).values
        own, of_given = (votes.gather(1, labels[:, None])[:, 0] for labels in (self.labels, self.task.labels))
        self.clean = own >= self.theta_s * most
        self.belief = of_given / most

    def loss(self, batch: Batch) -> Tensor:
        """-λ log p_y - (1-λ) log p_y' of the clean samples, p of the mixed sample, y, y' as relabelled; 0 for the others, [B]."""
        keep = self.clean[batch.index]
        loss = 0 * batch.log_p_y
        kept = keep.nonzero()[:, 0]
        if len(kept):
            clean = batch.only(kept)
            drawn = beta_draw(self.alpha, batch.generator)
            lam = max(drawn, 1 - drawn)
            log_p, partner = mixed_log_p(clean, lam)
            labels = self.labels[clean.index][:, None]
            fit = -(lam * log_p.gather(1, labels) + (1 - lam) * log_p.gather(1, labels[partner]))[:, 0]
            loss[kept] = fit * (len(keep) / keep.sum())
        return loss

    def clean_belief(self) -> Tensor:
        """The given label's vote over the largest vote, [N]."""
        return self.belief
