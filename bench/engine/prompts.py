"""Prompts as token sequences with places for the context, and the context's first values."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.engine.backbone import Backbone, Tokens
from bench.errors import BenchError
from bench.seeds import derive
from bench.spec import TrainSpec

CONTEXT = -1  # stands for a context token in a sequence of token ids
CONTEXT_STD = 0.02  # CoOp's


@dataclass(frozen=True)
class Prompts:
    """C prompts: token ids with `CONTEXT` at the context tokens' places, end token included, not padded."""

    sequences: tuple[tuple[int, ...], ...]  # C
    n_ctx: int
    tokens: Tokens


def context_length(tokens: Tokens, train: TrainSpec) -> int:
    """How many context tokens a run learns: `n_ctx`, or as many as its initial words have."""
    return len(tokens.encode(train.ctx_init)) if train.ctx_init else train.n_ctx


def make_prompts(backbone: Backbone, names: Sequence[str], train: TrainSpec) -> Prompts:
    """CoOp's prompts, "[context] name.", with the class name at the end, in the middle of the context, or in front of it.

    Raises:
        BenchError: No class at all, or a name that does not fit behind the context.
    """
    if not names:
        raise BenchError("there are no class names to make prompts of.", "Give the dataset card its classes.")
    tokens, length = backbone.tokens, context_length(backbone.tokens, train)
    ahead = {"end": length, "middle": length // 2, "front": 0}[train.class_position]  # context tokens before the name
    sequences = []
    for name in names:
        words = tokens.encode(f"{name}.")  # as one text: "o'clock!." ends in the single token "!."
        own, full_stop = words[: len(tokens.encode(name))], words[len(tokens.encode(name)) :]
        sequence = (*tokens.start, *[CONTEXT] * ahead, *own, *[CONTEXT] * (length - ahead), *full_stop, *tokens.end)
        if len(sequence) > backbone.tower.context_length:
            room = backbone.tower.context_length - (len(sequence) - len(own))
            raise BenchError(
                f"class name '{name}' has {len(own)} tokens; behind {length} context tokens this backbone has room for {room}.",
                "Shorten the name in the dataset card, or set a smaller n_ctx.",
            )
        sequences.append(sequence)
    return Prompts(tuple(sequences), length, tokens)


def initial_contexts(backbone: Backbone, train: TrainSpec, seed: int, contexts: int, classes: int) -> Tensor:
    """The first values of a run's K contexts: [K, n_ctx, W], or [K, C, n_ctx, W] where they are class-specific.

    From N(0, .02), or the embeddings of `ctx_init`'s words; then from the second context on with N(0, .02) added, as learners that
    start alike stay alike. They depend on the seed alone, and the first of K is the one that a method with a single context gets.
    """
    embedding = backbone.tower.token_embedding
    own = (classes,) if train.class_specific else ()
    generator = torch.Generator().manual_seed(derive(seed, "context"))
    shape = (contexts, *own, context_length(backbone.tokens, train), embedding.embedding_dim)
    drawn = (CONTEXT_STD * torch.randn(shape, generator=generator)).to(embedding.weight)
    if train.ctx_init:
        words: Tensor = embedding(torch.tensor(backbone.tokens.encode(train.ctx_init), device=embedding.weight.device))
        drawn[0] = 0
        return words.detach() + drawn
    return drawn
