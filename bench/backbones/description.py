"""Backbones by slug: which open_clip model with which weights file, written by extraction and read by the engine.

A slug names the features' folder and is a run's `backbone`: "embedded", "ViT-B-16@openai", "RN50@my-weights". Its description
lies in `<features>/backbones/<slug>.json`, so a run finds the text tower of the features it computes on.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from bench.errors import ENVIRONMENT, BenchError, nearest
from bench.files import read_json, sha256, write_text
from bench.paths import datasets_root, features_root
from bench.spec import Frozen

EMBEDDED = "embedded"


class Backbone(Frozen):
    """A model of open_clip and where its weights lie."""

    slug: str = Field(pattern=r"^[A-Za-z0-9][\w.@-]*$")  # it names a folder
    model: str  # open_clip's name, or "local-dir:<folder>"
    pretrained: str = ""  # open_clip's tag; "" where the weights are a file of the user's
    weights: str  # absolute path of the weights file
    sha256: str  # of that file
    quick_gelu: bool = False  # OpenAI's weights were trained with x·σ(1.702 x) instead of GELU
    context_length: int = 77  # tokens
    bpe: str = ""  # absolute path of a merges file of the model's own; "": open_clip's


def local_backbone(slug: str, folder: Path, known: str = "") -> Backbone:
    """The backbone in a folder of open_clip's "local-dir" layout, with a merges file `bpe*.txt.gz` where it has its own tokens.

    Args:
        slug: What to call it.
        folder: The folder.
        known: What the weights file's hash must be when it is loaded; "": what it is now.

    Raises:
        BenchError: Its configuration or weights are not there.
    """
    config, weights = folder / "open_clip_config.json", folder / "open_clip_model.safetensors"
    if not (config.is_file() and weights.is_file()):
        raise BenchError(f"the model folder {folder} lacks {config.name} or {weights.name}.", "Put the files back.", ENVIRONMENT)
    model = read_json(config, "model configuration")["model_cfg"]
    merges = sorted(folder.glob("bpe*.txt.gz"))
    return Backbone(
        slug=slug,
        model=f"local-dir:{folder}",
        weights=str(weights),
        sha256=known or sha256(weights),
        quick_gelu=model.get("quick_gelu", False),
        context_length=model["text_cfg"].get("context_length", 77),
        bpe=str(merges[0]) if merges else "",
    )


def _description(slug: str) -> Path:
    return features_root() / "backbones" / f"{slug}.json"


def known_backbones() -> list[str]:
    """The slugs that can be described: the embedded one and all that extraction has written."""
    return [EMBEDDED, *sorted(path.stem for path in _description("x").parent.glob("*.json"))]


def describe(slug: str) -> Backbone:
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
        return Backbone.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BenchError(f"{path} does not describe a backbone ({reason}).", "Extract its features again.") from error


def check_weights(backbone: Backbone) -> None:
    """Whether a backbone's weights file is there and is the one it names.

    Raises:
        BenchError: It is missing, or its SHA-256 is another.
    """
    path = Path(backbone.weights)
    if not path.is_file():
        raise BenchError(f"the weights of '{backbone.slug}', {path}, are gone.", "Put the file back.", ENVIRONMENT)
    if (found := sha256(path)) != backbone.sha256:
        raise BenchError(
            f"{path} is no longer the file that '{backbone.slug}' names: its sha256 is {found[:12]}…, not {backbone.sha256[:12]}….",
            "Put the file back.",
            ENVIRONMENT,
        )


def save_description(backbone: Backbone) -> None:
    """Write a backbone's description; another weights file under a known slug is refused.

    Raises:
        BenchError: The slug stands for other weights already.
    """
    path = _description(backbone.slug)
    if path.is_file() and (held := describe(backbone.slug)).sha256 != backbone.sha256:
        raise BenchError(
            f"backbone '{backbone.slug}' stands for other weights already: {held.weights} (sha256 {held.sha256[:12]}…).",
            f"Give these weights a name of their own with --slug, or remove {path} and the features made with it.",
        )
    write_text(path, backbone.model_dump_json(indent=1) + "\n")
