"""Text features and their gradients against open_clip's own `encode_text`, in float64."""

import logging
import math

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.cards import load_card
from bench.engine.backbone import text_tower, tokens_of
from bench.engine.plain import PlainPath, encode_prompts
from bench.engine.prompts import initial_contexts, make_prompts
from bench.engine.shared import SharedPath
from bench.engine.text import TextFeatures, tf32
from bench.errors import BenchError
from bench.spec import TrainSpec
from tests.engine.conftest import VISION, backbone_of, tiny, tokenizer

WORDS = TrainSpec(ctx_init="words", ctx_words="a photo of a", n_ctx=0)
DOUBLE = {
    kind: (tiny(kind, torch.float64), backbone_of(tiny(kind, torch.float64)))
    for kind in ("clip", "quick_gelu", "custom", "shallow", "siglip")
}
NAMES = ["cat", "sea lion", "sea horse", "sea", "cat", "737-200", "737-300", "Boeing 737-300ER", "ein Übermaß", "犬", "o'clock!"]


def encode(model, texts):
    return model.encode_text(tokenizer()(texts), normalize=True).float()


@pytest.mark.parametrize("kind", ["clip", "quick_gelu", "custom"])
@pytest.mark.parametrize("path", ["shared", "plain"])
def test_context_of_words_gives_what_encode_text_gives(kind, path):
    model, backbone = DOUBLE[kind]
    features = TextFeatures(backbone, NAMES, WORDS, path=path)
    context = initial_contexts(backbone, WORDS, seed=1, contexts=1, classes=len(NAMES)).expand(2, -1, -1)
    expected = encode(model, [f"a photo of a {name}." for name in NAMES])
    for found in features(context):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "position", "prompt"), [
    ("clip", "front", "{} a photo of a."), ("clip", "middle", "a photo {} of a."), ("siglip", "end", "a photo of a {}."),
])  # fmt: skip
def test_other_layouts_and_towers_through_the_plain_path(kind, position, prompt):
    model, backbone = DOUBLE[kind]
    train = WORDS.model_copy(update={"class_position": position})
    names = NAMES[:-1]  # "o'clock!." is cut after its own tokens, as CoOp does: no text gives that
    features = TextFeatures(backbone, names, train)
    assert features.reason.startswith("plain path: the ")
    context = initial_contexts(backbone, train, seed=1, contexts=1, classes=len(names))
    torch.testing.assert_close(features(context)[0], encode(model, [prompt.format(name) for name in names]), rtol=0, atol=1e-6)


def test_class_specific_contexts():
    model, backbone = DOUBLE["clip"]
    train = WORDS.model_copy(update={"class_specific": True})
    features = TextFeatures(backbone, ["cat", "dog"], train)
    both = [backbone.tower.token_embedding(torch.tensor(tokenizer().encode(text))) for text in ("a photo of a", "a bad sketch of")]
    found = features(torch.stack(both)[None])[0]
    torch.testing.assert_close(found, encode(model, ["a photo of a cat.", "a bad sketch of dog."]), rtol=0, atol=1e-6)


def test_zero_shot_prompts_and_truncation():
    model, backbone = DOUBLE["clip"]
    prompts = ["a photo of a cat.", "word " * 60]
    torch.testing.assert_close(encode_prompts(backbone, prompts), encode(model, prompts), rtol=0, atol=1e-6)


def test_padding_masked_tower():
    model = tiny("padded")
    backbone = backbone_of(model)
    context = initial_contexts(backbone, WORDS, seed=1, contexts=1, classes=2)
    expected = encode(model, ["a photo of a cat.", "a photo of a sea lion."])
    torch.testing.assert_close(TextFeatures(backbone, ["cat", "sea lion"], WORDS)(context)[0], expected, rtol=0, atol=1e-5)


def gradients(backbone, names, train, stack=2, memory=math.inf):
    """Features and context gradients of the shared path and of full-length prompts through open_clip's modules."""
    prompts = make_prompts(backbone, names, train)
    context = torch.cat([initial_contexts(backbone, train, seed, 1, len(names)) for seed in range(stack)])
    weights = torch.randn(stack, len(names), 24, generator=torch.Generator().manual_seed(0))
    shared = SharedPath(backbone.tower, prompts)
    if memory < math.inf:
        assert shared.max_stack(memory) == 1
    for path in (shared, PlainPath(backbone.tower, prompts, full=True)):
        leaf = context.clone().requires_grad_()
        text = path(leaf)
        yield text.detach(), torch.autograd.grad((text * weights).sum(), leaf)[0]


def assert_paths_agree(names, train, kind="clip"):
    (fast, fast_gradient), (plain, gradient) = gradients(DOUBLE[kind][1], names, train)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-6)
    torch.testing.assert_close(fast_gradient, gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max()))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text("abxé犬-7 ", min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=40))
