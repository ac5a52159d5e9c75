"""Mixup of image features."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.kinds import Positive
from methods.registry import register


def beta_draw(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(α, α); torch's own Beta takes no generator."""
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def mixed_log_p(batch: Batch, lam: float) -> tuple[Tensor, Tensor]:
    """Log probabilities [B, C] of λ x_i + (1-λ) x_j, normalised again, and each sample's random partner j [B]."""
    order = torch.randperm(len(batch.labels), generator=batch.generator, device=batch.generator.device)
    partner = order.to(batch.labels.device)
    images = torch.nn.functional.normalize(lam * batch.images[0] + (1 - lam) * batch.images[0][partner], dim=1)
    return (batch.scale * images @ batch.text[0].T).log_softmax(dim=1), partner


@register("mixup")
class Mixup(Method):
    """Mixup of image features: CE on λ x_i + (1-λ) x_j to both labels, λ from Beta(α, α).  Zhang et al., ICLR 2018.

    Paper: mixup: Beyond Empirical Risk Minimization (arXiv 1710.09412).
    Reference code: github.com/facebookresearch/mixup-cifar10
    Tuned by the authors: α = 1 on CIFAR (the default here); α up to 32 is tried under label noise.
    Deviations: features are mixed, not pixels (they are cached), and normalised again, so that logits stay scale × cosine.
    """

    title: ClassVar[str] = "Mixup"
    alpha: Positive = 1.0

    def loss(self, batch: Batch) -> Tensor:
        """-λ log p_y - (1-λ) log p_y', [B], with p of the mixed sample and y' the partner's label; one λ per batch."""
        lam = beta_draw(self.alpha, batch.generator)
        log_p, partner = mixed_log_p(batch, lam)
        log_p_y, log_p_other = log_p.gather(1, batch.given)[:, 0], log_p.gather(1, batch.given[partner])[:, 0]
        return -lam * log_p_y - (1 - lam) * log_p_other
