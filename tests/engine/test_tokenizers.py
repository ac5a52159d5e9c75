"""Towers with tokenizers of Hugging Face's transformers, from the check to trained runs."""

import json
import shutil

import open_clip
import pytest
import torch
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner

from bench.backbones.tokenizers import create_tokenizer
from bench.backbones.weights import create_model, resolve
from bench.cli import commands
from bench.engine.backbone import text_side
from bench.engine.plain import encode_prompts
from bench.engine.prompts import initial_contexts
from bench.engine.text import TextFeatures
from bench.errors import BenchError
from bench.results.frame import load
from bench.spec import TrainSpec
from tests.prepare.extracting import extract
from tests.prepare.hub import Hub

tokenizers, transformers = (pytest.importorskip(name, reason="pip install '.[hf]'") for name in ("tokenizers", "transformers"))
WORDS = TrainSpec(ctx_init="words", ctx_words="a photo of a", n_ctx=0)
NAMES = ["cat", "sea lion", "sea horse", "sea"]
KNOWN = ["a", "photo", "of", "cat", "dog", "sea", "lion", "horse", "x", ".", "red", "fox", "blue", "whale", "green", "frog"]
SIGLIP = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "tokenizer_kwargs": {"clean": "canonicalize"}}
# The text side as the published configurations have it, its first tokens in their order, and what stands around a text.
KINDS = {
    "SigLIP": (SIGLIP, ("<unk>", "</s>"), "$A </s>", {"pad_token": "</s>", "eos_token": "</s>"}),
    "SigLIP2": (SIGLIP, ("<pad>", "</s>", "<unk>"), "$A </s>", {"pad_token": "<pad>", "eos_token": "</s>"}),
    "CLIPA": (
        {"no_causal_mask": True, "pool_type": "last", "tokenizer_kwargs": {"strip_sep_token": True}},
        ("<pad>", "<cls>", "<sep>", "<unk>"), "<cls> $A <sep>", {"pad_token": "<pad>", "sep_token": "<sep>", "cls_token": "<cls>"},
    ),
    "worldwide": (
        {"pool_type": "eos", "eos_id": 2},
        ("<s>", "<pad>", "</s>", "<unk>"), "<s> $A </s>", {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"},
    ),
}  # fmt: skip


def folder_of(root, kind, vocabulary=64, **how):
    """A tiny model of random weights with a tokenizer of whole words in its folder."""
    text, special, around, roles = KINDS[kind]
    ids = {token: i for i, token in enumerate([*special, *KNOWN])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=around, special_tokens=[(token, ids[token]) for token in around.split() if token != "$A"]
    )
    folder = root / kind
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **roles, **how).save_pretrained(folder)
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 2, "hf_tokenizer_name": "x/y"} | text
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "custom_text": kind != "CLIPA"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    state = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_text_features_are_encode_texts(kind, tmp_path):
    """The context stands behind the start token and in front of the name, and no end token stands in it."""
    described = resolve(f"local-dir:{folder_of(tmp_path, kind)}")
    model = create_model(described)
    backbone, prompts = text_side(described, model), [f"a photo of a {name}." for name in NAMES]
    with torch.no_grad():
        expected = model.encode_text(create_tokenizer(described)(prompts), normalize=True)
    assert expected.std(dim=0).min() > 1e-4
    features = TextFeatures(backbone, NAMES, WORDS)
    assert features.reason.startswith("shared" if kind == "worldwide" else "plain")
    context = initial_contexts(backbone, WORDS, 1, 1, len(NAMES))
    assert context.shape[1] == 4
    torch.testing.assert_close(features(context)[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(encode_prompts(backbone, prompts), expected, rtol=0, atol=1e-5)
    long = [" ".join(["sea lion"] * 20)]
    cut = model.encode_text(create_tokenizer(described)(long), normalize=True)
    torch.testing.assert_close(encode_prompts(backbone, long), cut, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["SigLIP2", "CLIPA"])
def test_from_images_to_runs(kind, home, class_folders, monkeypatch):
    monkeypatch.chdir(home)
    model = folder_of(home, kind)
    (home / "g.toml").write_text(
        'name = "g"\npreset = "demo"\nmethods = ["zero_shot", "coop_ce"]\ndatasets = ["animals"]\nbackbones = ["tiny"]\n'
        "noise = { symmetric = [0.5] }\nshots = [2]\nseeds = [1]\nviews = 1\ntrain = { epochs = 2 }\n"
    )
    extract(class_folders, model, "--slug", "tiny", "--grid", home / "g.toml")
    app = typer.Typer()
    commands.register(app)
    for words in (["plan", "g.toml"], ["run", "g.toml", "--out", "results"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (result.output, result.exception)
    assert set(load("results").frame["method"]) == {"zero_shot", "coop_ce"}


@pytest.mark.parametrize(("how", "words"), [
    ({"padding_side": "left"}, "does not put texts between fixed tokens"),
    ({"vocabulary": 10}, r"the tokenizer gives token \d+, the text tower has 10"),
])  # fmt: skip
def test_tokenizers_that_prompts_cannot_be_made_with_are_refused_before_the_first_image(how, words, home, class_folders):
    with pytest.raises(BenchError, match=words):
        extract(class_folders, folder_of(home, "SigLIP2", **how))
    assert not (home / "features").exists()


def test_a_tokenizer_that_is_gone_or_altered_is_one_sentence(home, class_folders):
    folder = folder_of(home, "SigLIP")
    extract(class_folders, folder, "--slug", "tiny", "--shots", 1)
    told = folder / "tokenizer.json"
    told.write_text(told.read_text().replace('"fox"', '"vixen"'))
    with pytest.raises(BenchError, match=r"backbone 'tiny' stands for another one already .merges differ"):
        extract(class_folders, folder, "--slug", "tiny")
    told.unlink()
    with pytest.raises(BenchError, match=r"is not on this machine, or damaged.*must hold tokenizer\.json"):
        extract(class_folders, folder, "--slug", "other")


def test_a_tokenizer_comes_from_the_hub_only_when_asked(tmp_path, monkeypatch):
    folder, name, tag = folder_of(tmp_path, "SigLIP"), "ViT-B-16-SigLIP", "webli"
    files = {file: (folder / file).read_bytes() for file in ("tokenizer.json", "tokenizer_config.json")}
    served = Hub("timm/ViT-B-16-SigLIP", {"open_clip_model.safetensors": b"weights"} | files)
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"  # made once of the endpoint, when the package is imported
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(BenchError, match=rf"the weights '{tag}' of {name} are not on this machine.*--download"):
        resolve(name, tag)
    assert not served.asked
    described = resolve(name, tag, download=True)
    asked = len(served.asked)
    own = create_tokenizer(resolve(f"local-dir:{folder}"))
    assert create_tokenizer(described)(NAMES)[:, :16].tolist() == own(NAMES).tolist()
    assert resolve(name, tag, download=True) == described
    assert len(served.asked) == asked  # what is there is not asked for again
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(BenchError, match=f"the tokenizer of {name} is not on this machine.*--download"):
        create_tokenizer(described)
    served.gone |= files.keys()
    with pytest.raises(BenchError, match=f"the tokenizer of {name}: the hub lacks files of it"):
        resolve(name, tag, download=True)
    served.shutdown()
    served.server_close()