def test_paths_agree_on_any_class_names(names):
    assert_paths_agree(names, TrainSpec(n_ctx=4))


@pytest.mark.parametrize("count", [1, 130, 400])
def test_paths_agree_on_few_and_many_classes(count):
    assert_paths_agree([f"{n % 17} {n}" for n in range(count)], TrainSpec(n_ctx=4))


@pytest.mark.parametrize("size", [1, 5, 11])
def test_paths_agree_however_the_trie_is_cut(size, monkeypatch):
    monkeypatch.setattr("bench.engine.shared.chunk_size", lambda nodes: size)
    assert_paths_agree(["sea lion", "sea horse", "sea", "cat", "cat", "a b c d e f g h", "a b c d e f g x"], TrainSpec(n_ctx=4))


@pytest.mark.parametrize("kind", ["quick_gelu", "custom", "shallow"])
def test_paths_agree_on_other_towers(kind, monkeypatch):
    monkeypatch.setattr("bench.engine.shared.chunk_size", lambda nodes: 9)
    assert_paths_agree(["cat", "sea lion", "sea horse", "sea", "737-200", "737-300"], TrainSpec(n_ctx=4), kind)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_close_as_its_digits_allow(half):
    """On the CPU: the path through the tower is the one that CUDA takes."""
    backbone = backbone_of(tiny())
    lower = WORDS.model_copy(update={"precision": {torch.float16: "fp16"}.get(half, "bf16")})
    full, features = (TextFeatures(backbone, NAMES, train, path="shared") for train in (WORDS, lower))
    contexts = torch.cat([initial_contexts(backbone, WORDS, seed, 1, len(NAMES)) for seed in (1, 2)]).requires_grad_()
    at_text = torch.randn(2, len(NAMES), 24, generator=torch.Generator().manual_seed(0))
    at_text[1] *= 1e-7  # as in a run that has almost converged
    exact = full(contexts)
    expected = torch.autograd.grad(exact, contexts, at_text)[0]
    with torch.autocast("cpu", dtype=half):
        text = features.path(contexts)
    found = features.gradient(text, contexts, at_text)
    digits = torch.finfo(half).eps
    torch.testing.assert_close(text, exact, rtol=0, atol=8 * digits)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 8 * digits


