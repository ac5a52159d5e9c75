"""What is global in a process, kept apart for every run of a stack, so that no method spoils its neighbours.

A loss may call `torch.set_grad_enabled(False)` or change the working directory: the next run of the stack must not notice.
"""

import os
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import torch


def _default_device() -> torch.device | None:
    """Where new tensors go; None for the CPU (`torch.get_default_device` takes ten times as long)."""
    device = torch.empty(0).device
    return None if device.type == "cpu" else device


def _set_numpy_errors(found: Any) -> None:
    np.seterr(**found)


# Read before a run's code and, where they differ afterwards, written back.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (np.geterr, _set_numpy_errors),
    (os.getcwd, os.chdir),
)


def random_states() -> tuple[Any, Any, Any]:
    """The states of the global generators of torch (CPU), NumPy and Python."""
    return torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002 - the global one is meant


def set_random_states(states: tuple[Any, Any, Any]) -> None:
    """Put the global generators into these states."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - the global one is meant
    random.setstate(states[2])


class Apart:
    """A context manager around a run's code: settings are as they were afterwards, and global random numbers are the run's own.

    Args:
        seed: The run's global generators start from it. None leaves them alone, for methods that are known not to touch them
            (the suite's own; `bench check-method` looks): exchanging three states takes longer than many a loss.
    """

    def __init__(self, seed: int | None) -> None:
        self._own: tuple[Any, Any, Any] | None = None
        if seed is not None:
            seed %= 2**32  # NumPy takes no more
            numpy_state = np.random.RandomState(seed).get_state(legacy=False)
            python_state = random.Random(seed).getstate()  # noqa: S311 - nothing secret
            self._own = (torch.Generator().manual_seed(seed).get_state(), numpy_state, python_state)
        self._found: list[Any] = []
        self._states: tuple[Any, Any, Any] | None = None

    def __enter__(self) -> None:
        self._found = [read() for read, _ in SETTINGS]
        if self._own is not None:
            self._states = random_states()
            set_random_states(self._own)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for (read, write), before in zip(SETTINGS, self._found, strict=True):
            if read() != before:
                write(before)
        if self._states is not None:
            self._own = random_states()
            set_random_states(self._states)
