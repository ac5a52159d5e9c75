"""Every method and learner trains where all tensors claim to be on CUDA: nothing meets across devices, the host waits rarely."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from bench.engine.arrays import Arrays
from bench.engine.attention import ChunkAttention
from bench.engine.learners import Classifier, ClipAdapter, TipAdapter
from bench.engine.member import Member
from bench.engine.text import TextFeatures
from bench.engine.train import Stack, _template
from bench.engine.zero_shot import ZeroShot
from methods import registry
from tests.engine.conftest import CLASSES, TRAIN, backbone_of, make_spec, make_task, tiny, zero_shot_of
from tests.engine.fake_cuda import FakeCuda
from tests.engine.test_attention import setting, widened

SHORT = TRAIN.model_copy(update={"epochs": 2, "batch_size": 20})  # a step an epoch; hooks do their work from the second on
TRAINED = [name for name in registry.names() if registry.load(name).train]
# How often a run's step waits: the loss draws for the clean samples of its batch, so it must know how many there are.
OWN_WAITS = {"clipcleaner": 1, "ssr": 1}
PARAMS = {name: {"reg": 1.0} for name in ("nlprompt", "tecoprompt")}  # a plan that takes a few turns


@pytest.fixture
def cuda(monkeypatch):
    """The pretended device. Gradients have their shapes and no meaning: the graph's engine needs a driver."""

    def grad(outputs, inputs, grad_outputs=None, retain_graph=None):
        assert grad_outputs is None or (grad_outputs.shape, grad_outputs.device) == (outputs.shape, outputs.device)
        return tuple(torch.full_like(one, 1e-3) for one in ((inputs,) if isinstance(inputs, torch.Tensor) else inputs))

    monkeypatch.setattr(torch.autograd, "grad", grad)
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)  # a fake is no plain parameter
    with FakeCuda() as mode:
        yield mode


class Watched(Stack):
    """Notes what every step has waited for."""

    def watch(self, mode):
        self.mode, self.waited, self.waited_to_measure = mode, [], []
        for fold in self.folds:
            fold.seen = set(fold.kinds)  # folded and alone are compared once, by real gradients
        return self

    def _step(self, *args):
        before = Counter(self.mode.waits)
        super()._step(*args)
        self.waited.append(self.mode.waits - before)

    def _evaluate(self, *args):
        before = Counter(self.mode.waits)
        super()._evaluate(*args)
        self.waited_to_measure.append(sum((self.mode.waits - before).values()))


def members_on_cuda(backbone, runs):
    zero_shot = zero_shot_of(backbone)
    data, arrays = make_task(zero_shot, shots=4), Arrays(ZeroShot(zero_shot.to("cuda"), backbone.scale))
    specs = [make_spec(name, seed=seed, train=SHORT, **PARAMS.get(name, {})) for name, seed in runs]
    return [Member(spec, data, arrays) for spec in specs], arrays.zero_shot


def test_every_method_trains_on_cuda_and_a_step_waits_once(backbone, cuda):
    runs = [(name, 1) for name in TRAINED] + [("coop_ce", 2)]
    members, _ = members_on_cuda(backbone, runs)
    features = TextFeatures(backbone_of(tiny().to("cuda")), CLASSES, SHORT, path="shared")
    stack = Watched(members, features, None).watch(cuda)
    outcomes = stack.run(keep_context=True)
    assert "".join(outcome.traceback for outcome in outcomes) == ""
    assert len(stack.waited) == SHORT.epochs
    (fold,) = stack.folds
    assert len(fold.members) == len(set(fold.kinds)) + 1 > 15
    allowed = 1 + sum(OWN_WAITS.values())  # one flag per run, all of them read at once
    assert all(sum(waited.values()) <= allowed for waited in stack.waited), stack.waited
    assert cuda.atomic == set()


