"""What the runs of a shard read, on the device: every array once, however many runs share it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.task import TaskData


class Arrays:
    """Arrays on a device, and the zero-shot model's view of them.

    Args:
        zero_shot: Class text features [C, D] of the card's template, on the device.
        scale: The backbone's logit scale.
    """

    def __init__(self, zero_shot: Tensor, scale: float) -> None:
        self.zero_shot, self.scale = zero_shot, scale
        self._there: dict[int, tuple[NDArray[Any], Tensor]] = {}  # by the array's identity, which lives as long as the array
        self._logits: dict[int, Tensor] = {}  # by the identity of a draw's rows

    def __call__(self, array: NDArray[np.generic]) -> Tensor:
        """The array on the device."""
        if id(array) not in self._there:
            self._there[id(array)] = (array, torch.from_numpy(array).to(self.zero_shot.device))
        return self._there[id(array)][1]

    def clean_view(self, data: TaskData) -> Tensor:
        """Features [N, D] of a task's training images, not augmented."""
        return self(data.table)[self(data.rows), 0].float()

    def logits(self, data: TaskData) -> Tensor:
        """Zero-shot logits [N, C] of a task's training images: one tensor for all runs of a draw."""
        if id(data.rows) not in self._logits:
            self._logits[id(data.rows)] = self.scale * self.clean_view(data) @ self.zero_shot.T
        return self._logits[id(data.rows)]
