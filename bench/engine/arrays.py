"""What the runs of a shard read, on the device: every array once, however many runs share it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.task import RunData
from bench.engine.zero_shot import ZeroShot


class Arrays:
    """Arrays on a device, and the zero-shot model's view of them.

    Args:
        zero_shot: The zero-shot model, on the device.
    """

    def __init__(self, zero_shot: ZeroShot) -> None:
        self.zero_shot = zero_shot
        self._there: dict[int, tuple[NDArray[Any], Tensor]] = {}  # by the array's identity, which lives as long as the array
        self._logits: dict[int, Tensor] = {}  # by the identity of a draw's rows

    def __call__(self, array: NDArray[np.generic]) -> Tensor:
        """The array on the device."""
        if id(array) not in self._there:
            self._there[id(array)] = (array, torch.from_numpy(array).to(self.zero_shot.text.device))
        return self._there[id(array)][1]

    def clean_view(self, data: RunData) -> Tensor:
        """Features [N, D] of a task's training images, not augmented."""
        return self(data.table)[self(data.rows), 0].float()

    def logits(self, data: RunData) -> Tensor:
        """Zero-shot logits [N, C] of a task's training images: one tensor for all runs of a draw."""
        if id(data.rows) not in self._logits:
            self._logits[id(data.rows)] = self.zero_shot.logits(self.clean_view(data))
        return self._logits[id(data.rows)]
