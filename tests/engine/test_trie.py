"""The trie and its cut into chunks, as properties."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.engine.trie import build_trie, cut

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=1, max_size=30)


@given(SEQUENCES)
def test_every_sequence_is_the_path_to_its_end(sequences):
    trie = build_trie(sequences)
    assert len(trie.ends) == len(sequences)
    for sequence, end in zip(sequences, trie.ends, strict=True):
        line = trie.lineage(end)[::-1]
        assert [trie.tokens[node] for node in line] == sequence
        assert [trie.depth[node] for node in line] == list(range(len(sequence)))


@given(SEQUENCES)
def test_a_node_is_a_distinct_prefix_and_follows_its_ancestors(sequences):
    trie = build_trie(sequences)
    prefixes = {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}
    assert len(trie.tokens) == len(prefixes)
    assert all(parent < node for node, parent in enumerate(trie.parent))


@given(SEQUENCES, st.integers(1, 12))
def test_chunks_let_a_node_see_itself_and_its_ancestors_and_nothing_else(sequences, size):
    trie = build_trie(sequences)
    chunks = cut(trie, size)
    count, rows, width = chunks.mask.shape
    most = width - rows
    assert count * rows - chunks.padding == len(trie.tokens)
    for node in range(len(trie.tokens)):
        chunk, row = divmod(node, rows)
        allowed = torch.nonzero(chunks.mask[chunk, row] == 0)[:, 0].tolist()
        seen = [int(chunks.ancestors[chunk, i]) if i < most else chunk * rows + i - most for i in allowed]
        assert sorted(seen) == sorted(trie.lineage(node))


@given(SEQUENCES, st.integers(1, 12))
def test_no_row_of_the_mask_is_empty(sequences, size):
    chunks = cut(build_trie(sequences), size)
    assert bool((chunks.mask == 0).any(dim=-1).all())


@given(SEQUENCES, st.integers(1, 12))
def test_every_sequence_finds_its_end_among_those_that_ask(sequences, size):
    trie = build_trie(sequences)
    chunks = cut(trie, size)
    assert [int(chunks.ends.flatten()[place]) for place in chunks.place] == trie.ends
    for chunk, some in enumerate(chunks.ends):
        for row, node in enumerate(some):
            assert torch.equal(chunks.ends_mask[chunk, row], chunks.mask[chunk, int(node) - chunk * chunks.mask.shape[1]])
