"""Where a run starts: at random, at words, or at the zero-shot template itself."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bench.data.cards import load_card
from bench.engine.prompts import CONTEXT, initial_contexts, make_prompts
from bench.engine.text import TextFeatures
from bench.errors import BenchError
from bench.grid import Grid, expand
from bench.results.store import Store
from bench.runner.run import run_grid
from bench.spec import TrainSpec
from tests.engine.conftest import backbone_of, tiny, tokenizer

NAMES = ["cat", "sea lion", "o'clock", "737-200"]
TEMPLATE = TrainSpec(ctx_init="template", n_ctx=0)


@pytest.mark.parametrize("path", ["shared", "plain"])
@pytest.mark.parametrize(
    "template", ["a photo of a {}.", "a photo of a {}, a type of pet.", "a photo of {}, a type of food.", "an {}"]
)
def test_a_start_from_the_template_is_zero_shot_whatever_stands_behind_the_name(template, path):
    model = tiny("clip", torch.float64)
    backbone = backbone_of(model)
    context = initial_contexts(backbone, TEMPLATE, 1, 1, len(NAMES), "pets", template)
    found = TextFeatures(backbone, NAMES, TEMPLATE, template, path=path)(context)[0]
    expected = model.encode_text(tokenizer()([template.format(name) for name in NAMES]), normalize=True).float()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_words_may_have_random_tokens_in_front_of_them(backbone):
    train = TrainSpec(ctx_init="words", ctx_words="a photo of a", n_ctx=16)
    (context,) = initial_contexts(backbone, train, 1, 1, 5)
    words = backbone.tower.token_embedding(torch.tensor(tokenizer().encode("a photo of a")))
    assert torch.equal(context[12:], words)
    assert context.shape == (16, 32)
    assert abs(float(context[:12].std()) - 0.02) < 0.003
    for sequence in make_prompts(backbone, ["cat"], train).sequences:
        assert sequence[1:17] == (CONTEXT,) * 16


def test_a_template_without_words_in_front_wants_tokens_of_its_own(backbone):
    with pytest.raises(BenchError, match=r"the template '\{\} texture.' has no words in front"):
        make_prompts(backbone, ["woven"], TEMPLATE, "{} texture.")
    (four,) = make_prompts(backbone, ["woven"], TrainSpec(ctx_init="template", n_ctx=4), "{} texture.").sequences
    assert four[1:] == ((CONTEXT,) * 4 + tuple(tokenizer().encode("woven texture.")) + backbone.tokens.end)


def test_more_words_than_tokens_are_refused(backbone):
    with pytest.raises(BenchError, match="'a photo of a' has 4 tokens, n_ctx is 2"):
        make_prompts(backbone, ["cat"], TrainSpec(ctx_init="words", ctx_words="a photo of a", n_ctx=2))


@pytest.mark.parametrize("keys", [
    {"ctx_init": "words"}, {"ctx_words": "a photo"}, {"n_ctx": 0}, {"ctx_init": "template", "class_position": "front"},
])  # fmt: skip
def test_a_start_that_says_half_is_refused(keys):
    with pytest.raises(ValidationError, match=r"ctx_|context"):
        TrainSpec(**keys)


def test_a_seed_is_not_lucky_on_all_datasets_at_once(backbone):
    """The draws of (seed, dataset) are apart in both, and their correlations are those of independent draws."""
    train = TrainSpec(n_ctx=200)
    draws = {
        (s, d): initial_contexts(backbone, train, s, 1, 5, d).flatten().numpy() for s in (1, 2) for d in ("pets", "dtd", "cars")
    }
    correlations = np.corrcoef(np.stack(list(draws.values())))
    assert np.abs(correlations - np.eye(6)).max() < 0.06  # 6,400 values each: five standard errors
    again = initial_contexts(backbone, train, 1, 1, 5, "pets").flatten().numpy()
    assert np.array_equal(draws[1, "pets"], again)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """One epoch of the embedded protocol on a task in and one out of the model's domain, and from CoOp's random tokens."""
    store, found = Store(tmp_path_factory.mktemp("starts")), {}
    asked = {"methods": ["zero_shot", "coop_ce", "deft_text"], "datasets": ["icons_media", "writing_systems"]}
    for start, keys in (("template", {}), ("random", {"ctx_init": "random", "n_ctx": 16})):
        noise, train = {"symmetric": [0.5]}, {"epochs": 1, **keys}
        grid = Grid(name=start, preset="embedded", noise=noise, seeds=[1], train=train, **asked)
        run_grid(grid, store.root, device="cpu", workers=1, style="quiet")
        for spec in expand(grid):
            found[start, spec.method.name, spec.dataset] = spec.cell_id
    by_cell = {record["cell_id"]: record for record in map(store.read, store.done())}
    return store, {key: by_cell[cell] for key, cell in found.items()}


@pytest.mark.parametrize("dataset", ["icons_media", "writing_systems"])
@pytest.mark.parametrize("method", ["coop_ce", "deft_text"])
def test_runs_of_the_embedded_preset_start_at_zero_shot(records, method, dataset):
    start, random = (records[1][key, method, dataset]["metrics"] for key in ("template", "random"))
    assert start["start"] == start["zero_shot"] == random["zero_shot"]
    assert random["start"] != random["zero_shot"]
    assert len(load_card(dataset).classes) == 20


def test_how_far_a_run_is_from_the_prior_is_what_its_predictions_say(records):
    store, found = records
    for dataset in ("icons_media", "writing_systems"):
        prior = found["template", "zero_shot", dataset]
        assert prior["metrics"]["zero_shot_agreement"] == 100.0
        assert prior["metrics"]["zero_shot_kl"] == pytest.approx(0, abs=1e-6)
        assert prior["metrics"]["start"] == prior["metrics"]["accuracy"]
        theirs = np.load(store.folder(prior["run_id"]) / "predictions.npy")
        for start in ("template", "random"):
            run = found[start, "coop_ce", dataset]
            ours = np.load(store.folder(run["run_id"]) / "predictions.npy")
            assert run["metrics"]["zero_shot_agreement"] == pytest.approx(100 * float((ours == theirs).mean()))
            assert run["metrics"]["zero_shot_kl"] > 0
