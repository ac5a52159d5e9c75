"""Co-teaching with two prompt learners."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base import Batch, Method, Task, mean_over
from methods.kinds import AtLeastOne
from methods.registry import register


def left_out_predictions(features: Tensor, labels: Tensor, classes: int, ridge: float = 0.01) -> Tensor:
    """The class [N] that a ridge regression of the other samples' labels gives each sample (leave-one-out, in closed form)."""
    x = torch.cat([features.cpu().double(), torch.ones(len(features), 1)], dim=1)  # [N, D + 1]
    given = torch.nn.functional.one_hot(labels.cpu(), classes).double()
    solved: Tensor = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T)  # [D + 1, N]
    leverage = (x * solved.T).sum(dim=1, keepdim=True)
    left_out: Tensor = x @ (solved @ given) - leverage * given  # times 1 / (1 - leverage) > 0, which moves no maximum
    return left_out.argmax(dim=1).to(labels.device)


def estimated_noise_rate(given: Tensor, one: Tensor, other: Tensor, classes: int) -> float:
    """The share of wrong labels, from how often three independent judges agree (Fu et al., ICML 2020: the triplet method).

    Judges whose errors are independent and spread evenly over the other classes agree with chance-corrected frequency
    s_i s_j, s = (C · accuracy - 1) / (C - 1) being a judge's skill. So the given labels' skill is √(s_go s_gu / s_ou). Judges that
    find the same samples hard make the estimate too high: by .02 to .05 on the embedded tasks in domain, .07 to .14 out of domain.

    Args:
        given: Given labels [N].
        one: Classes [N] by a judge that never saw the labels, such as the zero-shot model.
        other: Classes [N] by one that did not see the sample's own label.
        classes: C.
    """

    def agreement(a: Tensor, b: Tensor) -> float:
        return max((classes * (a == b).float().mean().item() - 1) / (classes - 1), 1e-3)

    skill = min(1.0, math.sqrt(agreement(given, one) * agreement(given, other) / agreement(one, other)))
    return (1 - skill) * (classes - 1) / classes


def rank(losses: Tensor) -> Tensor:
    """How many of the losses [B] are smaller than each, [B]."""
    return losses.argsort(stable=True).argsort()


@register("co_teaching")
class CoTeaching(Method):
    """Co-teaching: two prompt learners exchange their small-loss samples, keep rate 1 - min(t/10, 1) τ.  Han et al., NeurIPS 2018.

    Paper: Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels (arXiv 1804.06872).
    Reference code: github.com/bhanML/Co-teaching
    Tuned by the authors: τ = the true noise rate, an oracle: `co_teaching_oracle` is that one.
    Deviations: τ is estimated here, from how often the given labels, the zero-shot model and a linear probe agree (the triplet
    method). The ramp is the paper's; public code's reaches τ an epoch earlier. The loss is the mean over the exchanged samples, as
    in the paper; public code divides that mean by their number once more, which its Adam hides. At least one sample is kept. The
    first learner is evaluated.
    """

    title: ClassVar[str] = "Co-teaching"
    version: ClassVar[int] = 3  # 3: the belief is graded
    contexts: ClassVar[int] = 2
    ramp: AtLeastOne = 10

    def start(self, task: Task) -> None:
        """Settle τ; every sample is believed clean at first."""
        super().start(task)
        self.tau = self.noise_rate(task)
        self.belief = torch.ones_like(task.zero_shot[:, 0])  # [N]

    def noise_rate(self, task: Task) -> float:
        """τ, estimated from what is known in practice."""
        probe = left_out_predictions(task.images[0], task.labels, task.num_classes)
        return estimated_noise_rate(task.labels, task.zero_shot.argmax(dim=1), probe, task.num_classes)

    def kept(self, batch: Batch) -> int:
        """How many of the batch's samples are kept at this epoch."""
        return max(1, int((1 - min(batch.epoch / self.ramp, 1) * self.tau) * len(batch.labels)))

    def loss(self, batch: Batch) -> Tensor:
        """Each learner's CE on the samples that the other finds easy, summed over both, [B]."""
        log_p = batch.logits[:, 0].log_softmax(dim=-1)  # [2, B, C]
        first, second = -log_p.gather(2, batch.given.expand(2, -1, 1))[..., 0]
        count = self.kept(batch)
        ranks = torch.stack([rank(first.detach()), rank(second.detach())])  # [2, B]
        self.belief[batch.index] = (1 - ranks / (2 * count)).clamp_min(0).to(self.belief).mean(dim=0)
        easy, easy_too = ranks < count
        return mean_over(easy_too, first) + mean_over(easy, second)

    def clean_belief(self) -> Tensor:
        """How early each sample came among the losses of its last batch, [N]: 1 the first, .5 the first left out; mean of both."""
        return self.belief


@register("co_teaching_oracle")
class CoTeachingOracle(CoTeaching):
    """Co-teaching told the true noise rate, as published: an oracle.  Han et al., NeurIPS 2018.

    Paper, reference code, deviations: those of `co_teaching`; only τ differs.
    Tuned by the authors: τ = the true noise rate.
    """

    title: ClassVar[str] = "Co-teaching (true rate)"
    oracle: ClassVar[Literal["rate", "labels"] | None] = "rate"

    def noise_rate(self, task: Task) -> float:
        """τ, the truth.

        Raises:
            ValueError: Nobody knows it.
        """
        if task.noise_rate is None or math.isnan(task.noise_rate):
            raise ValueError("co_teaching_oracle needs the true noise rate, which nobody knows here")
        return task.noise_rate
