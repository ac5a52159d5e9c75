"""Weights of open_clip models, found on this machine and loaded without running anything that a file holds."""

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg

from bench.backbones.checkpoint import read_checkpoint
from bench.backbones.description import FOLDER_WEIGHTS, Description, Preprocess, check_name, check_weights, local_backbone
from bench.backbones.tokenizers import check_text_side, fetch_tokenizer
from bench.errors import ENVIRONMENT, BenchError, nearest
from bench.files import resolved, sha256
from bench.hub import endpoint, told

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def find_weights(model: str, tag: str) -> Path | None:
    """The weights file of open_clip's `tag`, where it lies on this machine already; nothing is downloaded."""
    config: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    repo, _, name = str(config.get("hf_hub", "")).rpartition("/")
    for file in (name,) if name else FOLDER_WEIGHTS:
        found = try_to_load_from_cache(repo, file) if repo else None
        if isinstance(found, str):
            return Path(found)
    cached = Path.home() / ".cache" / "clip" / Path(str(config.get("url", "-"))).name
    return cached if cached.is_file() else None


def resolve(model: str, tag: str = "", weights: Path | None = None, slug: str = "", *, download: bool = False) -> Description:
    """The backbone of an open_clip model name with a pretrained tag, a weights file or both, or of a folder or hub name.

    Activation and image settings are the tag's, which is named, or known by the hash of a published file. Of another file they are
    the model name's own, and quick GELU where the file is in OpenAI's form.

    Args:
        model: open_clip's name, "local-dir:<folder>" or "hf-hub:<owner>/<name>".
        tag: open_clip's name of the weights.
        weights: A file that holds them.
        slug: What to call the backbone.
        download: Fetch a tag's weights, and Hugging Face's tokenizer, where they are not on this machine.

    Raises:
        BenchError: Unknown model or tag, a missing weights file, weights that are not on this machine or are not what the tag says,
            or a text side that cannot be used.
    """
    if slug:
        check_name(slug)
    if model.startswith(("local-dir:", "hf-hub:")):
        if tag or weights:
            raise BenchError(f"{model} has its own weights and settings.", "Leave --pretrained and --weights out.")
        hub = model.startswith("hf-hub:")
        folder = _hub_folder(model) if hub else resolved(model.removeprefix("local-dir:"))
        name = model.removeprefix("hf-hub:") if hub else folder.name
        found = local_backbone(slug or re.sub(r"[^\w.-]", "-", name), folder)
        check_text_side(found.model)
        return found
    if model not in open_clip.list_models():
        raise BenchError(f"open_clip has no model '{model}'.", nearest(model, open_clip.list_models()))
    check_text_side(model)
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags and (tag or weights is None):
        raise BenchError(f"open_clip has no weights '{tag}' for {model}.", f"{nearest(tag, tags)} Or give a file with --weights.")
    path = _tagged(model, tag, download=download) if weights is None else _weights_file(weights)
    if download:
        fetch_tokenizer(model)
    digest = sha256(path)
    tag = _checked_tag(model, tag, path, digest)
    settings = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    config = open_clip.get_model_config(model)
    quick_gelu = bool(config.get("quick_gelu") or settings.get("quick_gelu"))
    if weights is not None and not quick_gelu and read_checkpoint(path).openai:
        if tag:
            raise BenchError(
                f"{path} is in the form of OpenAI's CLIP, which has quick GELU; the weights '{tag}' of {model} have not.",
                "Give --pretrained openai, or the tag that the file belongs to.",
            )
        quick_gelu = True
    name = tag if weights is None else re.sub(r"[^\w.-]", "-", weights.stem)
    usual = PreprocessCfg()
    return Description(
        slug=slug or f"{model}@{name}",
        model=model,
        pretrained=tag,
        weights=str(path),
        sha256=digest,
        quick_gelu=quick_gelu,
        preprocess=Preprocess(**{key: settings.get(key) or getattr(usual, key) for key in Preprocess.model_fields}),
        context_length=int(config["text_cfg"].get("context_length", 77)),
    )


