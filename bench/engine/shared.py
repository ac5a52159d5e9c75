"""The shared path: exact, and as many times faster as CoOp's prompts repeat themselves.

A causal text tower, pooled at the end token, with the class name behind a shared context. Then
1. nothing behind a name's end token matters: it is not computed;
2. the start token and the context have the same states for every class: they are computed once;
3. names that begin alike share their first tokens' states: they are nodes of a trie (trie.py);
4. in the last layer only the end tokens' states are needed.

Shapes: S stacked contexts, P = 1 + n_ctx prefix tokens, T nodes of the trie, C classes, W width, H heads of E dimensions, n chunks
of m nodes with A ancestors each.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.engine.backbone import TextTower
from bench.engine.prompts import CONTEXT, Prompts
from bench.engine.trie import build_trie, cut
from bench.spec import TrainSpec

CHUNK = 64  # nodes per chunk: few enough that masked scores are cheap, enough for large products
# Activations kept for the backward pass are about this many floats per token, layer and unit of width (bench perf measures them).
KEPT = 14
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


class SharedPath:
    """Text features of S contexts, [S, n_ctx, W] to [S, C, D].

    Args:
        tower: A causal text tower.
        prompts: C prompts with the class name behind the context.
    """

    def __init__(self, tower: TextTower, prompts: Prompts) -> None:
        trie = build_trie(prompts.suffixes)
        chunks = cut(trie, CHUNK)
        device = tower.positional_embedding.device
        self.tower = tower
        self.blocks: list[ResidualAttentionBlock] = list(tower.transformer.resblocks)
        self.prefix, self.nodes = len(prompts.tokens.start) + prompts.n_ctx, len(trie.tokens)  # P, T
        self.chunk, self.padding, self.ancestors = chunks.size, chunks.padding, chunks.ancestors.to(device)  # m, n · m - T, [n, A]
        self.mask = F.pad(chunks.mask, (self.prefix, 0)).to(device)  # [n, m, P + A + m]; all see the whole prefix
        self.ends = self.prefix + torch.tensor(trie.ends, device=device)  # [C]
        position = self.prefix + torch.tensor(trie.depth, device=device)
        with torch.no_grad():
            embed = tower.token_embedding
            self.start = embed(torch.tensor(prompts.tokens.start, device=device))  # [P - n_ctx, W]
            self.names: Tensor = embed(torch.tensor(trie.tokens, device=device)) + tower.positional_embedding[position]  # [T, W]
        assert all(sequence[len(self.start)] == CONTEXT for sequence in prompts.sequences)

    @property
    def bytes_per_context(self) -> int:
        """What the backward pass of one context keeps in memory, about."""
        tokens = self.prefix + self.nodes
        kept = KEPT if not self.recompute else KEPT / len(self.blocks) + 1
        return int(kept * tokens * self.names.shape[1] * len(self.blocks) * 4)

    @property
    def recompute(self) -> bool:
        """Whether layers are recomputed in the backward pass, as their activations are too many to keep."""
        return KEPT * (self.prefix + self.nodes) * self.names.shape[1] * len(self.blocks) * 4 > RECOMPUTE_ABOVE

    def __call__(self, contexts: Tensor) -> Tensor:
        """[S, n_ctx, W] to L2-normalised features [S, C, D]."""
        stack = contexts.shape[0]
        prefix = torch.cat([self.start.expand(stack, -1, -1), contexts], dim=1)  # [S, P, W]
        prefix = prefix + self.tower.positional_embedding[: self.prefix]
        x = torch.cat([prefix, self.names.expand(stack, -1, -1)], dim=1)  # [S, P + T, W]
        # [S · n, 1, m, P + A + m], the same for all heads
        mask = self.mask.to(x.dtype).expand(stack, *self.mask.shape).flatten(0, 1)[:, None]
        for block in self.blocks[:-1]:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self._layer, block, x, mask, use_reentrant=False)
            else:
                x = self._layer(block, x, mask)
        return self.tower.finish(self._layer(self.blocks[-1], x, mask, self.ends))  # [S, C, D]

    def _layer(self, block: ResidualAttentionBlock, x: Tensor, mask: Tensor, rows: Tensor | None = None) -> Tensor:
        """One transformer block on all tokens, [S, P + T, W]; with `rows`, only these tokens' states are completed, [S, C, W]."""
        attended = self._attention(block, block.ln_1(x), mask)  # [S, P + T, W]
        if rows is not None:
            attended, x = attended[:, rows], x[:, rows]  # [S, C, W]
        x = x + block.ls_1(block.attn.out_proj(attended))
        done: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
        return done

    def _attention(self, block: ResidualAttentionBlock, x: Tensor, mask: Tensor) -> Tensor:
        """Multi-head attention without its output projection, [S, P + T, W]: the prefix causally, the trie by chunks."""
        attn, (stack, _, width) = block.attn, x.shape
        heads = attn.num_heads
        qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias).unflatten(-1, (3, heads, width // heads))  # [S, P + T, 3, H, E]
        # split and unbind, not slices: the gradient of a slice is a whole tensor of zeros
        prefix, nodes = qkv.split([self.prefix, self.nodes], dim=1)  # [S, P, 3, H, E], [S, T, 3, H, E]
        q, k, v = prefix.transpose(1, 3).unbind(2)  # each [S, H, P, E]
        ahead = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [S, H, P, E]
        padded = F.pad(nodes, (0, 0, 0, 0, 0, 0, 0, self.padding)).unflatten(1, (-1, self.chunk))  # [S, n, m, 3, H, E]
        own = padded.transpose(2, 4).unbind(3)  # queries, keys and values, each [S, n, H, m, E]
        count = own[0].shape[1]
        seen = [
            [of_prefix[:, None].expand(-1, count, -1, -1, -1), of_nodes]
            for of_prefix, of_nodes in zip((k, v), own[1:], strict=True)
        ]
        if self.ancestors.shape[1]:
            elders = nodes[:, self.ancestors, 1:].transpose(2, 4).unbind(3)  # keys and values, each [S, n, H, A, E]
            seen = [[first, elder, last] for (first, last), elder in zip(seen, elders, strict=True)]
        keys, values = (torch.cat(parts, dim=3).flatten(0, 1) for parts in seen)  # [S · n, H, P + A + m, E]
        trie = F.scaled_dot_product_attention(own[0].flatten(0, 1), keys, values, attn_mask=mask)  # [S · n, H, m, E]
        trie = trie.unflatten(0, (stack, count)).transpose(2, 3).reshape(stack, count * self.chunk, width)  # [S, n · m, W]
        return torch.cat([ahead.transpose(1, 2).reshape(stack, self.prefix, width), trie[:, : self.nodes]], dim=1)

    def floor_operations(self) -> float:
        """Operations of one context's step that no rearrangement avoids: forward and backward to the inputs through the blocks."""
        parameters: int = sum(p.numel() for block in self.blocks for p in block.parameters())
        return 4.0 * parameters * (self.prefix + self.nodes)

    def max_stack(self, memory: float) -> int:
        """How many contexts fit into `memory` bytes."""
        return max(1, math.floor(memory / self.bytes_per_context))
