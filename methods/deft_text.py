"""DeFT, the part that runs on cached image features."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from methods.base import Batch, Method, Task, mean_over
from methods.kinds import Count
from methods.registry import register


@register("deft_text")
class DeFTText(Method):
    """DeFT's positive and negative prompts, p_yes(c) = softmax([s⁺_c, s⁻_c])_1, without its visual part.  Wei et al., NeurIPS 2024.

    A sample is believed clean when p_yes(y) > .5. The positive context learns by CE (clean samples; all during warm-up), the
    negative one by -log p_no(ȳ) - log p_yes(y'), ȳ a random other class, y' = y where clean, else the predicted class.

    Paper: Vision-Language Models are Strong Noisy Label Detectors (arXiv 2409.19696).
    Reference code: github.com/HotanLee/DeFT
    Tuned by the authors: one warm-up epoch of ten, learning rate .03, batches of 64 (this suite's protocol has its own).
    Deviations: no visual prompts and no second phase (full fine-tuning on what was selected): both need the image tower, so this
    is the text side alone and no full DeFT. As in public code, s⁺ gets no gradient from p_yes and p_no, and probabilities are
    clamped at 1e-5. The warm-up epoch is the protocol's own at learning rate 1e-5 (theirs learns at .03), so the first partition is
    near chance. Where no sample of a batch is believed clean, its CE counts 0; public code has the mean of nothing there, NaN.
    """

    title: ClassVar[str] = "DeFT (text)"
    version: ClassVar[int] = 2  # 2: with `ctx_init` the two contexts no longer start alike
    contexts: ClassVar[int] = 2
    warmup: Count = 1

    def start(self, task: Task) -> None:
        """Every sample is believed clean at first."""
        super().start(task)
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N]

    def loss(self, batch: Batch) -> Tensor:
        """-log p_y of the clean samples - log p_no(ȳ) - log p_yes(y'), [B]."""
        positive, negative = batch.logits[:, 0]  # [B, C] each
        margin, floor, classes = positive.detach() - negative, math.log(1e-5), positive.shape[1]
        self.belief[batch.index] = margin.detach().gather(1, batch.given)[:, 0].sigmoid()
        clean = (self.belief[batch.index] > 0.5) | (batch.epoch < self.warmup)
        step = torch.randint(1, classes, batch.labels.shape, generator=batch.generator, device=batch.generator.device)
        other = (batch.labels + step.to(batch.labels.device)) % classes
        pseudo = torch.where(clean, batch.labels, positive.argmax(dim=1))
        log_no = logsigmoid(-margin).clamp_min(floor).gather(1, other[:, None])[:, 0]
        log_yes = logsigmoid(margin).clamp_min(floor).gather(1, pseudo[:, None])[:, 0]
        return mean_over(clean, -batch.log_p_y) - log_no - log_yes

    def clean_belief(self) -> Tensor:
        """p_yes of the given label when each sample was last seen, [N]."""
        return self.belief
