"""A backbone as the engine needs it: frozen text tower, tokenizer and logit scale of an open_clip model."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from typing import Any

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from bench.backbones.description import Description, describe
from bench.backbones.tokenizers import create_tokenizer
from bench.backbones.weights import create_model
from bench.errors import BenchError


@dataclass(frozen=True, eq=False)
class TextTower:
    """The parts of an open_clip text tower. W: its width; L: its context length; D: the feature dimension."""

    token_embedding: nn.Embedding  # [vocabulary, W]
    positional_embedding: Tensor  # [L, W]
    transformer: Any  # open_clip's Transformer
    ln_final: nn.Module
    projection: Tensor | nn.Linear | None  # [W, D]
    attn_mask: Tensor | None  # [L, L] causal, or None: every token sees every other
    pool: str  # which token's state is the feature: "argmax" and "eos" (end token), "last", "first"
    pad_masked: bool  # padding is masked out of attention
    context_length: int  # L
    module: nn.Module  # what holds all of them

    @property
    def causal(self) -> bool:
        """Whether nothing behind the end token can change the feature."""
        return self.attn_mask is not None and self.pool in {"argmax", "eos"}

    def finish(self, x: Tensor) -> Tensor:
        """Pooled states [..., W] to L2-normalised features [..., D], in float32."""
        x = self.ln_final(x)
        if isinstance(self.projection, nn.Linear):
            x = self.projection(x)
        elif self.projection is not None:
            x = x @ self.projection
        return nn.functional.normalize(x.float(), dim=-1)


def in_half(tower: TextTower, dtype: torch.dtype) -> TextTower:
    """A tower whose matrices are what autocast makes of them: of frozen ones it keeps no copy, and casts them in every step."""
    transformer = copy.deepcopy(tower.transformer)
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.MultiheadAttention):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    projection = None if tower.projection is None else copy.deepcopy(tower.projection).to(dtype)
    return replace(tower, transformer=transformer, projection=projection)


def text_tower(model: nn.Module) -> TextTower:
    """The text tower of an open_clip model, frozen.

    Raises:
        BenchError: Its text tower is not open_clip's own transformer, or appends a class token (CoCa).
    """
    text: Any = getattr(model, "text", model)  # CustomTextCLIP keeps the tower in `.text`, CLIP its parts in itself
    if getattr(text, "cls_emb", None) is not None:
        raise BenchError("the text tower appends a class token (CoCa); prompts are tuned on CLIP-style towers only.")
    if not (isinstance(text, TextTransformer) or hasattr(model, "token_embedding")):
        raise BenchError(f"the text tower is a {type(text).__name__}; prompts are tuned on open_clip's own transformers only.")
    model.requires_grad_(False).eval()
    return TextTower(
        token_embedding=text.token_embedding,
        positional_embedding=text.positional_embedding,
        transformer=text.transformer,
        ln_final=text.ln_final,
        projection=text.text_projection,
        attn_mask=text.attn_mask,
        pool=getattr(text, "pool_type", None) or text.text_pool_type,
        pad_masked=getattr(text, "use_pad_mask", False),
        context_length=text.context_length,
        module=text,
    )


@dataclass(frozen=True, eq=False)
class Tokens:
    """A tokenizer's parts: what stands before and behind a text, and its own tokens."""

    encode: Callable[[str], list[int]]
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int


def tokens_of(tokenizer: Any) -> Tokens:
    """The parts of CLIP's tokenizer, or of any callable that gives rows padded at their end, told from the row of an empty text.

    SigLIP's has no start token and pads with its end token, SigLIP 2's and XLM's end with a token of their own; of CLIPA's, which
    is BERT's, only the start token is left.

    Raises:
        BenchError: The rows are made in another way, such as with padding in front.
    """
    if hasattr(tokenizer, "sot_token_id"):
        return Tokens(tokenizer.encode, (tokenizer.sot_token_id,), (tokenizer.eot_token_id,), 0)
    empty, one = (tokenizer([text])[0].tolist() for text in ("", "x"))
    pad = empty[-1]

    def without_padding(text: str) -> list[int]:
        row: list[int] = tokenizer([text])[0].tolist()
        while row and row[-1] == pad:
            row.pop()
        return row

    start = tuple(token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(empty, one, strict=True)))
    end = tuple(without_padding("")[len(start) :])

    def encode(text: str) -> list[int]:
        row = without_padding(text)
        return row[len(start) : len(row) - len(end)]

    made = [*start, *encode("x"), *end]
    if not encode("x") or [*made, *[pad] * (len(one) - len(made))] != one:
        raise BenchError("prompts cannot be made: the tokenizer does not put texts between fixed tokens, padded at their end.")
    return Tokens(encode, start, end or (pad,), pad)


@dataclass(frozen=True, eq=False)
class TextBackbone:
    """What the engine loads once per backbone."""

    tower: TextTower
    tokens: Tokens
    scale: float  # the trained logit scale, exp(logit_scale)


def load_backbone(slug: str, device: str = "cpu") -> TextBackbone:
    """The backbone of a slug, its image tower dropped; loaded once per process.

    Raises:
        BenchError: Unknown slug, or weights that are missing or altered (named with their hash).
    """
    return _load(describe(slug), device)


@lru_cache(maxsize=2)
def _load(described: Description, device: str) -> TextBackbone:
    model = create_model(described)
    model.visual = nn.Identity()
    return text_side(described, model.to(device))


def text_side(described: Description, model: Any) -> TextBackbone:
    """The text tower of a loaded model, frozen, with its tokenizer.

    Raises:
        BenchError: Prompts cannot be tuned with it.
    """
    return TextBackbone(text_tower(model), tokens_of(create_tokenizer(described)), float(model.logit_scale.detach().exp()))
