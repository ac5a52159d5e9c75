"""Co-teaching with two prompt learners."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Method, Task, mean_over
from methods.registry import register


def estimated_noise_rate(p: Tensor, labels: Tensor) -> float:
    """The share of wrong labels by confident learning (Northcutt et al., JAIR 2021), from noisy labels alone.

    A sample counts for the class j of its largest p_j among those above the class's threshold, the mean p_j of the samples
    labelled j. Counts of (given, counted) classes, rescaled to the number of samples of each given label, estimate the joint
    distribution of given and true labels; its share off the diagonal is the noise rate.

    Args:
        p: Probabilities [N, C] by a model that has not seen these labels.
        labels: Given labels [N].
    """
    given = torch.nn.functional.one_hot(labels, p.shape[1]).to(p.dtype)  # [N, C]
    threshold = (given * p).sum(dim=0) / given.sum(dim=0)  # [C]; NaN, and so never reached, for a class without samples
    confident = p >= threshold
    counted = torch.nn.functional.one_hot(torch.where(confident, p, -1.0).argmax(dim=1), p.shape[1]).to(p.dtype)
    joint = given.T @ (counted * confident.any(dim=1, keepdim=True))  # [C, C]
    joint = joint / joint.sum(dim=1, keepdim=True).clamp_min(1) * given.sum(dim=0)[:, None]
    return 1 - (joint.trace() / joint.sum()).item()


def smallest(losses: Tensor, count: int) -> Tensor:
    """The mask [B] of the `count` smallest losses."""
    keep = torch.zeros_like(losses, dtype=torch.bool)
    keep[losses.argsort(stable=True)[:count]] = True
    return keep


@register("co_teaching")
class CoTeaching(Method):
    """Co-teaching: two prompt learners exchange their small-loss samples, keep rate 1 - min(t/10, 1) τ.  Han et al., NeurIPS 2018.

    Paper: Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels (arXiv 1804.06872).
    Reference code: github.com/bhanML/Co-teaching
    Tuned by the authors: τ = the true noise rate, an oracle: `co_teaching_oracle` is that one. The ramp of 10 epochs is theirs.
    Deviations: τ is estimated here, from the noisy labels and the zero-shot probabilities (confident learning). The loss is the
    mean over the exchanged samples, as in the paper; public code divides that mean by their number once more, which its Adam hides.
    At least one sample is kept. The first learner is evaluated.
    """

    contexts: ClassVar[int] = 2
    ramp: int = 10

    def start(self, task: Task) -> None:
        """Settle τ; every sample is believed clean at first."""
        super().start(task)
        self.tau = self.noise_rate(task)
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N]

    def noise_rate(self, task: Task) -> float:
        """τ, estimated from what is known in practice."""
        return estimated_noise_rate(task.zero_shot.softmax(dim=1), task.labels)

    def loss(self, batch: Batch) -> Tensor:
        """Each learner's CE on the samples that the other finds easy, summed over both, [B]."""
        log_p = batch.logits[:, 0].log_softmax(dim=-1)  # [2, B, C]
        first, second = -log_p.gather(2, batch.given.expand(2, -1, 1))[..., 0]
        count = max(1, int((1 - min(batch.epoch / self.ramp, 1) * self.tau) * len(first)))
        easy, easy_too = smallest(first.detach(), count), smallest(second.detach(), count)
        self.belief[batch.index] = torch.stack([easy, easy_too]).to(self.belief).mean(dim=0)
        return mean_over(easy_too, first) + mean_over(easy, second)

    def clean_belief(self) -> Tensor:
        """How many of the two learners kept each sample when it was last seen: 0, .5 or 1, [N]."""
        return self.belief


@register("co_teaching_oracle")
class CoTeachingOracle(CoTeaching):
    """Co-teaching told the true noise rate, as published: an oracle.  Han et al., NeurIPS 2018.

    Paper, reference code, deviations: see `co_teaching`; only τ differs.
    Tuned by the authors: τ = the true noise rate.
    """

    oracle: ClassVar[Literal["rate", "labels"] | None] = "rate"

    def noise_rate(self, task: Task) -> float:
        """τ, the truth.

        Raises:
            ValueError: The task does not hold it.
        """
        if task.noise_rate is None:
            raise ValueError("co_teaching_oracle needs the task's true noise rate")
        return task.noise_rate
