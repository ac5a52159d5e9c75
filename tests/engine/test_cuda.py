"""On a CUDA GPU (`pytest -m cuda`): runs repeat, agree with the CPU's, and TF32 and half precision train. Untried so far."""

import numpy as np
import pytest
import torch

from bench.engine.train import train_stack
from bench.grid import Grid, expand

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="checks the engine on a CUDA GPU; there is none here"),
]


def outcomes(device, methods, **train):
    grid = Grid(
        preset="demo",
        methods=methods,
        datasets=["icons_arrows"],
        noise={"symmetric": [0.5]},
        seeds=[1],
        train={"epochs": 3} | train,
    )
    found = train_stack(expand(grid), device=device, keep_context=True)
    assert [outcome.error for outcome in found] == [""] * len(found)
    return found


def test_every_method_trains_and_repeats_to_the_bit():
    one, two = (outcomes("cuda", ["*"]) for _ in range(2))
    apart = [a.spec.method.name for a, b in zip(one, two, strict=True) if not np.array_equal(a.context, b.context)]
    assert apart == []


def test_what_is_learned_is_the_cpus_within_rounding():
    for here, there in zip(*(outcomes(device, ["coop_ce", "gce", "gjs"]) for device in ("cpu", "cuda")), strict=True):
        assert np.allclose(here.context, there.context, atol=1e-3), here.spec.method.name
        assert abs(here.metrics["accuracy"] - there.metrics["accuracy"]) < 1


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_lower_precision_learns_about_the_same(precision):
    (exact,), (lower,) = outcomes("cuda", ["coop_ce"]), outcomes("cuda", ["coop_ce"], precision=precision)
    step = exact.context - outcomes("cuda", ["coop_ce"], lr=1e-12, weight_decay=0.0)[0].context
    assert np.linalg.norm(lower.context - exact.context) < 0.1 * np.linalg.norm(step)
