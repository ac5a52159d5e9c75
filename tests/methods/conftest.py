"""Batches whose logits are chosen by the test: class text features are unit vectors and the scale is 1, so logits = images."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from methods.base import Batch, Task

Array = np.ndarray | torch.Tensor


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """A batch with the given logits [B, C] or [M, B, C], by default in float64; `contexts` sets other text features [K, C, C]."""

    def make(z: Array, labels: Sequence[int], epoch: int = 0, contexts: torch.Tensor | None = None) -> Batch:
        images = torch.as_tensor(z)
        images = images[None] if images.dim() == 2 else images
        text = torch.eye(images.shape[-1], dtype=images.dtype)[None] if contexts is None else contexts
        given = torch.as_tensor(labels, dtype=torch.long)
        generator = torch.Generator().manual_seed(0)
        return Batch(text, images.clone().requires_grad_(), given, torch.arange(len(given)), 1.0, epoch, generator)

    return make


@pytest.fixture
def make_task() -> Callable[..., Task]:
    """A task of given labels and zero-shot logits [N, C] (features are the logits), in float64."""

    def make(z: Array, labels: Sequence[int], **fields: object) -> Task:
        logits = torch.as_tensor(z, dtype=torch.float64)
        usual = {
            "features": lambda: logits.repeat(3, 1, 1),
            "labels": torch.as_tensor(labels, dtype=torch.long),
            "zero_shot": logits,
            "text": torch.eye(logits.shape[1], dtype=torch.float64),
            "num_classes": logits.shape[1],
            "scale": 1.0,
            "epochs": 20,
            "batch_size": 4,
            "generator": torch.Generator().manual_seed(1),
        }
        return Task(**(usual | fields))

    return make


@pytest.fixture(scope="session")
def differences() -> Callable[..., np.ndarray]:
    """The gradient of a scalar function by central differences."""

    def gradient(loss: Callable[[np.ndarray], float], z: np.ndarray, step: float = 1e-6) -> np.ndarray:
        found = np.zeros_like(z)
        for i in np.ndindex(z.shape):
            move = np.zeros_like(z)
            move[i] = step
            found[i] = (loss(z + move) - loss(z - move)) / (2 * step)
        return found

    return gradient
