"""Backbones by slug: which open_clip model with which weights file, written by extraction and read by the engine.

A slug names the features' folder and is a run's `backbone`: "embedded", "ViT-B-16@openai", "RN50@my-weights". Its description
lies in `<features>/backbones/<slug>.json`, so a run finds the text tower of the features it computes on.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from bench.errors import ENVIRONMENT, BenchError, nearest
from bench.files import read_json, sha256, write_text
from bench.paths import datasets_root, features_root
from bench.spec import Frozen

EMBEDDED = "embedded"
SLUG = re.compile(r"[A-Za-z0-9][\w.@-]*")


class Preprocess(Frozen):
    """How the images of a pretrained tag were prepared; the size is the model's."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str


class Description(Frozen):
    """A model of open_clip, the settings that belong to its weights, and where they lie."""

    slug: str = Field(pattern=f"^{SLUG.pattern}$")  # it names a folder
    model: str  # open_clip's name, or "local-dir:<folder>"
    pretrained: str = ""  # open_clip's tag whose settings these are; "" where none was named
    weights: str  # absolute path of the weights file
    sha256: str  # of that file
    quick_gelu: bool  # OpenAI's weights were trained with x·σ(1.702 x) instead of GELU
    preprocess: Preprocess | None  # None: as the folder's configuration says
    context_length: int  # tokens
    config: str = ""  # SHA-256 of the folder's configuration
    bpe: str = ""  # absolute path of a tokenizer file of the model's own: merges, or Hugging Face's; "": open_clip's
    merges: str = ""  # SHA-256 of that file

    @property
    def content(self) -> dict[str, Any]:
        """All that it is, wherever its files lie: what a slug means, and part of the fingerprint of its features."""
        return {
            "architecture": self.model.partition(":")[0],
            "weights": self.sha256,
            **self.model_dump(mode="json", include={"quick_gelu", "preprocess", "context_length", "config", "merges"}),
        }

    def contradicts(self, inputs: Mapping[str, Any]) -> list[str]:
        """What features were made from that this backbone is not; shipped and imported features do not name all of it."""
        return [name for name, value in self.content.items() if inputs.get(name, value) != value]


FOLDER_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


def local_backbone(slug: str, folder: Path, known: str = "") -> Description:
    """The backbone in a folder of open_clip's "local-dir" layout, with `bpe*.txt.gz` or `tokenizer.json` if it has its own tokens.

    Args:
        slug: What to call it.
        folder: The folder.
        known: What the weights file's hash must be when it is loaded; "": what it is now.

    Raises:
        BenchError: Its configuration or weights are not there.
    """
    config = folder / "open_clip_config.json"
    weights = next((folder / name for name in FOLDER_WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not config.is_file():
        lacks = config.name if weights else " or ".join(FOLDER_WEIGHTS)
        raise BenchError(f"the model folder {folder} lacks {lacks}.", "Put the file there.", ENVIRONMENT)
    try:
        model = read_json(config, "model configuration")["model_cfg"]
        quick_gelu, context_length = bool(model.get("quick_gelu", False)), int(model["text_cfg"].get("context_length", 77))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"{config} does not describe a model of open_clip ({error!r})."
        raise BenchError(message, 'It holds {"model_cfg": {"embed_dim", "vision_cfg", "text_cfg"}, …}.') from error
    theirs = "tokenizer.json" if model["text_cfg"].get("hf_tokenizer_name") else "bpe*.txt.gz"
    merges = sorted(folder.glob(theirs))
    check_name(slug)
    return Description(
        slug=slug,
        model=f"local-dir:{folder}",
        weights=str(weights),
        sha256=known or sha256(weights),
        quick_gelu=quick_gelu,
        preprocess=None,
        context_length=context_length,
        config=sha256(config),
        bpe=str(merges[0]) if merges else "",
        merges=sha256(merges[0]) if merges else "",
    )


def check_name(slug: str) -> None:
    """Whether a text can be a slug, which names files and folders.

    Raises:
        BenchError: It cannot.
    """
    if not SLUG.fullmatch(slug):
        hint = "A letter or digit, then letters, digits, '.', '_', '@' and '-' make a name (--slug)."
        raise BenchError(f"'{slug}' cannot name a backbone.", hint)


def _description(slug: str) -> Path:
    check_name(slug)
    return features_root() / "backbones" / f"{slug}.json"


def known_backbones() -> list[str]:
    """The slugs that can be described: the embedded one and all that extraction has written."""
    return [EMBEDDED, *sorted(path.stem for path in _description("x").parent.glob("*.json"))]


def describe(slug: str) -> Description:
    """The backbone of a slug.

    Raises:
        BenchError: Nothing describes it: no features were extracted with it on this machine.
    """
    if slug == EMBEDDED:
        root = datasets_root() / "embedded"
        # The shipped checksum, not the file's own: so weights that were altered since are noticed when they are loaded.
        known = read_json(root / "checksums.json")["model/open_clip_model.safetensors"]
        return local_backbone(EMBEDDED, root / "model", known)
    path = _description(slug)
    if not path.is_file():
        raise BenchError(
            f"no backbone '{slug}' is described in {path.parent}.",
            f"{nearest(slug, known_backbones())} `bench features extract` writes the description of the backbone it uses.",
        )
    try:
        return Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BenchError(f"{path} does not describe a backbone ({reason}).", "Remove it and extract again.") from error


def check_weights(backbone: Description) -> None:
    """Whether a backbone's weights, and its folder's configuration and merges, are there and are those that it names.

    Raises:
        BenchError: A file is missing, or its SHA-256 is another.
    """
    config = Path(backbone.model.removeprefix("local-dir:")) / "open_clip_config.json"
    for file, known in ((backbone.weights, backbone.sha256), (config, backbone.config), (backbone.bpe, backbone.merges)):
        path = Path(file)
        if not known:
            continue
        if not path.is_file():
            again = f"Put the file back, or tell where it lies now: bench features extract … --slug {backbone.slug}."
            raise BenchError(f"a file of '{backbone.slug}', {path}, is gone.", again, ENVIRONMENT)
        if (found := sha256(path)) != known:
            raise BenchError(
                f"{path} is no longer the file that '{backbone.slug}' names: its sha256 is {found[:12]}…, not {known[:12]}….",
                "Put the file back.",
                ENVIRONMENT,
            )


def check_slug(backbone: Description) -> None:
    """Whether a backbone's slug is free for it: what a slug means is its description's whole content.

    Raises:
        BenchError: The slug stands for something else already.
    """
    path = _description(backbone.slug)
    if path.is_file() and (odd := backbone.contradicts((held := describe(backbone.slug)).content)):
        raise BenchError(
            f"backbone '{backbone.slug}' stands for another one already ({', '.join(odd)} differ): {held.weights}, sha256 "
            f"{held.sha256[:12]}…, tag '{held.pretrained}', quick GELU {'on' if held.quick_gelu else 'off'}.",
            f"Give this one a name of its own with --slug, or remove {path} and the features made with it.",
        )


def save_description(backbone: Description) -> None:
    """Write a backbone's description, with where its files lie now.

    Raises:
        BenchError: The slug stands for something else already.
    """
    check_slug(backbone)
    write_text(_description(backbone.slug), backbone.model_dump_json(indent=1) + "\n")
