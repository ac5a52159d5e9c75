"""Checkpoints of every form that people have, and the settings that belong to weights."""

import argparse
import shutil

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from bench.backbones import weights as module
from bench.backbones.checkpoint import read_checkpoint
from bench.backbones.description import describe, save_description
from bench.backbones.tokenizers import check_text_side
from bench.backbones.weights import assumed, create_model, resolve
from bench.errors import ENVIRONMENT, BenchError
from tests.backbones.conftest import NAME
from tests.backbones.test_weights import same
from tests.prepare.extracting import bench

OPENAIS = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(77), "vocab_size": torch.tensor(49408)}


def forms(state):
    """Every form of one state: a name and what is saved."""
    return {
        "plain": state,
        "lightning": {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 3},
        "model": {"model": state, "optimizer": {"state": {}}, "best": np.float64(0.5), "counts": np.arange(3)},
        "empty": {"model": {}, "state_dict": state},
        "nested": {"model": {"state_dict": state}, "args": argparse.Namespace(lr=0.1)},
        "compiled": {f"_orig_mod.{key}": value for key, value in state.items()},
        "parallel": {"state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}},
        "blocks": {key.replace("visual.", "visual._orig_mod."): value for key, value in state.items()},
        "mixed": {**state, "step": 7, "accuracy": np.float32(0.5)},
        "scale": {**state, "logit_scale": state["logit_scale"].reshape(1)},
    }


def test_every_form_loads_as_the_same_model(named, tmp_path):
    for name, saved in forms(named.state_dict()).items():
        torch.save(saved, tmp_path / f"{name}.pt")
        backbone = resolve(NAME, weights=tmp_path / f"{name}.pt")
        assert same(create_model(backbone), named), name
        assert not backbone.quick_gelu


def test_the_content_of_a_file_says_what_it_is_not_its_name(named, tmp_path):
    state = {key: value.contiguous() for key, value in named.state_dict().items()}
    save_file(state, tmp_path / "blob")
    torch.save(state, tmp_path / "w.safetensors")
    (tmp_path / "link.pt").symlink_to("blob")
    for name in ("blob", "w.safetensors", "link.pt"):
        assert same(create_model(resolve(NAME, weights=tmp_path / name)), named)


def test_openais_weights_are_recognised_in_any_container(named, tmp_path, capsys):
    """They were trained with quick GELU, which neither the model's name nor a state dict says."""
    state = {key: value.contiguous() for key, value in named.state_dict().items()} | OPENAIS
    torch.save(state, tmp_path / "a.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "b.pt")
    save_file(state, tmp_path / "c.safetensors")
    for name in ("a.pt", "b.pt", "c.safetensors"):
        backbone = resolve(NAME, weights=tmp_path / name)
        assert backbone.quick_gelu, name
        model = create_model(backbone)
        assert same(model, named)
        assert type(model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"
        assert "quick GELU" in assumed(backbone)
    with pytest.raises(BenchError, match=r"in the form of OpenAI's CLIP.*--pretrained openai"):
        resolve("ViT-B-16", "laion2b_s34b_b88k", tmp_path / "a.pt")
    assert resolve("ViT-B-16", "openai", tmp_path / "a.pt").quick_gelu


def test_a_file_has_the_settings_of_the_tag_beside_it(named, tmp_path):
    torch.save(named.state_dict(), tmp_path / "w.pt")
    for model, tag in (("MobileCLIP2-S0", "dfndr2b"), ("ViT-B-16", "openai"), ("ViT-B-16", "laion2b_s34b_b88k")):
        published, backbone = open_clip.get_pretrained_cfg(model, tag), resolve(model, tag, tmp_path / "w.pt")
        assert all(getattr(backbone.preprocess, key) == published[key] for key in ("mean", "std", "interpolation", "resize_mode"))
        assert backbone.quick_gelu == published.get("quick_gelu", False)
        assert backbone.slug == f"{model}@w"
        assert assumed(backbone) == ""
    mobile = resolve("MobileCLIP2-S0", "dfndr2b", tmp_path / "w.pt")
    assert (mobile.preprocess.mean, mobile.preprocess.std, mobile.preprocess.interpolation) == ((0,) * 3, (1,) * 3, "bilinear")
    with pytest.raises(BenchError, match=r"no weights 'opnai' for ViT-B-16.*Did you mean 'openai'"):
        resolve("ViT-B-16", "opnai", tmp_path / "w.pt")
    assert resolve("ViT-B-16-quickgelu", weights=tmp_path / "w.pt").quick_gelu
    said = assumed(resolve("ViT-B-16", weights=tmp_path / "w.pt"))
    assert "GELU, mean (0.48145466" in said
    assert "--pretrained (ViT-B-16 has: openai, laion400m_e31" in said


def test_the_images_go_through_the_tags_settings(named, tmp_path, monkeypatch):
    torch.save(named.state_dict(), tmp_path / "w.pt")
    settings = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "interpolation": "bilinear", "resize_mode": "squash"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: settings | {"quick_gelu": True})
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda model: ["some"])
    model = create_model(resolve(NAME, "some", tmp_path / "w.pt"))
    found = model.visual.preprocess_cfg
    assert {key: tuple(found[key]) if key in {"mean", "std"} else found[key] for key in settings} == settings
    assert type(model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


def test_a_slug_means_its_whole_content(named, tmp_path, home):
    torch.save(named.state_dict(), tmp_path / "w.pt")
    plain = resolve(NAME, weights=tmp_path / "w.pt", slug="mine")
    save_description(plain)
    other = plain.preprocess.model_copy(update={"std": (1.0, 1.0, 1.0)})
    for change in ({"quick_gelu": True}, {"preprocess": other}, {"context_length": 32}):
        with pytest.raises(BenchError, match=f"stands for another one already .{next(iter(change))} differ"):
            save_description(plain.model_copy(update=change))
        assert describe("mine") == plain
    moved = tmp_path / "elsewhere.pt"
    shutil.move(tmp_path / "w.pt", moved)
    save_description(resolve(NAME, weights=moved, slug="mine"))  # the same file in another place is the same backbone
    assert describe("mine").weights == str(moved)


def test_fp16_and_fp32_of_one_file_are_two_backbones(named, tmp_path, home):
    for folder, state in (("a", named.state_dict()), ("b", {key: value.half() for key, value in named.state_dict().items()})):
        (tmp_path / folder).mkdir()
        torch.save(state, tmp_path / folder / "clip.pt")
    save_description(resolve(NAME, weights=tmp_path / "a" / "clip.pt"))
    half = resolve(NAME, weights=tmp_path / "b" / "clip.pt")
    assert all(value.dtype == torch.float32 for value in create_model(half).state_dict().values())
    with pytest.raises(BenchError, match=r"stands for another one already .weights differ.*a name of its own with --slug"):
        save_description(half)


def test_what_cannot_be_the_weights_is_told(named, tmp_path):
    state = named.state_dict()
    for saved, words in (
        ({"state_dict": state, "model": state}, "holds several sets of weights: state_dict, model"),
        ({**state, **{f"_orig_mod.{key}": value for key, value in state.items()}}, "the same weights twice"),
        ({"text_model.a": torch.zeros(1)}, r"missing, such as ln_final.bias; 1 are none of its.*form of Hugging Face"),
        ([torch.zeros(1)], "holds a list, not named weights"),
        ({"epoch": 3}, "holds no weights by name, only 'epoch'"),
        ({"state_dict": state, "state_dict_ema": state}, "holds several sets of weights: state_dict, state_dict_ema"),
        ({"model": {}, "ema": state}, "holds no weights by name, only 'model', 'ema'"),
        (state | {"text_projection": state["text_projection"] * float("nan")}, "not finite numbers, such as text_projection"),
    ):
        torch.save(saved, tmp_path / "w.pt")
        with pytest.raises(BenchError, match=words):
            create_model(resolve(NAME, weights=tmp_path / "w.pt"))
    whole = (tmp_path / "w.pt").read_bytes()
    for damaged in (b"", whole[:200], b"PK\x03\x04", b"\x80\x02.", (1000).to_bytes(8, "little") + b"{}"):
        (tmp_path / "w.pt").write_bytes(damaged)
        with pytest.raises(BenchError, match=r"damaged|holds a") as caught:
            read_checkpoint(tmp_path / "w.pt")
        assert "\x1b" not in str(caught.value)


def test_a_folder_given_as_weights_says_which_file(named, tiny_model, tmp_path):
    with pytest.raises(BenchError, match=r"is a folder, not a weights file.*--backbone local-dir:"):
        resolve(NAME, weights=tiny_model)
    with pytest.raises(BenchError, match=r"is a folder.*Give a file"):
        resolve(NAME, weights=tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(BenchError, match=r"Give the file in it: pytorch_model\.bin"):
        resolve(NAME, weights=tmp_path)
    with pytest.raises(BenchError, match="has its own weights and settings"):
        resolve(f"local-dir:{tiny_model}", "openai")


def test_one_file_under_every_spelling_of_its_path(named, tmp_path, monkeypatch):
    torch.save(named.state_dict() | OPENAIS, tmp_path / "jit.pt")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("W", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    expected = resolve(NAME, weights=tmp_path / "jit.pt")
    assert expected.quick_gelu
    for spelling in ("~/jit.pt", "jit.pt", "./jit.pt", "$W/jit.pt"):
        assert resolve(NAME, weights=type(tmp_path)(spelling)) == expected


def test_hub_names_are_looked_for_on_this_machine_only(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda repo, file: None)
    with pytest.raises(BenchError, match=r"is not on this machine.*create_model\('hf-hub:me/clip'\).*local-dir:") as caught:
        resolve("hf-hub:me/clip")
    assert caught.value.code == ENVIRONMENT

    def cached(repo, file):
        return str(tiny_model / file) if (tiny_model / file).is_file() else None

    monkeypatch.setattr(module, "try_to_load_from_cache", cached)
    found = resolve("hf-hub:me/clip")
    assert found.slug == "me-clip"
    assert found.content == resolve(f"local-dir:{tiny_model}").content


def test_a_text_side_that_cannot_be_used_is_told_before_anything(home, class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for model, words in (
        ("coca_ViT-B-32", "a CoCa model"),
        ("xlm-roberta-base-ViT-B-32", "text tower is Hugging Face's xlm-roberta-base"),
        ("ViT-B-16-SigLIP", r"needs the package transformers.*noisy-prompt-bench\[hf\]"),
    ):
        with pytest.raises(BenchError, match=words):
            check_text_side(model)
        with pytest.raises(BenchError, match=words):
            bench("extract", "--folder", class_folders, "--backbone", model, "--weights", tmp_path / "absent.pt")
    assert not (home / "features").exists()
    for model in ("ViT-B-16", "RN50", "MobileCLIP2-S0"):
        check_text_side(model)
