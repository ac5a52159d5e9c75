"""What prompts can be tuned on: every model that open_clip knows, told from its configuration and an empty text tower."""

import itertools
from typing import NamedTuple

import open_clip
import torch
from open_clip.model import _build_text_tower  # what both of open_clip's model classes build their tower with

from bench.backbones.tokenizers import needs_transformers, unusable
from bench.engine.backbone import text_tower
from bench.engine.shared import why_not_shared
from bench.errors import BenchError
from bench.spec import TrainSpec


class Verdict(NamedTuple):
    """Whether and how prompts are tuned on a model."""

    model: str
    path: str  # "shared", "plain" or "refused"
    why: str  # "" where the path is shared
    tokenizer: str  # "open_clip" or "transformers", which is an extra


def survey() -> list[Verdict]:
    """A verdict on every model, in open_clip's order. Text towers are built without memory, on torch's meta device."""
    return [verdict(model) for model in open_clip.list_models()]


def verdict(model: str) -> Verdict:
    """Whether and how prompts are tuned on one of open_clip's models."""
    tokenizer = "transformers" if needs_transformers(model) else "open_clip"
    if why := unusable(model):
        return Verdict(model, "refused", why, tokenizer)
    config = open_clip.get_model_config(model)
    try:
        with torch.device("meta"):
            tower = text_tower(_build_text_tower(config["embed_dim"], config["text_cfg"], bool(config.get("quick_gelu"))))
    except BenchError as error:
        return Verdict(model, "refused", error.message.rstrip("."), tokenizer)
    why = why_not_shared(tower, TrainSpec())
    return Verdict(model, "plain" if why else "shared", why, tokenizer)


def table(found: list[Verdict]) -> str:
    """The verdicts as a Markdown table: one row for all models that share path, reason and tokenizer."""
    rows = ["| path | why | tokenizer | models |", "|---|---|---|---|"]
    order = {"shared": 0, "plain": 1, "refused": 2}
    key = {item: (order[item.path], item.tokenizer, item.why) for item in found}
    for _, group in itertools.groupby(sorted(found, key=key.__getitem__), key=key.__getitem__):
        members = list(group)
        first, names = members[0], ", ".join(f"`{member.model}`" for member in members)
        rows.append(f"| {first.path} | {first.why} | {first.tokenizer} | {len(members)}: {names} |")
    return "\n".join(rows)
