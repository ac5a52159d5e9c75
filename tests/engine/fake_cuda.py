"""A CUDA device where there is none: torch's fake tensors, which know what may meet on a device, with values beside them.

FakeTensorMode knows every operator's rule of devices and no values, but half of the methods read some. So every operator is done
twice: on the fakes, which raise where devices do not fit, and on plain tensors, whose values the fakes then carry.
"""

from collections import Counter
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
ATOMIC = ("index_add", "scatter_add", "scatter_reduce", "bincount", "histc")  # on CUDA these add in no fixed order


class FakeCuda(TorchDispatchMode):
    """Inside, what is put on "cuda" is a fake with values.

    Attributes:
        waits: What has made the host wait for the device, and how often.
        atomic: Operators on the device whose results would not repeat.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fakes = FakeTensorMode(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()
        self.atomic: set[str] = set()

    def __enter__(self) -> Self:
        self.fakes.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.fakes.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operator."""
        kwargs = kwargs or {}
        if func.namespace == "prim":  # asks for a fake's device
            return func(*args, **kwargs)
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
        moves = torch.device(kwargs.get("device") or "cpu").type == "cuda"
        here = {**kwargs, "device": torch.device("cpu")} if moves else kwargs
        with unset_fake_temporarily():
            real = func(*tree_map(_value, args), **tree_map(_value, here))
        if not moves and not any(isinstance(item, FakeTensor) for item in tensors):
            return real
        if moves and kwargs.get("generator") is not None:
            raise RuntimeError(f"{func}: a generator of the CPU draws for a tensor on CUDA")
        name = func.name()
        if any(part in name for part in ATOMIC):
            self.atomic.add(name)
        if func is aten._local_scalar_dense.default:
            self.waits["a value is read"] += 1
            return real
        if name.startswith("aten::index") and any(item.dim() and not isinstance(item, FakeTensor) for item in tensors):
            self.waits["an index or a value comes from the CPU"] += 1
        if name.startswith("aten::index") and any(item.dtype == torch.bool for item in tensors[1:]):
            self.waits["a mask is an index"] += 1
        try:
            fake = func(*args, **kwargs)
        except DynamicOutputShapeException:
            self.waits["a shape hangs on values"] += name != "aten::index.Tensor"  # counted above
            fake = tree_map(lambda value: torch.empty_like(value, device="cuda") if isinstance(value, Tensor) else value, real)
        return tree_map(self._with_value, fake, real)

    def _with_value(self, fake: Any, real: Any) -> Any:
        """A fake that carries its value; what has come back to the CPU is the value itself."""
        if not isinstance(fake, FakeTensor):
            return real
        if fake.device.type == "cpu":
            self.waits["a tensor is copied back"] += 1
            return real
        fake.real_tensor = real
        return fake


def _value(item: Any) -> Any:
    return item.real_tensor if isinstance(item, FakeTensor) else item