@cache
def published() -> dict[str, list[tuple[str, str]]]:
    """The models and tags of each file whose hash open_clip knows: whole or its first 8 digits, as the file's URL carries it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for model, tag in open_clip.list_pretrained():
        url = str(open_clip.get_pretrained_cfg(model, tag).get("url", ""))
        if carried := re.search(r"/([0-9a-f]{64})/|-([0-9a-f]{8})\.pt$", url):
            found.setdefault(carried[1] or carried[2], []).append((model, tag))
    return found


def _checked_tag(model: str, tag: str, path: Path, digest: str) -> str:
    """The tag of a weights file: the one that is named, or the one that its hash is known by; "" where neither is.

    Raises:
        BenchError: Its hash is known as another model's or tag's.
    """
    owners = published().get(digest) or published().get(digest[:8]) or []
    tags = [own for name, own in owners if name == model]
    if owners and (tag or (tags or [""])[0]) not in tags:
        known = " or ".join(f"{name}@{own}" for name, own in owners)
        raise BenchError(f"{path} is the published file of {known}, not of {model}{f'@{tag}' if tag else ''}.", "Name what it is.")
    return tag or (tags[0] if tags else "")


def assumed(backbone: Description) -> str:
    """What was assumed of a weights file that came without a tag, and how to say otherwise; "" where nothing was."""
    if backbone.pretrained or backbone.preprocess is None:
        return ""
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(backbone.model)) or "none"
    return (
        f"assumed of {backbone.weights}: {'quick ' if backbone.quick_gelu else ''}GELU, "
        f"{', '.join(f'{key} {value}' for key, value in backbone.preprocess)}. "
        f"If it belongs to a published tag, say which with --pretrained ({backbone.model} has: {tags})"
    )


def settings_from(described: Description) -> str:
    """A backbone's activation and image settings, and what says that they are so."""
    source = f"as open_clip's tag '{described.pretrained}' says" if described.pretrained else "assumed, as no tag was named"
    if described.preprocess is None:
        return "activation, mean, std, size and resize mode as its folder's configuration says"
    size = (open_clip.get_model_config(described.model) or {}).get("vision_cfg", {}).get("image_size", 224)
    images = ", ".join(f"{key} {value}" for key, value in described.preprocess)
    return f"{'quick ' if described.quick_gelu else ''}GELU, {images}: {source}; size {size}: as the model's configuration says"


def _hub_folder(model: str) -> Path:
    """The folder of a model of Hugging Face's hub, where it lies on this machine already."""
    repository = model.removeprefix("hf-hub:")
    found = [try_to_load_from_cache(repository, name) for name in ("open_clip_config.json", *FOLDER_WEIGHTS)]
    if not isinstance(found[0], str) or not any(isinstance(path, str) for path in found[1:]):
        fetch = f"import open_clip; open_clip.create_model('{model}')"
        raise BenchError(
            f"{model} is not on this machine, and nothing is downloaded.",
            f'Fetch it once where there is a network: python -c "{fetch}"; or copy its open_clip_config.json and weights into a '
            "folder and name that as local-dir:FOLDER.",
            ENVIRONMENT,
        )
    return Path(found[0]).parent


def _weights_file(given: Path) -> Path:
    path = resolved(given)
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
        hint = f"Give the file in it: {', '.join(inside)}." if inside else "Give a file."
        if (path / "open_clip_config.json").is_file():
            hint = f"Its configuration says how to use it: --backbone local-dir:{path} instead of --weights."
        raise BenchError(f"{path} is a folder, not a weights file.", hint)
    if not path.is_file():
        raise BenchError(f"weights file {path} does not exist.", "Give an existing file with --weights.")
    return path


