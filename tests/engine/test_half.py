"""Frozen weights are cast to half precision once; what is computed with them is what autocast computes, to the bit."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.engine.prompts import initial_contexts
from bench.engine.text import TextFeatures
from tests.engine.conftest import CLASSES, TRAIN, backbone_of, tiny


class Casts(TorchDispatchMode):
    """Counts casts of matrices that do not learn."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func.name() == "aten::_to_copy" and args[0].dim() == 2 and not args[0].requires_grad and found.dtype == torch.bfloat16:
            self.count += 1
        return found


@pytest.mark.parametrize("kind", ["clip", "shallow", "custom", "siglip", "padded"])
def test_frozen_weights_are_cast_once_and_bits_stay(kind):
    backbone = backbone_of(tiny(kind))
    contexts = initial_contexts(backbone, TRAIN, 1, 2, len(CLASSES)).requires_grad_()
    found = []
    for halved in (False, True):
        path = TextFeatures(backbone, CLASSES, TRAIN).path
        if halved:
            path.halve(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16), Casts() as casts:
            text = path(contexts)
        (gradient,) = torch.autograd.grad(text, contexts, text.detach().cos())
        found.append((text, gradient, casts.count))
    (text, gradient, before), (text_too, gradient_too, after) = found
    assert before > 3
    assert after == 0
    assert torch.equal(text, text_too)
    assert torch.equal(gradient, gradient_too)
