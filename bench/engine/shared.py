"""The shared path: exact, and as many times faster as CoOp's prompts repeat themselves.

A causal text tower, pooled at the end token, with the class name behind a shared context. Then
1. nothing behind a name's end token matters: it is not computed;
2. prompts begin with the same start token and context, and names may begin alike: all prompts are one trie (trie.py), and a state
   is computed once per node;
3. the names' tokens enter the first layer as constants: their queries, keys and values there are computed once and for all;
4. in the last layer only the end tokens ask, and only their states are needed.

Shapes: S stacked contexts, P prefix tokens (start token and context, the trie's first nodes), N nodes of the trie, cut into n
chunks of m nodes (n · m >= N, the last chunk is padded) with at most A ancestors and e end tokens each, C classes, W width, H heads
of E dimensions.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.engine.backbone import TextTower
from bench.engine.prompts import CONTEXT, Prompts
from bench.engine.trie import build_trie, cut
from bench.spec import TrainSpec

CHUNK = 96  # nodes per chunk: few enough that masked scores are cheap, enough for large products
# Memory of a backward pass, in floats per token, layer and unit of width: 10.5 are kept by ViT-B-16's tower and 14.3 by one with
# quick GELU (OpenAI's), the rest is room for what comes and goes.
KEPT = 19
RECOMPUTE_ABOVE = 2**30  # bytes of one context's kept activations above which every layer is recomputed instead


def why_not_shared(tower: TextTower, train: TrainSpec) -> str:
    """Why the shared path does not fit, or "" where it does."""
    if train.class_specific:
        return "class-specific contexts share nothing"
    if train.class_position != "end":
        return f"the class token is at the {train.class_position}, so the context depends on the class"
    if not tower.causal:
        return "the text tower is not causal or not pooled at the end token"
    if not all(type(block) is ResidualAttentionBlock for block in tower.transformer.resblocks):
        return "the text tower's blocks are not open_clip's standard ones"
    return ""


class _LookedAt(torch.autograd.Function):
    """Keys and values of all nodes, [S, n · m, 2, H, E], to those that each chunk looks at: its ancestors' and its own.

    Only a rearrangement, but its backward is written by hand: torch's own fills and adds whole tensors of zeros.
    """

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, ancestors: Tensor) -> tuple[Tensor, Tensor]:
        """[S, n · m, 2, H, E] and [n, A] to keys and values, each [S · n, H, A + m, E]."""
        ctx.ancestors = ancestors
        seen = nodes.unflatten(1, (len(ancestors), -1))  # [S, n, m, 2, H, E]
        if ancestors.shape[1]:
            seen = torch.cat([nodes[:, ancestors], seen], dim=2)  # [S, n, A + m, 2, H, E]
        keys, values = seen.flatten(0, 1).transpose(1, 3).unbind(2)
        return keys, values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Gradients at keys and values, each [S · n, H, A + m, E], to the gradient at the nodes, [S, n · m, 2, H, E]."""
        ancestors: Tensor = ctx.ancestors
        chunks, ahead = ancestors.shape  # n, A
        at_seen = [gradient.transpose(1, 2).unflatten(0, (-1, chunks)) for gradient in gradients]  # each [S, n, A + m, H, E]
        at_nodes = torch.stack([gradient[:, :, ahead:] for gradient in at_seen], dim=3).flatten(1, 2)  # [S, n · m, 2, H, E]
        if ahead:
            for which, gradient in enumerate(at_seen):
                at_nodes[:, :, which].index_add_(1, ancestors.flatten(), gradient[:, :, :ahead].flatten(1, 2))  # + [S, n · A, H, E]
        return at_nodes, None


