"""Noise-robust prompt-tuning methods: one file each, registered by name (see `methods.registry`)."""

from typing import TYPE_CHECKING, Any

from methods.registry import create, names, register

if TYPE_CHECKING:
    from methods.base import Batch, Method, Task

__all__ = ["Batch", "Method", "Task", "create", "names", "register"]


def __getattr__(name: str) -> Any:
    """`Batch`, `Method` and `Task` on first use: they import torch, which listing methods must not."""
    if name in {"Batch", "Method", "Task"}:
        import methods.base  # noqa: PLC0415 - torch only when needed

        return getattr(methods.base, name)
    raise AttributeError(f"module 'methods' has no attribute '{name}'")
