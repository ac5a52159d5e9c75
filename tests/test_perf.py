"""The benchmark compares what computes the same."""

import time
from types import SimpleNamespace

import torch

from bench import perf
from bench.engine.plain import PlainPath
from bench.engine.prompts import initial_contexts, make_prompts
from bench.perf import Case, CoOpPath, medians, shares, time_case
from bench.spec import TrainSpec
from tests.engine.conftest import backbone_of, tiny


def test_the_baseline_is_coops_forward_pass():
    backbone = backbone_of(tiny())
    prompts = make_prompts(backbone, ["cat", "sea lion", "sea horse"], TrainSpec(n_ctx=4))
    context = initial_contexts(backbone, TrainSpec(n_ctx=4), 1, 1, 3)
    plain = PlainPath(backbone.tower, prompts, full=True)
    torch.testing.assert_close(CoOpPath(plain)(context), plain(context), rtol=0, atol=1e-6)


def test_medians_of_interleaved_runs():
    order = []
    found = medians({"a": lambda: order.append("a"), "b": lambda: (order.append("b"), time.sleep(0.01))}, 3)
    assert order == ["a", "b"] * 4
    assert found["b"] >= 0.01


def test_a_case_gives_times_and_ratios():
    found = time_case(backbone_of(tiny()), Case("eurosat", 2), 1)
    assert (found.classes, found.stacked) == (10, 2)
    assert found.ratios["coop / ours"] == found.coop / found.ours
    assert all(value > 0 for value in found.ratios.values())
    assert found.as_dict()["tokens"] == found.tokens > 17


def test_shares_tell_products_from_the_rest(monkeypatch):
    """On a clock by which the activation takes one second, the product three and the sum one, of eight."""
    moments = iter([0, 1, 1, 4, 4, 5])
    monkeypatch.setattr(perf, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    left = torch.randn(4, 4)
    found = shares(lambda: (torch.nn.functional.gelu(left), left @ left, left + 1), 8.0)
    assert list(found.items()) == [("matrix products", 3 / 8), ("activations", 1 / 8), ("copies, sums and Python", 4 / 8)]


def test_shares_call_batched_products_and_softmax_attention_and_loss():
    left = torch.randn(8, 40, 40)
    found = shares(lambda: torch.baddbmm(left, left, left).softmax(-1), 1.0)
    assert set(found) == {"attention and loss", "copies, sums and Python"}


def test_shares_see_the_backward_pass_too():
    leaf = torch.randn(8, 4, requires_grad=True)
    found = shares(lambda: torch.autograd.grad(torch.nn.functional.layer_norm(leaf, (4,)).sum(), leaf), 1.0)
    backward = shares(lambda: torch.nn.functional.layer_norm(leaf, (4,)).sum(), 1.0)
    assert set(found) >= set(backward)
    assert "layer norms" in found
