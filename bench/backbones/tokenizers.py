"""The text side of open_clip models: which can be tuned, and their tokenizers, open_clip's own or those of transformers."""

import importlib.util
from typing import Any

import open_clip

from bench.backbones.description import Description
from bench.errors import ENVIRONMENT, BenchError
from bench.hub import told

FETCH = "import open_clip; open_clip.get_tokenizer('{}')"


def unusable(model: str) -> str:
    """Why prompts cannot be tuned on a model's text tower, as its configuration says; "" where they can. Nothing is loaded."""
    config = open_clip.get_model_config(model) or {}
    if "multimodal_cfg" in config:
        return "a CoCa model, whose text tower appends a class token"
    if "hf_model_name" in config.get("text_cfg", {}):
        return f"its text tower is Hugging Face's {config['text_cfg']['hf_model_name']}, not open_clip's own"
    return ""


def needs_transformers(model: str) -> bool:
    """Whether a model's tokenizer is one of Hugging Face's."""
    text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
    return bool(text.get("hf_tokenizer_name") or ("siglip" in model.lower() and not model.startswith("local-dir:")))


def check_text_side(model: str) -> None:
    """Whether prompts can be tuned with a model's text tower and tokenizer on this machine; nothing is loaded.

    Raises:
        BenchError: They cannot be on this machine, or not at all.
    """
    if why := unusable(model):
        raise BenchError(f"prompts cannot be tuned on {model}: {why}.", "`bench backbones` lists the models that work.")
    if needs_transformers(model) and importlib.util.find_spec("transformers") is None:
        raise BenchError(
            f"the tokenizer of {model} needs the package transformers, which is not installed.",
            "pip install 'noisy-prompt-bench[hf]'",
            ENVIRONMENT,
        )


def fetch_tokenizer(model: str) -> None:
    """Fetch a model's tokenizer from Hugging Face's hub where it has one there that is not on this machine.

    Raises:
        BenchError: It cannot be fetched, or is not whole there.
    """
    if not needs_transformers(model):
        return
    try:
        open_clip.get_tokenizer(model, local_files_only=True)
    except Exception:  # noqa: BLE001 - see create_tokenizer
        try:
            with told(f"the tokenizer of {model}"):
                open_clip.get_tokenizer(model)
        except ValueError as error:  # transformers' word for files that are not there
            raise BenchError(f"the tokenizer of {model}: the hub lacks files of it.", "", ENVIRONMENT) from error


def create_tokenizer(backbone: Description) -> Any:
    """The tokenizer of a backbone: a callable from texts to token ids [n, context_length]. Nothing is downloaded.

    Raises:
        BenchError: Its files are not on this machine.
    """
    if backbone.bpe.endswith(".gz"):
        return open_clip.SimpleTokenizer(bpe_path=backbone.bpe, context_length=backbone.context_length)
    if not needs_transformers(backbone.model):
        return open_clip.get_tokenizer(backbone.model)
    try:
        return open_clip.get_tokenizer(backbone.model, local_files_only=True)
    except Exception as error:  # transformers looks for files in many places, and says so in many ways
        hint = f'Fetch it with --download; or where there is a network: python -c "{FETCH.format(backbone.model)}".'
        if backbone.model.startswith("local-dir:"):
            hint = "Its folder must hold tokenizer.json and tokenizer_config.json, as transformers save them."
        message = f"the tokenizer of {backbone.model} is not on this machine, or damaged ({type(error).__name__})."
        raise BenchError(message, hint, ENVIRONMENT) from error