@pytest.mark.parametrize("tunes", ["linear_probe", "task_residual", "clip_adapter", "tip_adapter"])
def test_every_learner_trains_on_cuda_and_a_step_waits_once(backbone, cuda, tunes):
    names = ["coop_ce", "elr"] + ([] if "adapter" in tunes else ["clap", "co_teaching"])
    members, zero_shot = members_on_cuda(backbone, [(name, 1) for name in names] + [("coop_ce", 2)])
    made = {"clip_adapter": lambda: ClipAdapter(zero_shot.text), "tip_adapter": lambda: TipAdapter(zero_shot, members)}
    learner = made[tunes]() if tunes in made else Classifier(zero_shot.text, tunes)
    stack = Watched(members, learner, None).watch(cuda)
    outcomes = stack.run(keep_context=True)
    assert "".join(outcome.traceback for outcome in outcomes) == ""
    assert [dict(waited) for waited in stack.waited] == [{"a tensor is copied back": 1}] * SHORT.epochs


def test_a_loss_on_the_host_is_a_loss(backbone, cuda):
    members, _ = members_on_cuda(backbone, [("elr", 1), ("elr", 2), ("coop_ce", 3)])
    loss = members[1].method.loss
    members[1].method.loss = lambda batch: loss(batch).mean().cpu()
    stack = Watched(members, TextFeatures(backbone_of(tiny().to("cuda")), CLASSES, SHORT, path="shared"), None).watch(cuda)
    assert "".join(outcome.traceback for outcome in stack.run(keep_context=False)) == ""


@pytest.mark.parametrize("runs", [2, 9])
def test_an_evaluation_waits_three_times_however_many_runs_it_measures(backbone, cuda, runs):
    """For calibration's bins and gaps, which the host adds up, and for all figures at once."""
    members, _ = members_on_cuda(backbone, [("coop_ce", seed) for seed in range(runs)])
    stack = Watched(members, TextFeatures(backbone_of(tiny().to("cuda")), CLASSES, SHORT, path="shared"), None).watch(cuda)
    outcomes = stack.run(keep_context=False)
    assert "".join(outcome.traceback for outcome in outcomes) == ""
    assert stack.waited_to_measure == [3] * SHORT.epochs


def test_what_trains_nothing_is_measured_on_cuda(backbone, cuda):
    members, _ = members_on_cuda(backbone, [(name, 1) for name in registry.names() if name not in TRAINED])
    for member in members:
        member.guard(member.start)
        assert _template(member).traceback == ""


def test_the_attentions_gradient_adds_in_order_on_cuda(cuda):
    """Chunks of three nodes share ancestors; what index_put_ sums there is what index_add_ does on the CPU."""
    _, chunks, nodes, start = setting([[0, 1, 2, 3, word, word] for word in range(6)], 3)
    found = []
    for device in ("cpu", "cuda"):
        ctx = SimpleNamespace()
        ctx.save_for_backward = lambda *saved, ctx=ctx: setattr(ctx, "saved_tensors", saved)
        given = [of.to(device) for of in (start, chunks.ancestors, widened(chunks.mask, start))]
        attended = ChunkAttention.forward(ctx, nodes.to(device), None, None, *given)
        found.append(ChunkAttention.backward(ctx, attended.cos())[0])
    assert torch.equal(found[0], found[1].real_tensor)
    assert chunks.ancestors.shape[1] > 0
    assert not cuda.waits
    assert cuda.atomic == set()


def test_a_mismatch_would_be_seen(cuda):
    """What the other tests rest on: devices that do not fit raise, and waits are counted."""
    there = torch.arange(6.0).to("cuda")
    with pytest.raises(RuntimeError, match="device"):
        there + torch.ones(6)
    with pytest.raises(RuntimeError, match="device"):
        there.gather(0, torch.tensor([1]))
    with pytest.raises(RuntimeError, match="generator"):
        torch.randperm(3, generator=torch.Generator(), device="cuda")
    assert not cuda.waits
    assert (float(there.sum()), there[torch.tensor([1])].shape, there[there > 3].tolist()) == (15, (1,), [4, 5])
    assert sum(cuda.waits.values()) == 5
    there.index_add_(0, torch.tensor([1]).to("cuda"), torch.ones(1).to("cuda"))
    assert cuda.atomic == {"aten::index_add_"}