def test_recomputed_layers_change_nothing(monkeypatch):
    monkeypatch.setattr("bench.engine.shared.chunk_size", lambda nodes: 20)
    names = [f"name {n}" for n in range(30)]
    kept = next(gradients(DOUBLE["clip"][1], names, TrainSpec(n_ctx=4)))
    recomputed = next(gradients(DOUBLE["clip"][1], names, TrainSpec(n_ctx=4), memory=1.0))
    for a, b in zip(kept, recomputed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_kept_memory_stays_within_the_estimate(quick_gelu):
    text = open_clip.model.CLIPTextCfg(context_length=77, width=256, heads=4, layers=6)
    backbone = backbone_of(open_clip.model.CLIP(24, VISION, text, quick_gelu=quick_gelu))
    path = SharedPath(backbone.tower, make_prompts(backbone, load_card("icons_arrows").class_names, TrainSpec()))
    weights = {parameter.untyped_storage().data_ptr() for parameter in backbone.tower.module.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    contexts = torch.randn(2, 16, 256).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        text = path(contexts)
    assert text.requires_grad
    assert 0.4 < sum(kept.values()) / (2 * path.bytes_per_context) < 0.8  # the rest is for what comes and goes


def test_layers_are_recomputed_only_where_one_context_does_not_fit():
    text = open_clip.model.CLIPTextCfg(context_length=77, width=256, heads=4, layers=6)
    backbone = backbone_of(open_clip.model.CLIP(24, VISION, text))
    path = SharedPath(backbone.tower, make_prompts(backbone, load_card("icons_arrows").class_names, TrainSpec()))
    everything = path.bytes_per_context
    assert path.max_stack(2.5 * everything) == 2
    assert path.bytes_per_context == everything
    assert path.max_stack(0.9 * everything) >= 1
    assert 6 * path.n_tokens * 256 * 4 < path.bytes_per_context < everything / 2


def test_context_gradient_by_finite_differences():
    backbone = DOUBLE["clip"][1]
    path = SharedPath(backbone.tower, make_prompts(backbone, ["cat", "sea lion", "sea horse"], TrainSpec(n_ctx=2)))
    context = initial_contexts(backbone, TrainSpec(n_ctx=2), 3, 1, 3).requires_grad_()
    images = torch.nn.functional.normalize(torch.randn(6, 24, generator=torch.Generator().manual_seed(1)), dim=-1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    # the tower's last step casts to float32, so the double reference of the loss goes around it
    tower = backbone.tower

    def loss(x):
        states = path_states(path, x)
        text = torch.nn.functional.normalize(tower.ln_final(states) @ tower.projection, dim=-1)[0]
        return torch.nn.functional.cross_entropy(14 * images.double() @ text.T, labels)

    assert torch.autograd.gradcheck(loss, context, eps=1e-6, atol=1e-5)
    (ours,) = torch.autograd.grad(torch.nn.functional.cross_entropy(14 * images @ path(context)[0].T, labels), context)
    (exact,) = torch.autograd.grad(loss(context), context)
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-7)


def path_states(path, contexts):
    """The shared path's states [S, C, W] before the final layer norm."""
    caught = []
    finish = path.tower.finish
    object.__setattr__(path.tower, "finish", lambda x: caught.append(x) or finish(x))
    try:
        path(contexts)
    finally:
        object.__delattr__(path.tower, "finish")
    return caught[0]


def test_disagreeing_paths_fall_back_to_plain_and_say_so(monkeypatch, caplog):
    whole = SharedPath.__call__
    monkeypatch.setattr(SharedPath, "__call__", lambda self, contexts: whole(self, contexts) + 0.01)
    with caplog.at_level(logging.WARNING):
        features = TextFeatures(DOUBLE["clip"][1], NAMES, WORDS)
    assert isinstance(features.path, PlainPath)
    assert "differs by 1.0e-02" in features.reason
    assert "differs by" in caplog.text


def test_the_path_is_chosen_and_explained():
    backbone = DOUBLE["clip"][1]
    assert TextFeatures(backbone, NAMES, WORDS).reason.startswith("shared path: causal tower")
    assert TextFeatures(backbone, NAMES, WORDS, path="plain").reason == "plain path: asked for"
    with pytest.raises(BenchError, match="not causal"):
        TextFeatures(DOUBLE["siglip"][1], NAMES, WORDS, path="shared")


def test_bad_names_are_named():
    backbone = DOUBLE["clip"][1]
    with pytest.raises(BenchError, match="no class names"):
        TextFeatures(backbone, [], WORDS)
    with pytest.raises(BenchError, match=r"'x x x .*' has 40 tokens; behind 4 context tokens this backbone has room for 25"):
        TextFeatures(backbone, ["cat", "x " * 39 + "x"], WORDS)


def test_towers_that_cannot_be_tuned_are_refused():
    model = tiny("custom")
    model.text.cls_emb = torch.nn.Parameter(torch.zeros(32))
    with pytest.raises(BenchError, match="CoCa"):
        text_tower(model)
    model.text = torch.nn.Linear(2, 2)
    with pytest.raises(BenchError, match="Linear"):
        text_tower(model)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_lower_precision_is_for_cuda(precision):
    features = TextFeatures(DOUBLE["clip"][1], NAMES, WORDS.model_copy(update={"precision": precision}))
    with pytest.raises(BenchError, match=f"'{precision}' is for CUDA; this runs on cpu"):
        features(torch.zeros(1, 4, 32, dtype=torch.float64))


@pytest.mark.parametrize(("wanted", "inside"), [(True, "high"), (False, "highest")])
def test_products_are_exact_again_after_tf32_whatever_happens(wanted, inside):
    seen = []

    def fail():
        with tf32(wanted):
            seen.append(torch.get_float32_matmul_precision())
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert seen == [inside]
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_tokenizer_without_start_token():
    def siglip_like(texts):
        rows = [[7 + len(word) for word in text.split()] for text in texts]
        return torch.tensor([row + [1] * (8 - len(row)) for row in rows])

    tokens = tokens_of(siglip_like)
    assert (tokens.start, tokens.end, tokens.pad, tokens.encode("ab c")) == ((), (1,), 1, [9, 8])


@pytest.mark.parametrize("specific", [False, True])
def test_contexts_of_words_begin_near_them_and_apart(specific):
    backbone = DOUBLE["clip"][1]
    train = WORDS.model_copy(update={"class_specific": specific})
    one, three = (initial_contexts(backbone, train, 5, k, 3) for k in (1, 3))
    assert torch.equal(one[0], three[0])
    assert 0.01 < float((three[1] - three[0]).std()) < 0.03
    assert 0.01 < float((three[2] - three[1]).std()) < 0.05


def test_initial_contexts_of_several_begin_as_one_does():
    one, two = (initial_contexts(DOUBLE["clip"][1], TrainSpec(), 5, k, 3) for k in (1, 2))
    assert one[0].shape == (16, 32)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(two[0], two[1])
    many = initial_contexts(DOUBLE["clip"][1], TrainSpec(n_ctx=200), 5, 2, 3)
    assert abs(float(many.std()) - 0.02) < 0.001
