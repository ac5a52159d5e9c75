"""What a run tunes: the parameters of S runs to the class text features that their losses see, and gradients back.

A prompt's parameters are context tokens and pass the text tower (`bench.engine.text`). A classifier's are class weights in feature
space, so a step of it costs two small products and no tower. Every learner gives L2-normalised features, so that a loss, which sees
scale × cosine, cannot tell what it trains.
"""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.engine.member import Member
from bench.engine.prompts import CONTEXT_STD
from bench.engine.text import memory_left
from bench.seeds import derive


class Learner(Protocol):
    """What a stack trains. S: the parameter sets of all its runs, K of one run, as many as its method has contexts."""

    def first(self, member: Member) -> Tensor:
        """A run's first parameters, [K, …]; a method with one context gets the first of what one with several gets."""

    def __call__(self, tuned: Tensor, /) -> Tensor:
        """Parameters [S, …] to text features [S, C, D]."""

    def gradient(self, text: Tensor, tuned: Tensor, at_text: Tensor, /) -> Tensor:
        """The gradient at the parameters from that at their text features, [S, C, D]."""

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """How many parameter sets to train at once: what half of the free memory holds, at most `cap`."""


class Classifier:
    """Class weights: normalise(t + w), with frozen t [C, D] and learned w [S, C, D].

    Where they start is the only difference between the three:

    * `linear_probe`: t = 0, w random, of length one about. Radford et al., ICML 2021, without their logistic regression's search.
    * `zero_shot_probe` (ZS-LP): t = 0, w from the template's text features. Silva-Rodríguez et al., CVPR 2024 (arXiv 2312.12730).
    * `task_residual` (TaskRes): t the template's text features, w from 0, α = 1. Yu et al., CVPR 2023 (arXiv 2211.10277). Without
      weight decay it is `zero_shot_probe`, step by step; the protocol's decay pulls it to zero-shot.

    They take the protocol's SGD and schedule, so that nothing but what is tuned differs from a prompt's run. CoOp's rate of .002 is
    no small one here: public code (jusiro/CLAP: SGD .1; geekyutao/TaskRes: Adam .002; both batches of 256, 300 and 200 epochs)
    leaves t as long as the tower makes it, here it has length one, and a step turns w by the rate over its squared length.

    Args:
        zero_shot: Text features [C, D] of the card's template.
        tunes: Which of the three.
    """

    def __init__(self, zero_shot: Tensor, tunes: str) -> None:
        nothing, self.random = torch.zeros_like(zero_shot), tunes == "linear_probe"
        self.frozen, self.start = (zero_shot, nothing) if tunes == "task_residual" else (nothing, zero_shot)

    def first(self, member: Member) -> Tensor:
        """A run's first weights, [K, C, D]; from the second on with a prompt's noise, as learners that start alike stay alike."""
        generator = torch.Generator().manual_seed(derive(member.spec.seed, "context", member.data.card.name))
        drawn = torch.randn(member.method.contexts, *self.start.shape, generator=generator).to(self.start)
        if self.random:
            return drawn / math.sqrt(self.start.shape[1])
        drawn[0] = 0
        return self.start + CONTEXT_STD * drawn

    def __call__(self, tuned: Tensor) -> Tensor:
        """[S, C, D] to [S, C, D]."""
        return normalize(self.frozen + tuned, dim=-1)

    def gradient(self, text: Tensor, tuned: Tensor, at_text: Tensor) -> Tensor:
        """[S, C, D] to [S, C, D]."""
        (gradient,) = torch.autograd.grad(text, tuned, at_text)
        return gradient

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """Eight arrays of the weights' size: parameters, momentum, features, and gradients of each on the way."""
        each = 8 * self.start.numel() * self.start.element_size()
        fit = max(1, int(memory_left(self.start.device) / processes / 2 / each))
        return min(fit, cap or fit)
