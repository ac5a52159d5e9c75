"""DivideMix on prompts."""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Method, Predict, Task
from methods.joapr import partition
from methods.kinds import AtLeastOne, Count, Positive, Share, Weight
from methods.mixup import beta_draw, mixed_log_p
from methods.registry import register


def sharpened(p: Tensor, temperature: float) -> Tensor:
    """Rows p^(1/T), normalised, [B, C]."""
    return (p.clamp_min(1e-12).log() / temperature).softmax(dim=1)


@register("dividemix")
class DivideMix(Method):
    """DivideMix on two prompts: each splits the samples for the other by a loss mixture, then MixMatch.  Li et al., ICLR 2020.

    Labelled (P(clean) = w > .5): w y + (1-w) p, p the mean over two views; unlabelled: the mean of both learners' p; both
    sharpened. Loss on mixed samples: CE of the labelled + λ_u times the squared error of the unlabelled + KL(uniform ‖ mean p).

    Paper: DivideMix: Learning with Noisy Labels as Semi-supervised Learning (arXiv 2002.07394).
    Reference code: github.com/LiJunnan1992/DivideMix
    Tuned by the authors: λ_u per data set *and noise rate* (0 to 150), an oracle; 25 here, their code's default, as are α = 4,
    T = .5, threshold .5 and λ_u's ramp over 16 epochs. Warm-up 10 of 300 epochs on CIFAR-10, 30 on CIFAR-100.
    Deviations: prompts, not networks. Both learners take each batch together, their losses summed. Labelled and unlabelled samples
    share it, so each part weighs by its share (public code: a batch and a mean of each), and one view is mixed (there: both). λ_u
    rises epoch by epoch (there: step by step). The warm-up is CE alone, theirs for symmetric noise. Features are mixed, not pixels.
    No mean of the losses over five epochs, which theirs has at 90 % noise. Evaluation sums both learners' logits, as theirs.
    """

    title: ClassVar[str] = "DivideMix"
    contexts: ClassVar[int] = 2
    views: ClassVar[int] = 2
    warmup: Count = 1
    threshold: Share = 0.5
    temperature: Positive = 0.5
    alpha: Positive = 4.0
    lambda_u: Weight = 25.0
    ramp: AtLeastOne = 16

    def start(self, task: Task) -> None:
        """Every sample is believed clean until the first partition."""
        super().start(task)
        self.p_clean = task.zero_shot.new_ones(2, len(task.labels))  # [2, N]: row k divides for learner k

    def epoch_start(self, epoch: int, predict: Predict) -> None:
        """Partition the training set by each learner's losses, for the other."""
        if epoch < self.warmup:
            return
        log_p = predict().log_softmax(dim=-1).cpu()
        losses = -log_p.gather(2, self.task.labels.cpu().expand(2, -1)[..., None])[..., 0].double().numpy()  # [2, N]
        for learner, own in enumerate(losses):
            scaled = (own - own.min()) / max(np.ptp(own), 1e-12)
            self.p_clean[1 - learner] = torch.from_numpy(partition(scaled, self.threshold, self.task.draw_seed())[0])

    def loss(self, batch: Batch) -> Tensor:
        """Both learners' CE during warm-up; then both learners' MixMatch loss, [B]."""
        p = batch.logits.detach().softmax(dim=-1).mean(dim=1)  # [2, B, C], mean over the views
        losses = []
        for learner in range(2):
            own = replace(batch, text=batch.text[learner : learner + 1])
            losses.append(-own.log_p_y if batch.epoch < self.warmup else self.mixmatch(own, p, learner))
        return losses[0] + losses[1]

    def mixmatch(self, own: Batch, p: Tensor, learner: int) -> Tensor:
        """One learner's loss on mixed samples, [B]."""
        weight = self.p_clean[learner, own.index][:, None]
        labelled = weight > self.threshold  # [B, 1]
        given = torch.nn.functional.one_hot(own.labels, p.shape[2])
        guess = torch.where(labelled, weight * given + (1 - weight) * p[learner], p.mean(dim=0))
        target = sharpened(guess, self.temperature)
        drawn = beta_draw(self.alpha, own.generator)
        lam = max(drawn, 1 - drawn)
        log_p, partner = mixed_log_p(own, lam)
        mixed = lam * target + (1 - lam) * target[partner]
        fit = -(mixed * log_p).sum(dim=1)
        distance = (log_p.exp() - mixed).square().mean(dim=1)
        ramp = self.lambda_u * min(max((own.epoch - self.warmup) / self.ramp, 0.0), 1.0)
        log_mean = log_p.logsumexp(dim=0) - math.log(len(log_p))
        prior = -math.log(p.shape[2]) - log_mean.mean()
        return torch.where(labelled[:, 0], fit, ramp * distance) + prior

    def scores(self, text: Tensor, images: Tensor, scale: float) -> Tensor:
        """The sum of both learners' logits, [N, C]."""
        return scale * images @ text.sum(dim=0).T

    def clean_belief(self) -> Tensor:
        """The mean of both learners' P(clean), [N]."""
        return self.p_clean.mean(dim=0).clamp(0, 1)