class SharedPath:
    """Text features of S contexts, [S, n_ctx, W] to [S, C, D].

    Args:
        tower: A causal text tower.
        prompts: C prompts with the class name behind the context.
    """

    def __init__(self, tower: TextTower, prompts: Prompts) -> None:
        trie = build_trie(prompts.sequences)
        chunks = cut(trie, CHUNK)
        position = tower.positional_embedding
        self.tower = tower
        self.blocks: list[ResidualAttentionBlock] = list(tower.transformer.resblocks)
        start = len(prompts.tokens.start)
        self.n_tokens, self.prefix = len(trie.tokens), start + prompts.n_ctx  # N, P
        self.ancestors, self.mask = chunks.ancestors.to(position.device), chunks.mask.to(position)  # [n, A], [n, m, A + m]
        self.asking, self.asking_mask = chunks.ends.to(position.device), chunks.ends_mask.to(position)  # [n, e], [n, e, A + m]
        self.ends = chunks.place.to(position.device)  # [C] among the n · e that ask
        with torch.no_grad():
            tokens, depth = (torch.tensor(of, device=position.device) for of in (trie.tokens, trie.depth))  # [N]
            fixed = [slice(start), slice(self.prefix, None)]  # all nodes but the context
            known = [tower.token_embedding(tokens[part]) + position[depth[part]] for part in fixed]
            self.start, self.names = known[0], F.pad(known[1], (0, 0, 0, chunks.padding))  # [start, W], [n · m - P, W]
            self.context_position = position[start : self.prefix]  # [n_ctx, W]
            self.names_projected = _project(self.blocks[0], self.blocks[0].ln_1(self.names), slice(None))  # [n · m - P, 3 W]
        assert trie.tokens[start : self.prefix] == [CONTEXT] * prompts.n_ctx

    @property
    def bytes_per_context(self) -> int:
        """What the backward pass of one context takes of the memory, at most about."""
        kept = (
            KEPT if not self.recompute else 1.6 * KEPT / len(self.blocks) + 1
        )  # all layers' inputs, and one layer twice at its peak
        return int(kept * self.n_tokens * self.names.shape[1] * len(self.blocks) * 4)

    @property
    def recompute(self) -> bool:
        """Whether layers are recomputed in the backward pass, as their activations are too many to keep."""
        return KEPT * self.n_tokens * self.names.shape[1] * len(self.blocks) * 4 > RECOMPUTE_ABOVE

    def __call__(self, contexts: Tensor) -> Tensor:
        """[S, n_ctx, W] to L2-normalised features [S, C, D]."""
        stack = len(contexts)
        start, names = (known.expand(stack, -1, -1) for known in (self.start, self.names))
        x = torch.cat([start, contexts + self.context_position, names], dim=1)  # [S, n · m, W]
        # the same for all layers and heads: [S · n, 1, m, A + m], in the last layer [S · n, 1, e, A + m]
        mask, asking_mask = (one.repeat(stack, 1, 1)[:, None] for one in (self.mask, self.asking_mask))
        for block in self.blocks[:-1]:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self._layer, block, x, mask, use_reentrant=False)
            else:
                x = self._layer(block, x, mask)
        x = self._layer(self.blocks[-1], x, asking_mask, last=True)  # [S, n · e, W]
        return self.tower.finish(x[:, self.ends])  # [S, C, D]

    def _layer(self, block: ResidualAttentionBlock, x: Tensor, mask: Tensor, last: bool = False) -> Tensor:
        """One transformer block on all states, [S, n · m, W]; the last completes only the end tokens', [S, n · e, W]."""
        width, heads = x.shape[-1], block.attn.num_heads
        is_query, is_key_or_value = slice(width), slice(width, None)  # rows of the projection
        first = block is self.blocks[0]
        y = block.ln_1(x[:, : self.prefix] if first else x)
        seen = self._with_names(_project(block, y, is_key_or_value), is_key_or_value, first)  # [S, n · m, 2 W]
        if last:
            x = x[:, self.asking.flatten()]  # [S, n · e, W]
            queries = _project(block, block.ln_1(x), is_query)  # [S, n · e, W]
        else:
            queries = self._with_names(_project(block, y, is_query), is_query, first)  # [S, n · m, W]
        keys, values = _LookedAt.apply(seen.unflatten(-1, (2, heads, -1)), self.ancestors)  # each [S · n, H, A + m, E]
        asked = queries.view(len(mask), -1, heads, width // heads).transpose(1, 2)  # [S · n, H, m or e, E]
        attended = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask.to(asked)).transpose(
            1, 2
        )  # [S · n, m or e, H, E]
        x = x + block.ls_1(block.attn.out_proj(attended.reshape(x.shape)))
        done: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
        return done

    def _with_names(self, projected: Tensor, part: slice, first: bool) -> Tensor:
        """In the first layer, the names' constant projections behind the prefix's, [S, P, ..] to [S, n · m, ..]; else as it is."""
        if not first:
            return projected
        names = self.names_projected[:, part].to(projected)  # half precision where autocast gives it
        return torch.cat([projected, names.expand(len(projected), -1, -1)], dim=1)

    def floor_operations(self) -> float:
        """Operations of one context's step if every distinct token went through every block, forward and backward to the inputs."""
        parameters: int = sum(p.numel() for block in self.blocks for p in block.parameters())
        return 4.0 * parameters * self.n_tokens

    def max_stack(self, memory: float) -> int:
        """How many contexts fit into `memory` bytes."""
        return max(1, math.floor(memory / self.bytes_per_context))


def _project(block: ResidualAttentionBlock, y: Tensor, part: slice) -> Tensor:
    """A part of a block's query, key and value projections, [..., W] to [..., rows of the part]."""
    return F.linear(y, block.attn.in_proj_weight[part], block.attn.in_proj_bias[part])
