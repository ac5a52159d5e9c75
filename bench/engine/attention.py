"""Attention of a trie's chunks (trie.py), by plain matrix products and with its backward pass.

Chunks are small: torch's fused attention is no faster on them, and it leaves the gradients of shared keys and values to be added up
in whole tensors of zeros.

Shapes: S stacked contexts, n chunks of m nodes with at most A ancestors each, s start tokens, H heads of E dimensions.
"""

from typing import Any

import torch
from torch import Tensor


class ChunkAttention(torch.autograd.Function):
    """Every chunk attends to the start tokens, to its ancestors and, under a mask, to itself."""

    @staticmethod
    def forward(
        ctx: Any, nodes: Tensor, known: Tensor | None, asked: Tensor | None, start: Tensor, ancestors: Tensor, mask: Tensor
    ) -> Tensor:
        """What is attended to, [S, n · a, H, E] for a queries per chunk.

        Args:
            ctx: Keeps what the backward pass needs.
            nodes: Queries, keys and values of the first k nodes, [S, k, 3, H, E]; without the queries where others are given.
            known: Those of the other nodes, [n · m - k, 3, H, E], where they are constants; None: k = n · m.
            asked: Queries, [S, n · a, H, E], or None for those of all nodes (a = m).
            start: Keys and values of the start tokens, [2, H, s, E].
            ancestors: Nodes that a chunk sees besides itself, [n, A].
            mask: 0 or -inf, [n, a, s + A + m].
        """
        ctx.learned = nodes.shape[1]  # k
        if known is not None:
            nodes = torch.cat([nodes, known.expand(len(nodes), -1, -1, -1, -1)], dim=1)
        queries = nodes[:, :, 0] if asked is None else asked
        chunks, ahead, size = *ancestors.shape, queries.shape[-1]  # n, A, E
        own = nodes[:, :, -2:].unflatten(1, (chunks, -1)).permute(3, 0, 1, 4, 2, 5)  # [2, S, n, H, m, E]
        seen = own.new_empty(*own.shape[:4], mask.shape[-1], size)  # [2, S, n, H, s + A + m, E]
        first = mask.shape[-1] - own.shape[4]  # s + A: where a chunk's own nodes begin
        seen[..., : first - ahead, :] = start[:, None, None]
        if ahead:
            seen[..., first - ahead : first, :] = nodes[:, ancestors, -2:].permute(3, 0, 1, 4, 2, 5)
        seen[..., first:, :] = own
        keys, values = seen.flatten(1, 3)  # each [S · n · H, s + A + m, E]
        by_head = _by_head(queries, chunks)  # [S · n · H, a, E]
        scores = torch.baddbmm(keys.new_empty(()), by_head, keys.mT, beta=0, alpha=size**-0.5)  # [S · n · H, a, s + A + m]
        scores.view(*seen.shape[1:4], *mask.shape[1:]).add_(mask[:, None])  # the same for all stacked and all heads
        weights = scores.softmax(dim=-1).to(values)  # autocast gives float32
        ctx.save_for_backward(by_head, keys, values, weights, ancestors)
        ctx.first, ctx.own = first, asked is None
        return _by_node(torch.bmm(weights, values), queries.shape, chunks)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor | None, None, None, None]:
        """The gradient at what was attended to, [S, n · a, H, E], to those at the first k nodes and at the queries given."""
        by_head, keys, values, weights, ancestors = ctx.saved_tensors
        shape, (chunks, ahead), first, scale = gradients[0].shape, ancestors.shape, ctx.first, keys.shape[-1] ** -0.5
        most = ctx.learned if chunks == 1 else keys.shape[1] - first  # of a chunk's nodes, those whose gradients are needed
        learned = slice(first - ahead, first + most)  # columns: A + most of s + A + m
        rows = slice(most if ctx.own else None)  # of the queries
        gradient = _by_head(gradients[0], chunks)  # [S · n · H, a, E]
        at_values = torch.bmm(weights[:, :, learned].mT, gradient)  # [S · n · H, A + most, E]
        at_weights = torch.bmm(gradient, values.mT)  # [S · n · H, a, s + A + m]
        at_scores = torch._softmax_backward_data(at_weights, weights, -1, weights.dtype)
        at_keys = torch.baddbmm(keys.new_empty(()), at_scores[:, :, learned].mT, by_head, beta=0, alpha=scale)
        at_queries = torch.baddbmm(keys.new_empty(()), at_scores[:, rows], keys, beta=0, alpha=scale)
        # by node: at the queries [S, n, most or a, H, E], at keys and values [S, n, A + most, H, E]
        by_node = [at.view(shape[0], chunks, shape[2], -1, shape[3]).transpose(2, 3) for at in (at_queries, at_keys, at_values)]
        own = [*(by_node[:1] if ctx.own else []), *(at[:, :, ahead:] for at in by_node[1:])]
        at_nodes = torch.stack(own, dim=3).flatten(1, 2)  # [S, n · most, 3 or 2, H, E]
        if ahead:
            for place, at in ((-2, by_node[1]), (-1, by_node[2])):
                _add_rows(at_nodes[:, :, place], ancestors.flatten(), at[:, :, :ahead].flatten(1, 2))
        return at_nodes[:, : ctx.learned], None, None if ctx.own else by_node[0].reshape(shape), None, None, None


def _add_rows(to: Tensor, rows: Tensor, what: Tensor) -> None:
    """Add `what` [S, k, …] to the rows [k] of `to` [S, n, …], also those that come again, always in the same order."""
    if to.is_cuda:  # where index_add_ is atomic, in any order; index_put_ sorts the rows first
        to.transpose(0, 1).index_put_((rows,), what.transpose(0, 1), accumulate=True)
    else:
        to.index_add_(1, rows, what)


def _by_head(rows: Tensor, chunks: int) -> Tensor:
    """[S, n · a, H, E] to [S · n · H, a, E], as batched matrix products want it."""
    stack, _, heads, size = rows.shape
    return rows.view(stack * chunks, -1, heads, size).transpose(1, 2).reshape(stack * chunks * heads, -1, size)


def _by_node(by_head: Tensor, shape: torch.Size, chunks: int) -> Tensor:
    """[S · n · H, a, E] to [S, n · a, H, E], the shape."""
    stack, _, heads, size = shape
    return by_head.view(stack * chunks, heads, -1, size).transpose(1, 2).reshape(shape)
