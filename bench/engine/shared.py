"""The shared path: exact, and as many times faster as CoOp's prompts repeat themselves.

A causal text tower, pooled at the end token, with the class name behind a shared context. Then
1. nothing behind a name's end token matters: it is not computed;
2. the start token sees only itself: its keys and values are constants of every layer;
3. prompts go on with the same context, and names may begin alike: all prompts are one trie (trie.py), and a state is computed once
   per node;
4. the names' tokens enter the first layer as constants: their queries, keys and values there are computed once and for all;
5. in the last layer only the end tokens ask, and only their states are needed.

Shapes: S stacked contexts, s start tokens (CLIP: 1), P context tokens (the trie's first nodes), N nodes of the trie, cut into n
chunks of m nodes (n · m >= N, the last chunk is padded) with at most A ancestors and e end tokens each, C classes, W width, H heads
of E dimensions.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.engine.attention import ChunkAttention
from bench.engine.backbone import TextTower, in_half
from bench.engine.prompts import CONTEXT, Prompts
from bench.engine.trie import build_trie, cut
from bench.spec import TrainSpec

ONE_CHUNK = 96  # nodes that make a single chunk
# Nodes per chunk of several: few enough that masked scores are cheap, enough for large products. The fastest on ViT-B-16 first.
CHUNK = (40, 48, 32, 56, 64)
# Memory of a backward pass, in floats per token, layer and unit of width: 10.5 are kept by ViT-B-16's tower and 14.3 by one with
# quick GELU (OpenAI's), the rest is room for what comes and goes.
KEPT = 19


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


def chunk_size(nodes: int) -> int:
    """Nodes per chunk: all where they are few, else the size whose last chunk is fullest; `cut` evens them out."""
    return nodes if nodes <= ONE_CHUNK else min(CHUNK, key=lambda size: -nodes % size)


class SharedPath:
    """Text features of S contexts, [S, n_ctx, W] to [S, C, D].

    Args:
        tower: A causal text tower.
        prompts: C prompts with the class name behind the context.
    """

    def __init__(self, tower: TextTower, prompts: Prompts) -> None:
        start = len(prompts.tokens.start)  # s
        trie = build_trie([sequence[start:] for sequence in prompts.sequences])
        chunks = cut(trie, chunk_size(len(trie.tokens)))
        position = tower.positional_embedding
        self.tower = tower
        self.blocks: list[ResidualAttentionBlock] = list(tower.transformer.resblocks)
        self.recompute = False  # layers in the backward pass, instead of keeping their activations (`max_stack`)
        self.n_tokens, self.n_ctx = start + len(trie.tokens), prompts.n_ctx  # s + N, P
        self.ancestors = chunks.ancestors.to(position.device)  # [n, A]
        # everyone sees the start tokens: [n, m, s + A + m], and the end tokens' rows of it, [n, e, s + A + m]
        self.mask, self.asking_mask = (F.pad(mask, (start, 0)).to(position) for mask in (chunks.mask, chunks.ends_mask))
        self.asking, self.ends = chunks.ends.to(position.device), chunks.place.to(position.device)  # [n, e], [C] among the n · e
        with torch.no_grad():
            tokens = torch.tensor([*prompts.tokens.start, *trie.tokens[prompts.n_ctx :]], device=position.device)
            depth = torch.tensor([*range(start), *(start + level for level in trie.depth[prompts.n_ctx :])], device=position.device)
            known = tower.token_embedding(tokens) + position[depth]  # [s + N - P, W]
            self.context_position = position[start : start + prompts.n_ctx]  # [P, W]
            self.start = self._start(known[:start])  # of every layer, [2, H, s, E]
            self.names = F.pad(known[start:], (0, 0, 0, chunks.padding))  # [n · m - P, W]
            self.names_projected = _project(self.blocks[0], self.names, slice(3))  # [n · m - P, 3, H, E]
        assert trie.tokens[: prompts.n_ctx] == [CONTEXT] * prompts.n_ctx

    def _start(self, x: Tensor) -> list[Tensor]:
        """The start tokens' keys and values in every layer, [2, H, s, E], from their states in front of the first, [s, W]."""
        found, causal = [], self.tower.attn_mask
        assert causal is not None, "the shared path is for causal towers"
        for block in self.blocks:
            found.append(_project(block, x, slice(1, 3)).permute(1, 2, 0, 3))
            x = block(x[None], attn_mask=causal[: len(x), : len(x)])[0]
        return found

    @property
    def bytes_per_context(self) -> int:
        """What the backward pass of one context takes of the memory, at most about."""
        if not self.recompute:
            return self._bytes(KEPT)
        return self._bytes(1.6 * KEPT / len(self.blocks) + 1)  # all layers' inputs, and one layer twice at its peak

    def _bytes(self, kept: float) -> int:
        return int(kept * self.n_tokens * self.names.shape[1] * len(self.blocks) * 4)

    def __call__(self, contexts: Tensor) -> Tensor:
        """[S, n_ctx, W] to L2-normalised features [S, C, D]."""
        stack = len(contexts)
        x = torch.cat([contexts + self.context_position, self.names.expand(stack, -1, -1)], dim=1)  # [S, n · m, W]
        for layer in range(len(self.blocks)):
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self._layer, layer, x, use_reentrant=False)
            else:
                x = self._layer(layer, x)
        return self.tower.finish(x[:, self.ends])  # [S, C, D]

    def _layer(self, layer: int, x: Tensor) -> Tensor:
        """One transformer block on all states, [S, n · m, W]; the last completes only the end tokens', [S, n · e, W]."""
        block, first, last = self.blocks[layer], layer == 0, layer == len(self.blocks) - 1
        parts = slice(1, 3) if last else slice(3)  # of queries, keys and values
        nodes = _project(block, x[:, : self.n_ctx] if first else x, parts)  # [S, P or n · m, 3 or 2, H, E]
        # only the context's were projected in the first: the names' are constants, in half precision where autocast gives it
        names = self.names_projected[:, parts].to(nodes) if first else None
        asked, mask = None, self.mask
        if last:
            x, mask = x[:, self.asking.flatten()], self.asking_mask  # [S, n · e, W]
            asked = _project(block, x, slice(1))[:, :, 0]  # [S, n · e, H, E]
        # [S, n · m or n · e, H, E]
        attended: Tensor = ChunkAttention.apply(nodes, names, asked, self.start[layer], self.ancestors, mask)
        x = x + block.ls_1(block.attn.out_proj(attended.flatten(-2)))
        done: Tensor = x + block.ls_2(block.mlp(block.ln_2(x)))
        return done

    def halve(self, dtype: torch.dtype) -> None:
        """Hold frozen weights, and what is known of the names, in the precision that autocast computes in."""
        self.tower = in_half(self.tower, dtype)
        self.blocks, self.names_projected = list(self.tower.transformer.resblocks), self.names_projected.to(dtype)

    def floor_operations(self) -> float:
        """Operations of one context's step if every distinct token went through every block, forward and backward to the inputs."""
        parameters: int = sum(p.numel() for block in self.blocks for p in block.parameters())
        return 4.0 * parameters * self.n_tokens

    def max_stack(self, memory: float) -> int:
        """How many contexts fit into `memory` bytes; where not one does, every layer is recomputed in the backward pass."""
        self.recompute = self._bytes(KEPT) > memory
        return max(1, math.floor(memory / self.bytes_per_context))


def _project(block: ResidualAttentionBlock, x: Tensor, parts: slice) -> Tensor:
    """Some of a block's queries, keys and values, [..., W] to [..., parts, H, E]."""
    weight, bias = (of.unflatten(0, (3, -1))[parts].flatten(0, 1) for of in (block.attn.in_proj_weight, block.attn.in_proj_bias))
    heads: int = block.attn.num_heads
    projected: Tensor = F.linear(block.ln_1(x), weight, bias).unflatten(-1, (-1, heads, x.shape[-1] // heads))
    return projected