def _fetch(model: str, tag: str) -> None:
    """Fetch a tag's weights to where `find_weights` looks for them; a hash that a URL carries is checked by open_clip."""
    config = open_clip.get_pretrained_cfg(model, tag)
    repo, _, name = str(config.get("hf_hub", "")).rpartition("/")
    with told(f"the weights '{tag}' of {model}"):
        if not repo:
            open_clip.download_pretrained(config)
            return
        listed = set(HfApi(endpoint=endpoint()).list_repo_files(repo))
        wanted = [file for file in ((name,) if name else FOLDER_WEIGHTS) if file in listed]
        if not wanted:
            raise BenchError(f"{repo} holds no weights that open_clip would load.", "Give a file with --weights.")
        hf_hub_download(repo, wanted[0], endpoint=endpoint())


def _tagged(model: str, tag: str, *, download: bool) -> Path:
    found = find_weights(model, tag)
    if found is None and download:
        _fetch(model, tag)
        found = find_weights(model, tag)
    if found is None:
        fetch = f"import open_clip; open_clip.create_model('{model}', pretrained='{tag}')"
        raise BenchError(
            f"the weights '{tag}' of {model} are not on this machine.",
            f'Fetch them with --download; or where there is a network: python -c "{fetch}"; or give a file with --weights.',
            ENVIRONMENT,
        )
    return found


def create_model(backbone: Description) -> Any:
    """The open_clip model of a backbone with its weights: float32, on the CPU, in evaluation mode.

    Raises:
        BenchError: The weights are gone, altered since their features were made, not a checkpoint, or another model's.
    """
    check_weights(backbone)
    logging.disable(logging.WARNING)  # open_clip warns that the model it makes here has no weights yet
    try:
        model = open_clip.create_model(
            backbone.model,
            load_weights=False,
            precision="fp32",
            force_quick_gelu=backbone.quick_gelu,
            force_preprocess_cfg=backbone.preprocess and backbone.preprocess.model_dump(),
            pretrained_text=False,
        )
    except Exception as error:  # open_clip builds what a folder's configuration says, which can be anything
        reason = f"open_clip cannot build {backbone.model} ({type(error).__name__}: {str(error).splitlines()[0][:200]})."
        raise BenchError(reason, "Correct its configuration, or name another model.") from error
    finally:
        logging.disable(logging.NOTSET)
    _load(model, backbone)
    return model.eval()


def _load(model: Any, backbone: Description) -> None:
    """Put a checkpoint's weights into a model: all of them, and no others."""
    path = Path(backbone.weights)
    weights = convert_state_dict(model, read_checkpoint(path).weights)
    if "positional_embedding" in weights and not hasattr(model, "positional_embedding"):
        weights = convert_to_custom_text_state_dict(weights)  # from before open_clip kept some text towers apart
    wanted = model.state_dict()
    for name in {"logit_scale", "logit_bias"} & weights.keys() & wanted.keys():
        if weights[name].numel() == 1:
            weights[name] = weights[name].reshape(wanted[name].shape)  # saved as [] by some, as [1] by others
    if wrong := _differences(weights, wanted):
        hint = "Name the model they belong to."
        if any(name.startswith(("text_model.", "vision_model.")) for name in weights):
            hint = "They are in the form of Hugging Face's transformers: give open_clip's file of them."
        raise BenchError(f"{path} does not hold the weights of {backbone.model}: {wrong}.", hint)
    model.load_state_dict(weights)
    if broken := [name for name, value in model.state_dict().items() if not value.isfinite().all()]:
        hint = "Fetch or save the file again; half precision cannot hold what is above 65504."
        raise BenchError(f"{path} holds weights that are not finite numbers, such as {broken[0]}.", hint)


def _differences(weights: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> str:
    missing, more = (sorted(a.keys() - b.keys()) for a, b in ((wanted, weights), (weights, wanted)))
    odd = [name for name in wanted.keys() & weights.keys() if wanted[name].shape != weights[name].shape]
    found = [
        f"{len(names)} {what}, such as {names[0]}" for names, what in ((missing, "are missing"), (more, "are none of its")) if names
    ]
    if odd:
        found.append(f"{min(odd)} is {list(weights[min(odd)].shape)}, not {list(wanted[min(odd)].shape)}")
    return "; ".join(found)
