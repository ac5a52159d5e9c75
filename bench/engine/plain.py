"""The plain path: every prompt, token by token, through open_clip's own modules. Slow; it fits all towers and is the reference."""

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import text_global_pool
from torch import Tensor

from bench.engine.backbone import TextBackbone, TextTower, in_half
from bench.engine.prompts import CONTEXT, Prompts, within


def whole_prompts(backbone: TextBackbone, prompts: Sequence[str]) -> Prompts:
    """Prompts without a learned context, truncated to the tower's length as open_clip's tokenizers do."""
    tokens, room = backbone.tokens, backbone.tower.context_length
    limit = room - len(tokens.start) - len(tokens.end)
    return Prompts(within(backbone, ((*tokens.start, *tokens.encode(text)[:limit], *tokens.end) for text in prompts)), 0, tokens)


class PlainPath:
    """Text features of S contexts: [S, n_ctx, W], or [S, C, n_ctx, W] where they are class-specific, to [S, C, D].

    Args:
        tower: The text tower.
        prompts: C prompts.
        full: Run all L tokens even where the tower is causal. Otherwise a causal tower stops behind the longest prompt's end token,
            which changes nothing but the time.
    """

    def __init__(self, tower: TextTower, prompts: Prompts, full: bool = False) -> None:
        self.tower = tower
        longest = max(map(len, prompts.sequences))
        length = longest if tower.causal and not full else tower.context_length
        filler = prompts.tokens.encode("x")[0]  # stands in for the context where pooling and masks read token ids
        rows = [[*sequence, *[prompts.tokens.pad] * (length - len(sequence))] for sequence in prompts.sequences]
        marked = torch.tensor(rows, device=tower.positional_embedding.device)  # [C, L]
        self.ids = marked.masked_fill(marked == CONTEXT, filler)
        self.embedded = tower.token_embedding(self.ids).detach()  # [C, L, W]
        self.places = [[i for i, token in enumerate(sequence) if token == CONTEXT] for sequence in prompts.sequences]
        self.rows = torch.arange(len(rows), device=marked.device)[:, None]  # [C, 1]

    def __call__(self, contexts: Tensor) -> Tensor:
        """[S, (C,) n_ctx, W] to L2-normalised features [S, C, D]."""
        stack, (classes, length, width) = contexts.shape[0], self.embedded.shape
        x = self.embedded.expand(stack, classes, length, width)
        if contexts.shape[-2]:
            own = contexts if contexts.dim() == 4 else contexts[:, None].expand(stack, classes, *contexts.shape[1:])
            places = torch.tensor(self.places, device=x.device)  # [C, n_ctx]
            x = x.transpose(0, 1).transpose(1, 2).index_put((self.rows, places), own.permute(1, 2, 0, 3))  # [C, L, S, W]
            x = x.permute(2, 0, 1, 3)
        x = (x + self.tower.positional_embedding[:length]).reshape(stack * classes, length, width)
        ids = self.ids.repeat(stack, 1)  # [S · C, L]
        x = self.tower.transformer(x, attn_mask=self._mask(ids, x.dtype))
        pooled = text_global_pool(x, ids, self.tower.pool, eos_token_id=getattr(self.tower.module, "eos_id", None))  # [S · C, W]
        return self.tower.finish(pooled).view(stack, classes, -1)

    def halve(self, dtype: torch.dtype) -> None:
        """Hold frozen weights in the precision that autocast computes in."""
        self.tower = in_half(self.tower, dtype)

    def _mask(self, ids: Tensor, dtype: torch.dtype) -> Tensor | None:
        length = ids.shape[1]
        if self.tower.pad_masked:
            build: Any = self.tower.module._build_additive_mask  # the tower's own rule
            mask: Tensor = build(ids, length, dtype)
            return mask
        return None if self.tower.attn_mask is None else self.tower.attn_mask[:length, :length]


@torch.no_grad()
def encode_prompts(backbone: TextBackbone, prompts: Sequence[str]) -> Tensor:
    """Text features [C, D] of whole prompts, through the tower's own modules."""
    path = PlainPath(backbone.tower, whole_prompts(backbone, prompts))
    empty = backbone.tower.positional_embedding.new_zeros(1, 0, backbone.tower.positional_embedding.shape[1])
    return path(empty)[0]
