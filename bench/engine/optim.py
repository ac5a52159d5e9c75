"""CoOp's optimiser and schedule, over a stack of contexts at once."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.spec import TrainSpec


def learning_rate(train: TrainSpec, epoch: int) -> float:
    """CoOp's rate of an epoch (0, 1, …): constant in the warm-up, then a cosine over all epochs, stepped once per epoch.

    At 50 epochs: 1e-5, 2e-3, 1.998e-3, …, 7.9e-6. The cosine starts after the warm-up and never reaches its end.
    """
    if epoch < train.warmup_epochs:
        return train.warmup_lr
    return train.lr * 0.5 * (1 + math.cos(math.pi * (epoch - train.warmup_epochs) / train.epochs))


class StackedSGD:
    """SGD with momentum and weight decay on S contexts, each under the protocol of its own run.

    Args:
        contexts: [S, …], changed in place.
        trains: The protocol of each of the S contexts.
    """

    def __init__(self, contexts: Tensor, trains: Sequence[TrainSpec]) -> None:
        self.contexts, self.trains = contexts, trains
        self.momentum = torch.zeros_like(contexts)
        self.decay = self._per_context([train.weight_decay for train in trains])
        self.keep = self._per_context([train.momentum for train in trains])
        self.start_epoch(0)

    def _per_context(self, values: Sequence[float]) -> Tensor:
        """A value per context, [S, 1, …], to multiply contexts with."""
        return self.contexts.new_tensor(values).view(-1, *[1] * (self.contexts.dim() - 1))

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rates of an epoch."""
        self.rates = self._per_context([learning_rate(train, epoch) for train in self.trains])

    def step(self, slots: Tensor, gradients: Tensor) -> None:
        """One step of the contexts `slots` [n] with `gradients` [n, …]; torch's SGD, whose first momentum is the gradient."""
        contexts = self.contexts[slots]
        momentum = self.keep[slots] * self.momentum[slots] + gradients + self.decay[slots] * contexts
        self.momentum[slots] = momentum
        self.contexts[slots] = contexts - self.rates[slots] * momentum
