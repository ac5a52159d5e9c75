"""JoAPR: joint adaptive partitioning and label refurbishment."""

import math
import warnings
from itertools import chain, repeat
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Method, Predict, Task
from methods.kinds import Count, Positive, Weight
from methods.mixup import beta_draw, mixed_log_p
from methods.registry import register


def crossing(means: np.ndarray, variances: np.ndarray) -> float:
    """Where two Gaussian densities cross: the upper end of the range in which the one of the lower mean is larger."""
    (m, n), (v, w) = means[means.argsort()], variances[means.argsort()]
    roots = np.roots([w - v, 2 * (n * v - m * w), m**2 * w - n**2 * v + v * w * np.log(v / w)]).real
    return float((m + n) / 2 if len(roots) == 0 else roots.max() if w >= v else roots.min())


def partition(losses: np.ndarray, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """P(clean) [N] by a two-component mixture of losses [N], the clean set [N], and the next threshold, the noise rate."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - takes a second, and a plan needs the class only
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415 - takes a second, and a plan needs the class only

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(losses[:, None])
    p_clean = mixture.predict_proba(losses[:, None])[:, mixture.means_.argmin()]
    rate = float((p_clean <= threshold).mean())
    below = losses < crossing(mixture.means_[:, 0], mixture.covariances_[:, 0, 0])
    return p_clean, below | (p_clean > rate), rate


@register("joapr")
class JoAPR(Method):
    """JoAPR: two partitions by loss, refurbished labels, mixup and a uniform prior on predictions.  Guo & Gu, CVPR 2024.

    Warm-up: CE - α1 H(p). Then, before every epoch, each sample's CE + H(p) on the clean view, scaled to [0, 1] and averaged over
    the last 5 epochs, is split by a Gaussian mixture. Clean are losses below the Gaussians' crossing, and those with P(clean) above
    the estimated noise rate. Labels: clean w y + (1-w) p, others p, both sharpened (squared). Loss: CE on mixed samples
    + α2 KL(uniform ‖ mean p).

    Paper: JoAPR: Cleaning the Lens of Prompt Learning for Vision-Language Models.
    Reference code: github.com/yunncheng/JoAPR
    Tuned by the authors: warm-up (1 to 150 epochs) and α1 (.1 to .5) per data set *and noise rate*, an oracle; α2 per data set. The
    defaults here are what their table has most often; their configuration file has α2 = .5, Caltech101's.
    Deviations, each from the public code: w = P(clean) p_y belongs to its own sample (there, after the first epoch, p_y comes in
    shuffled order). The crossing takes variances as variances (there as standard deviations, with a stray factor 2). It works when
    one of the two sets is empty (there a crash). Features are mixed, not pixels. Kept as published: Beta(.001), which makes mixup a
    no-op (λ > .99 in 99.5 % of draws).
    Step budget, as published: after warm-up a step takes a clean and a noisy batch, and an epoch has as many steps as the longer of
    the two lists. So at half clean, 1600 samples and batches of 32 give 25 steps of 64 where CoOp takes 50 of 32.
    """

    title: ClassVar[str] = "JoAPR"
    version: ClassVar[int] = 3  # 3: the belief is P(clean), no longer 0 or 1
    warmup: Count = 1
    alpha1: Weight = 0.5
    alpha2: Weight = 1.0
    beta: Positive = 0.001

    def start(self, task: Task) -> None:
        """Every sample is believed clean until the first partition."""
        super().start(task)
        self.history: list[np.ndarray] = []
        self.threshold = 0.5
        self.clean = torch.ones_like(task.labels, dtype=torch.bool)  # [N]
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N] P(clean)
        self.weight = self.belief  # [N] w

    def epoch_start(self, epoch: int, predict: Predict) -> None:
        """Partition the training set by its losses."""
        if epoch < self.warmup:
            return
        log_p = predict()[0].log_softmax(dim=1)
        log_p_y = log_p.gather(1, self.task.labels[:, None])[:, 0]
        losses = (-log_p_y - (log_p.exp() * log_p).sum(dim=1)).cpu().double().numpy()
        self.history = [*self.history[-4:], (losses - losses.min()) / max(np.ptp(losses), 1e-12)]
        p_clean, clean, self.threshold = partition(np.mean(self.history, axis=0), self.threshold, self.task.draw_seed())
        self.clean = torch.from_numpy(clean).to(self.clean.device)
        self.belief = torch.from_numpy(p_clean).to(self.belief)
        self.weight = self.belief * log_p_y.exp() if epoch > self.warmup else self.belief

    def batches(self, epoch: int) -> list[Tensor] | None:
        """A clean and a noisy batch per step, the shorter list shuffled and begun again; the engine's batches during warm-up."""
        if epoch < self.warmup:
            return None
        sets = [mask.nonzero()[:, 0] for mask in (self.clean, ~self.clean) if mask.any()]
        steps = max(len(self.task.shuffled(members)) for members in sets)
        lists = [chain.from_iterable(map(self.task.shuffled, repeat(members))) for members in sets]  # without end
        return [torch.cat([next(batches) for batches in lists]) for _ in range(steps)]

    def loss(self, batch: Batch) -> Tensor:
        """CE - α1 H(p) during warm-up; then soft CE on mixed samples + α2 KL(uniform ‖ mean p), [B]."""
        if batch.epoch < self.warmup:
            return -batch.log_p_y + self.alpha1 * (batch.log_p.exp() * batch.log_p).sum(dim=1)
        p = batch.log_p.detach().exp()
        weight = torch.where(self.clean[batch.index], self.weight[batch.index], 0.0)[:, None]
        target = (weight * torch.nn.functional.one_hot(batch.labels, p.shape[1]) + (1 - weight) * p) ** 2
        target = target / target.sum(dim=1, keepdim=True)
        drawn = beta_draw(self.beta, batch.generator)
        lam = max(drawn, 1 - drawn)
        log_p, partner = mixed_log_p(batch, lam)
        log_mean = log_p.logsumexp(dim=0) - math.log(len(p))  # [C]
        prior = -math.log(p.shape[1]) - log_mean.mean()
        return -((lam * target + (1 - lam) * target[partner]) * log_p).sum(dim=1) + self.alpha2 * prior

    def clean_belief(self) -> Tensor:
        """P(clean) by the mixture, [N]; the clean set takes more than those above one half, by either of its two rules."""
        return self.belief
