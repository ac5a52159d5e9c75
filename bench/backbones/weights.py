"""Weights of open_clip models, found on this machine and loaded without running anything that a file holds."""

import logging
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import try_to_load_from_cache
from open_clip.factory import load_checkpoint

from bench.backbones.description import Backbone, check_weights, local_backbone
from bench.errors import ENVIRONMENT, BenchError, nearest
from bench.files import resolved, sha256

# Entries of TorchScript archives that are no weights.
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def find_weights(model: str, tag: str) -> Path | None:
    """The weights file of open_clip's `tag`, where it lies on this machine already; nothing is downloaded."""
    config: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    repo, _, name = str(config.get("hf_hub", "")).rpartition("/")
    for file in (name,) if name else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        found = try_to_load_from_cache(repo, file) if repo else None
        if isinstance(found, str):
            return Path(found)
    cached = Path.home() / ".cache" / "clip" / Path(str(config.get("url", "-"))).name
    return cached if cached.is_file() else None


def resolve(model: str, tag: str = "", weights: Path | None = None, slug: str = "") -> Backbone:
    """The backbone of an open_clip model name with a pretrained tag or a weights file, or of "local-dir:<folder>".

    Raises:
        BenchError: Unknown model or tag, a missing weights file, or weights that are not on this machine.
    """
    if slug and not re.fullmatch(r"[A-Za-z0-9][\w.@-]*", slug):
        raise BenchError(f"'{slug}' is no name for a backbone.", "Letters, digits, '.', '_', '@' and '-' make a name.")
    if model.startswith("local-dir:"):
        folder = resolved(model.removeprefix("local-dir:"))
        return local_backbone(slug or re.sub(r"[^\w.-]", "-", folder.name), folder)
    if model not in open_clip.list_models():
        raise BenchError(f"open_clip has no model '{model}'.", nearest(model, open_clip.list_models()))
    if weights is not None:
        path = resolved(weights)
        if not path.is_file():
            raise BenchError(f"weights file {path} does not exist.", "Give an existing file with --weights.")
        quick_gelu = _is_torchscript(path)
        tag, name = "", re.sub(r"[^\w.-]", "-", path.stem)
    else:
        path, quick_gelu = _tagged(model, tag)
        name = tag
    return Backbone(
        slug=slug or f"{model}@{name}",
        model=model,
        pretrained=tag,
        weights=str(path),
        sha256=sha256(path),
        quick_gelu=quick_gelu,
        context_length=int(open_clip.get_model_config(model)["text_cfg"].get("context_length", 77)),
    )


def _tagged(model: str, tag: str) -> tuple[Path, bool]:
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise BenchError(f"open_clip has no weights '{tag}' for {model}.", f"{nearest(tag, tags)} Or give a file with --weights.")
    found = find_weights(model, tag)
    if found is None:
        fetch = f"import open_clip; open_clip.create_model('{model}', pretrained='{tag}')"
        raise BenchError(
            f"the weights '{tag}' of {model} are not on this machine.",
            f'Fetch them once where there is a network: python -c "{fetch}"; or give a file with --weights.',
            ENVIRONMENT,
        )
    return found, bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu"))


def _is_torchscript(path: Path) -> bool:
    """Whether a weights file is a TorchScript archive, which is how OpenAI published CLIP."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _load(model: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint into a model; nothing is unpickled but tensors."""
    if _is_torchscript(path):
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch has no other reader of these files
            state = torch.jit.load(str(path), map_location="cpu").state_dict()
        model.load_state_dict({key: value for key, value in state.items() if key not in NOT_WEIGHTS})
    else:
        load_checkpoint(model, str(path), weights_only=True)


def create_model(backbone: Backbone) -> Any:
    """The open_clip model of a backbone with its weights: float32, on the CPU, in evaluation mode.

    Raises:
        BenchError: The weights are gone, altered since their features were made, no checkpoint, or another model's.
    """
    check_weights(backbone)
    path = Path(backbone.weights)
    try:
        model = _with_weights(backbone, path)
    except Exception as error:
        reason = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise BenchError(
            f"{path} does not load as weights of {backbone.model}: {reason}", "Name the model they belong to."
        ) from error
    return model.eval()


def _with_weights(backbone: Backbone, path: Path) -> Any:
    if backbone.model.startswith("local-dir:"):
        return open_clip.create_model(backbone.model, precision="fp32")
    tag = open_clip.get_pretrained_cfg(backbone.model, backbone.pretrained) if backbone.pretrained else {}
    logging.disable(logging.WARNING)  # open_clip warns that the model it makes here has no weights yet
    try:
        model = open_clip.create_model(
            backbone.model,
            precision="fp32",
            force_quick_gelu=backbone.quick_gelu,
            force_preprocess_cfg={key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key)},
            pretrained_text=False,
        )
    finally:
        logging.disable(logging.NOTSET)
    _load(model, path)
    return model


def create_tokenizer(backbone: Backbone) -> Any:
    """The tokenizer of a backbone: a callable from texts to token ids [n, context_length]."""
    if backbone.bpe:
        return open_clip.SimpleTokenizer(bpe_path=backbone.bpe, context_length=backbone.context_length)
    return open_clip.get_tokenizer(backbone.model)
