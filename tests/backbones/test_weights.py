"""Weights: found offline, loaded without running anything, checked; and zero-shot as open_clip has it."""

import os
import pickle
import shutil
import warnings

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from bench.backbones import weights
from bench.backbones.description import Description, describe, save_description
from bench.backbones.tokenizers import create_tokenizer
from bench.backbones.weights import assumed, create_model, find_weights, resolve, settings_from
from bench.cli.features import app
from bench.data.cards import load_card
from bench.data.task import features_of, split_of
from bench.errors import ENVIRONMENT, BenchError
from tests.backbones.conftest import NAME


def same(model, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_checkpoints_of_every_kind_load_alike(named, tmp_path, caplog):
    state = named.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "c d.pt")
    slugs = []
    for name in ("a.safetensors", "b.pt", "c d.pt"):
        backbone = resolve(NAME, weights=tmp_path / name)
        assert not backbone.quick_gelu
        assert same(create_model(backbone), named)
        assert not caplog.records
        slugs.append(backbone.slug)
    assert slugs == [f"{NAME}@a", f"{NAME}@b", f"{NAME}@c-d"]


def test_a_damaged_model_folder_is_told(tiny_model, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    weights_file = folder / "open_clip_model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:5000])
    with pytest.raises(BenchError, match="is a damaged or truncated safetensors file"):
        create_model(resolve(f"local-dir:{folder}"))
    weights_file.unlink()
    with pytest.raises(BenchError, match=r"lacks open_clip_model\.safetensors or"):
        resolve(f"local-dir:{folder}")
    weights_file.touch()
    config = folder / "open_clip_config.json"
    config.write_text('{"model_cfg": 3}')
    with pytest.raises(BenchError, match="does not describe a model of open_clip"):
        resolve(f"local-dir:{folder}")
    config.unlink()
    with pytest.raises(BenchError, match=r"lacks open_clip_config\.json"):
        resolve(f"local-dir:{folder}")


def test_a_folder_with_a_bin_file_is_a_backbone_too(tiny_model, named, tmp_path):
    shutil.copy(tiny_model / "open_clip_config.json", tmp_path)
    torch.save(named.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    backbone = resolve(f"local-dir:{tmp_path}")
    assert same(create_model(backbone), named)
    config = tmp_path / "open_clip_config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(BenchError, match=r"open_clip_config\.json is no longer the file"):
        create_model(backbone)


def test_openais_archives_load_with_their_quick_gelu(named, tmp_path):
    """OpenAI published TorchScript, and trained with QuickGELU; open_clip's "ViT-B-16" has GELU unless told."""
    images, text = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(named, (images, text), check_trace=False).save(str(tmp_path / "openai.pt"))
    backbone = resolve(NAME, weights=tmp_path / "openai.pt")
    assert backbone.quick_gelu
    model = create_model(backbone)
    assert same(model, named)
    assert type(model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_checkpoint_that_wants_to_run_something_is_refused(named, tmp_path, monkeypatch):
    ran = []
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.pt")
    monkeypatch.setattr(os, "system", ran.append)
    torch.save({"state_dict": named.state_dict(), "when": slice(3)}, tmp_path / "more.pt")
    torch.save(named, tmp_path / "whole.pt")
    for name, words in (
        ("evil.pt", "is damaged, or not a checkpoint"),
        ("evil2.pt", r"holds more than weights .(posix|nt)\.system"),
        ("more.pt", r"holds more than weights .slice.*save its weights alone"),
        ("whole.pt", r"holds more than weights .open_clip\.model\.CLIP"),
    ):
        with pytest.raises(BenchError, match=words) as caught:
            resolve(NAME, weights=tmp_path / name)
        assert "weights_only" not in str(caught.value)  # torch's advice to load without care
        assert "\x1b" not in str(caught.value)
    assert not ran


def test_weights_that_are_another_models_altered_or_gone_are_told(named, tmp_path):
    path = tmp_path / "w.safetensors"
    state = {key: value.contiguous() for key, value in named.state_dict().items()}
    save_file(state | {"visual.proj": torch.zeros(3, 3)}, path)
    backbone = resolve(NAME, weights=path)
    with pytest.raises(BenchError, match=r"does not hold the weights of .*: visual\.proj is \[3, 3\], not \[32, 16\]"):
        create_model(backbone)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BenchError, match="no longer the file"):
        create_model(backbone)
    path.unlink()
    with pytest.raises(BenchError, match="is gone"):
        create_model(backbone)
    with pytest.raises(BenchError, match="does not exist"):
        resolve(NAME, weights=path)
    path.write_text("{}")
    with pytest.raises(BenchError, match="is damaged, or not a checkpoint"):
        resolve(NAME, weights=path)


def test_pretrained_weights_are_found_offline_or_the_way_to_get_them_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("ViT-B-16", "openai") is None
    with pytest.raises(BenchError, match=r"are not on this machine.*pretrained='openai'.*give a file with --weights") as caught:
        resolve("ViT-B-16", "openai")
    assert caught.value.code == ENVIRONMENT
    cached = tmp_path / ".cache" / "clip" / "ViT-B-16.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    assert find_weights("ViT-B-16", "openai") == cached
    backbone = resolve("ViT-B-16", "openai")
    assert (backbone.slug, backbone.quick_gelu, backbone.context_length) == ("ViT-B-16@openai", True, 77)
    torch.save({"a": torch.zeros(1)}, cached)
    assert not resolve("ViT-B-16", "laion400m_e31", weights=cached).quick_gelu
    hub = tmp_path / "hub.safetensors"
    hub.write_bytes(b"weights")
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda repo, file: str(hub))
    assert find_weights("ViT-B-16", "openai") == hub


def test_unknown_models_and_weights_are_told():
    with pytest.raises(BenchError, match=r"no model 'ViT-B16'.*Did you mean 'ViT-B-16'"):
        resolve("ViT-B16", "openai")
    with pytest.raises(BenchError, match=r"no weights 'opnai' for ViT-B-16.*Did you mean 'openai'"):
        resolve("ViT-B-16", "opnai")


def check_zero_shot(folder, model_name, path, home):
    """The engine's class features give open_clip's own zero-shot classifier's logits on the cached features."""
    from bench.engine.backbone import load_backbone
    from bench.engine.plain import encode_prompts

    words = ["extract", "--folder", folder, "--backbone", model_name, "--weights", path, "--workers", 0, "--views", 1, "--shots", 1,
             "--slug", "zs", "--template", "a bad photo of a {}."]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    described, card = describe("zs"), load_card("animals")
    images = features_of("animals", "zs", "test").rows([item.path for item in split_of("animals").test])[:, 0]
    model = create_model(described)
    names = [name.replace("_", " ") for name in ("blue_whale", "green_frog", "red_fox")]
    with torch.no_grad():
        classifier = open_clip.build_zero_shot_classifier(
            model, create_tokenizer(described), names, ["a bad photo of a {}."], device="cpu"
        )
        expected = 100 * torch.from_numpy(images) @ classifier
    ours = 100 * torch.from_numpy(images) @ encode_prompts(load_backbone("zs"), card.prompts).T
    assert torch.allclose(ours, expected, atol=1e-3)
    assert expected.std() > 0.01


def test_zero_shot_is_open_clips(named, tmp_path, home, class_folders):
    save_file({key: value.contiguous() for key, value in named.state_dict().items()}, tmp_path / "w.safetensors")
    check_zero_shot(class_folders, NAME, tmp_path / "w.safetensors", home)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ViT-B-16", "RN50"])
def test_real_architectures_with_random_weights(name, tmp_path, home, class_folders):
    torch.manual_seed(0)
    state = open_clip.create_model(name).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "random.safetensors")
    check_zero_shot(class_folders, name, tmp_path / "random.safetensors", home)
    assert np.isfinite(features_of("animals", "zs", "train").rows(features_of("animals", "zs", "train").paths)).all()


