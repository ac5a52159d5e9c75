"""Prompts as token sequences with places for the context, and the context's first values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.engine.backbone import TextBackbone, Tokens
from bench.errors import BenchError
from bench.seeds import derive
from bench.spec import TrainSpec

CONTEXT = -1  # stands for a context token in a sequence of token ids
CONTEXT_STD = 0.02  # CoOp's
FULL_STOP = "."  # CoOp's prompts end with it behind the class name


@dataclass(frozen=True)
class Prompts:
    """C prompts: token ids with `CONTEXT` at the context tokens' places, end token included, not padded."""

    sequences: tuple[tuple[int, ...], ...]  # C
    n_ctx: int
    tokens: Tokens


class Start(NamedTuple):
    """Where a run's context starts."""

    words: tuple[int, ...]  # token ids, the last of the context; () for a random context
    length: int  # context tokens, these and the random ones in front of them
    behind: str  # what stands behind the class name


def start_of(tokens: Tokens, train: TrainSpec, template: str) -> Start:
    """The start that a protocol asks for: random values, words, or the words of the zero-shot template of the card.

    What a template has behind the class name (", a type of pet.") stays behind it and is not learned, so that a run starts at the
    zero-shot classifier itself.

    Args:
        tokens: The tokenizer.
        train: The protocol.
        template: The card's, with one "{}".

    Raises:
        BenchError: More words than `n_ctx`, or a template without words in front of the name and no `n_ctx` either.
    """
    before, _, behind = template.partition("{}") if train.ctx_init == "template" else (train.ctx_words, "", FULL_STOP)
    words = tuple(tokens.encode(before)) if before.strip() else ()
    length = train.n_ctx or len(words)
    if not length:
        raise BenchError(
            f"the template '{template}' has no words in front of the class name, so there is nothing to tune.",
            'Set n_ctx for random tokens there, or ctx_init = "words" with ctx_words.',
        )
    if length < len(words):
        raise BenchError(
            f"'{before.strip()}' has {len(words)} tokens, n_ctx is {length}.", "Set n_ctx = 0 for a context as long as its words."
        )
    return Start(words, length, behind)


def make_prompts(backbone: TextBackbone, names: Sequence[str], train: TrainSpec, template: str = "") -> Prompts:
    """CoOp's prompts, "[context] name.", with the class name at the end, in the middle of the context, or in front of it.

    Raises:
        BenchError: No class at all, a start that cannot be made, or a name that does not fit behind the context.
    """
    if not names:
        raise BenchError("there are no class names to make prompts of.", "Give the dataset card its classes.")
    tokens, start = backbone.tokens, start_of(backbone.tokens, train, template)
    length = start.length
    ahead = {"end": length, "middle": length // 2, "front": 0}[train.class_position]  # context tokens before the name
    sequences = []
    for name in names:
        words = tokens.encode(f"{name}{start.behind}")  # as one text: "o'clock!." ends in the single token "!."
        own, behind = words[: len(tokens.encode(name))], words[len(tokens.encode(name)) :]
        sequence = (*tokens.start, *[CONTEXT] * ahead, *own, *[CONTEXT] * (length - ahead), *behind, *tokens.end)
        if len(sequence) > backbone.tower.context_length:
            room = max(backbone.tower.context_length - (len(sequence) - len(own)), 0)
            raise BenchError(
                f"class name '{name}' has {len(own)} tokens; behind {length} context tokens this backbone has room for {room}.",
                "Shorten the name in the dataset card, or the context (n_ctx, ctx_words).",
            )
        sequences.append(sequence)
    return Prompts(within(backbone, sequences), length, tokens)


def within(backbone: TextBackbone, sequences: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The same sequences, if the tower knows all of their tokens.

    Raises:
        BenchError: It does not.
    """
    found, known = tuple(sequences), backbone.tower.token_embedding.num_embeddings
    if (most := max((max(sequence) for sequence in found), default=0)) >= known:
        raise BenchError(f"the tokenizer gives token {most}, the text tower has {known}.", "Give the model its own tokenizer.")
    return found


def initial_contexts(
    backbone: TextBackbone, train: TrainSpec, seed: int, contexts: int, classes: int, dataset: str = "", template: str = ""
) -> Tensor:
    """The first values of a run's K contexts: [K, n_ctx, W], or [K, C, n_ctx, W] where they are class-specific.

    From N(0, .02), the last tokens from the embeddings of the start's words; from the second context on with N(0, .02) added to
    these too, as learners that start alike stay alike. The draw depends on seed and dataset (a seed must not be lucky on all
    datasets at once), and the first of K is the one that a method with a single context gets.
    """
    embedding, start = backbone.tower.token_embedding, start_of(backbone.tokens, train, template)
    own = (classes,) if train.class_specific else ()
    generator = torch.Generator().manual_seed(derive(seed, "context", dataset))
    shape = (contexts, *own, start.length, embedding.embedding_dim)
    drawn = (CONTEXT_STD * torch.randn(shape, generator=generator)).to(embedding.weight)
    if start.words:
        words: Tensor = embedding(torch.tensor(start.words, device=embedding.weight.device)).detach()
        drawn[0, ..., -len(start.words) :, :] = 0
        drawn[..., -len(start.words) :, :] += words
    return drawn
