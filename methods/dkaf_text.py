"""DKAF, the part that runs on cached image features."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize, one_hot

from methods.base import Batch, Method, Predict, Task, mean_over
from methods.kinds import Count, Share, Weight
from methods.registry import register


@register("dkaf_text")
class DKAFText(Method):
    """DKAF's prompts, one positive and ten negative: its detector without the visual part.  Ning & Chen, AAAI 2026.

    As DeFT's, p_yes(c) = softmax([s⁺_c, s⁻_c])_1, but a sample is believed clean when the mean of p_yes(y) over the negatives,
    averaged over epochs, is above .5, and y' of the others is the class by α p_text + (1-α) p_visual, with prototypes of the
    clean samples' features. The positive learns by SCE(1, 1) during warm-up, then by CE of the clean with margins: class k of
    label y gets 9 (1 - n_y / max n) (α cos(t_y, t_k) + (1-α) cos(v_y, v_k)) more, n the clean and the confident (≥ τ) of a
    class.

    Paper: Mitigating Endogenous Confirmation Bias in Noisy Label Learning for Vision-Language Models.
    Reference code: github.com/iLearn-Lab/AAAI26-DKAF
    Tuned by the authors: warm-up, 1 of 10 epochs under synthetic noise, 5 where people labelled. Learning rate .03, batches of 64.
    Deviations: no visual prompts, and neither the refined labels nor the fine-tuning of the image tower for which they are made.
    In training public code adds 1 - α where p_visual (1-α) belongs, as it has it later, so that y' is text's alone and far
    more samples are confident: not here. Prototypes, n and α (text's share of both modalities' agreements with clean labels)
    are of the clean view at an epoch's start, not of the batches before; features are the projected ones. The warm-up epoch is
    the protocol's own at rate 1e-5.
    """

    title: ClassVar[str] = "DKAF (text)"
    contexts: ClassVar[int] = 11
    warmup: Count = 1
    momentum: Share = 0.7
    tau: Share = 0.85
    margin: Weight = 9.0
    diversity: Weight = 0.5

    def start(self, task: Task) -> None:
        """Every sample is believed clean at first."""
        super().start(task)
        self.images = task.images[0]  # [N, D]
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N]
        self.alpha = 0.5

    def epoch_start(self, epoch: int, predict: Predict) -> None:
        """After warm-up: visual prototypes v, y' of all samples and the classes' margins, before their similarity."""
        if epoch < self.warmup:
            return
        labels, clean = self.task.labels, self.belief > 0.5
        given = one_hot(labels, self.task.num_classes).to(self.images)  # [N, C]
        prototypes = normalize((given * clean[:, None]).T @ self.images, dim=1)
        text = predict()[0].softmax(dim=1)
        visual = (self.task.scale * self.images @ prototypes.T).softmax(dim=1)
        by_text, by_sight = (int(((p.argmax(dim=1) == labels) & clean).sum()) for p in (text, visual))
        if epoch > self.warmup + 1 and by_text + by_sight > 0:
            self.alpha = by_text / (by_text + by_sight)
        confidence, self.pseudo = (self.alpha * text + (1 - self.alpha) * visual).max(dim=1)
        counted = torch.where(clean, labels, self.pseudo)[clean | (confidence >= self.tau)]
        count = one_hot(counted, self.task.num_classes).sum(dim=0).to(self.images)
        self.room = self.margin * (1 - count / count.max().clamp_min(1))  # [C]
        self.alike = prototypes @ prototypes.T  # [C, C]

    def loss(self, batch: Batch) -> Tensor:
        """The positive's loss - mean log p_no(ȳ) - mean log p_yes(y') + the negatives' mean cosine times its weight, [B]."""
        logits, warm, index = batch.logits[:, 0], batch.epoch < self.warmup, batch.index  # logits [K, B, C]
        gap = logits[0] - logits[1:]  # [K - 1, B, C]
        p_yes = gap.detach().gather(2, batch.given.expand(len(gap), -1, 1))[..., 0].sigmoid()
        if batch.epoch > self.warmup + 1:
            p_yes = self.momentum * self.belief[index] + (1 - self.momentum) * p_yes
        self.belief[index] = p_yes.mean(dim=0)
        target = batch.labels if warm else torch.where(p_yes > 0.5, batch.labels, self.pseudo[index])
        step = torch.randint(1, gap.shape[2], batch.labels.shape, generator=batch.generator, device=batch.generator.device)
        other = (batch.labels + step.to(batch.labels.device)) % gap.shape[2]
        no, yes = (logsigmoid(side).gather(2, y.expand(len(gap), -1)[..., None]).mean(dim=0)[:, 0]
                   for side, y in ((-gap, other), (gap, target)))  # fmt: skip
        negatives = batch.text[1:].sum(dim=0).square().sum(dim=1).mean()  # [C, D]; |Σ n|² = K - 1 + the sum of all cosines
        cosine = (negatives - len(gap)) / (len(gap) * (len(gap) - 1))
        fit = -batch.log_p_y - math.log(1e-4) * (1 - batch.p_y) if warm else self.with_margins(batch)
        return fit - no - yes + self.diversity * cosine

    def with_margins(self, batch: Batch) -> Tensor:
        """CE of the clean samples with margins on the other classes, [B]."""
        text = batch.text[0].detach()
        alike = self.alpha * text @ text.T + (1 - self.alpha) * self.alike
        margins = (self.room[:, None] * alike).fill_diagonal_(0)[batch.labels]
        log_p = (batch.z + margins).log_softmax(dim=1)
        return mean_over(self.belief[batch.index] > 0.5, -log_p.gather(1, batch.given)[:, 0])

    def clean_belief(self) -> Tensor:
        """The mean p_yes of the given label, averaged over epochs, [N]."""
        return self.belief