def test_the_embedded_model_is_a_backbone_like_any_other(home):
    described = describe("embedded")
    assert isinstance(described, Description)
    assert create_tokenizer(described)(["an icon of a boat."]).shape == (1, described.context_length)
    save_description(described.model_copy(update={"slug": "mine"}))
    assert describe("mine").sha256 == described.sha256


def test_altered_embedded_weights_are_refused_when_loaded(home, monkeypatch):
    from bench.backbones import description as backbones

    (home / "datasets").mkdir()
    shutil.copytree(backbones.datasets_root() / "embedded" / "model", home / "datasets" / "embedded" / "model")
    shutil.copy(backbones.datasets_root() / "embedded" / "checksums.json", home / "datasets" / "embedded")
    monkeypatch.setattr(backbones, "datasets_root", lambda: home / "datasets")
    create_model(describe("embedded"))
    altered = home / "datasets" / "embedded" / "model" / "open_clip_model.safetensors"
    altered.write_bytes(altered.read_bytes()[:-1] + b"\x55")
    with pytest.raises(BenchError, match="no longer the file that 'embedded' names"):
        create_model(describe("embedded"))


RN50 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"  # as OpenAI's own code (clip.py) lists it
LAION = "46683a32" + 56 * "0"  # in the name of LAION-400M's ViT-B-32


def test_a_published_file_is_known_by_its_hash(tmp_path, monkeypatch):
    file = tmp_path / "renamed.bin"
    file.write_bytes(b"stands for the file of the hash")

    def found(digest, *words):
        monkeypatch.setattr("bench.backbones.weights.sha256", lambda path: digest)
        return resolve(*words, weights=file)

    known = found(RN50, "RN50")
    assert (known.pretrained, known.quick_gelu, assumed(known)) == ("openai", True, "")
    assert "open_clip's tag 'openai'" in settings_from(known)
    assert known.content == found(RN50, "RN50", "openai").content
    assert found(LAION, "ViT-B-32").pretrained == "laion400m_e32"
    for words in (("ViT-B-32",), ("RN50", "cc12m"), ("RN101", "openai")):
        with pytest.raises(BenchError, match=r"renamed\.bin is the published file of RN50@openai or RN50-quickgelu@openai, not of"):
            found(RN50, *words)
