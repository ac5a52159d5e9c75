"""Prompts as a trie: prompts that begin with the same tokens share them.

A node is a token of one or more prompts; in a causal text tower its hidden state depends on its ancestors and itself alone, so one
state per node serves all prompts that pass through it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Trie(NamedTuple):
    """The nodes of C token sequences, depth first: the ancestors of a node come before it."""

    tokens: list[int]  # N
    parent: list[int]  # N; -1: the root, which is no token
    depth: list[int]  # N; 0: a child of the root
    ends: list[int]  # C; the node of each sequence's last token

    def lineage(self, node: int) -> list[int]:
        """The node, its parent, and so on to the root's child."""
        line = []
        while node >= 0:
            line.append(node)
            node = self.parent[node]
        return line


def build_trie(sequences: Sequence[Sequence[int]]) -> Trie:
    """The trie of token sequences, none of them empty. Duplicates end in the same node.

    Sorted sequences visit the nodes depth first: each one leaves the path of the one before where they first differ.
    """
    trie, path, ends = Trie([], [], [], []), list[int](), dict[tuple[int, ...], int]()
    previous: tuple[int, ...] = ()
    for sequence in sorted(set(map(tuple, sequences))):
        shared = 0
        while shared < min(len(sequence), len(previous)) and sequence[shared] == previous[shared]:
            shared += 1
        del path[shared:]
        for token in sequence[shared:]:
            trie.tokens.append(token)
            trie.parent.append(path[-1] if path else -1)
            trie.depth.append(len(path))
            path.append(len(trie.tokens) - 1)
        ends[sequence], previous = path[-1], sequence
    trie.ends.extend(ends[tuple(sequence)] for sequence in sequences)
    return trie


class Chunks(NamedTuple):
    """The trie cut, in its depth-first order, into n runs of m nodes each; the last is padded.

    The ancestors of all nodes of a chunk lie in the chunk itself or among the ancestors of its first node: so a chunk looks at
    those, at most A, and at itself under a mask. e: the most ends that a chunk has.
    """

    padding: int  # nodes added behind the last: n · m - N
    ancestors: Tensor  # [n, A] nodes; padded with node 0, which the mask hides
    mask: Tensor  # [n, m, A + m] 0 where a node may look, -inf elsewhere
    ends: Tensor  # [n, e] the sequences' last nodes, by chunk; padded with the chunk's first node
    ends_mask: Tensor  # [n, e, A + m] their rows of the mask
    place: Tensor  # [C] where each sequence's end is among the n · e


def cut(trie: Trie, size: int) -> Chunks:
    """Cut a trie into equal chunks of at most `size` nodes."""
    total = len(trie.tokens)
    count = -(-total // size)
    size = -(-total // count)
    lines = [trie.lineage(chunk * size)[1:] for chunk in range(count)]
    most = max(map(len, lines))
    ancestors = torch.zeros(count, most, dtype=torch.long)
    mask = torch.full((count, size, most + size), float("-inf"))
    for chunk, line in enumerate(lines):
        ancestors[chunk, : len(line)] = torch.tensor(line, dtype=torch.long)
        column = {node: i for i, node in enumerate(line)}
        for row in range(size):
            node = chunk * size + row
            seen = trie.lineage(node) if node < total else []
            mask[chunk, row, [column[k] if k in column else most + k - chunk * size for k in seen]] = 0
            mask[chunk, row, most + row] = 0  # padding looks at itself, so that no softmax is empty
    ends = [sorted({end for end in trie.ends if end // size == chunk}) for chunk in range(count)]
    places = max(map(len, ends))
    place = {end: chunk * places + i for chunk, some in enumerate(ends) for i, end in enumerate(some)}
    padded = torch.tensor([some + [chunk * size] * (places - len(some)) for chunk, some in enumerate(ends)])
    return Chunks(
        count * size - total, ancestors, mask, padded, mask.flatten(0, 1)[padded], torch.tensor([place[end] for end in trie.ends])
    )
