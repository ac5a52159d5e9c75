"""What a run tunes: the parameters of S runs to what their losses see, and gradients back.

A prompt's parameters are context tokens and pass the text tower (`bench.engine.text`). A classifier's are class weights in feature
space, an adapter's change the images: a step of these costs a few small products and no tower. A loss sees scale × a product of
text and image features and cannot tell what it trains. All take the protocol's SGD and schedule, so that nothing but what is tuned
differs from a prompt's run; published optimisers and learning rates are named where they differ.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot, relu

from bench.engine.backbone import TextBackbone
from bench.engine.member import Member, See, as_they_are
from bench.engine.prompts import CONTEXT_STD
from bench.engine.text import memory_left, text_features
from bench.engine.zero_shot import ZeroShot
from bench.seeds import derive
from bench.spec import Tunes

COPIES = 8  # arrays of the parameters' size: themselves, momentum, features, and gradients of each on the way


class Learner(Protocol):
    """What a stack trains. S: the parameter sets of all its runs, K of one run, as many as its method has contexts."""

    def first(self, member: Member) -> Tensor:
        """A run's first parameters, [K, …]; a method with one context gets the first of what one with several gets."""

    def seeing(self, members: Sequence[Member], /) -> See:
        """What the methods of runs see of their leaves, their parts of what `__call__` gives."""

    def __call__(self, tuned: Tensor, /) -> Tensor:
        """Parameters [S, …] to text features [S, C, D]; those that images pass too stay as they are."""

    def gradient(self, found: Tensor, tuned: Tensor, at_found: Tensor, /) -> Tensor:
        """The gradient at the parameters from that at what `__call__` found of them."""

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """How many parameter sets to train at once: what half of the free memory holds, at most `cap`."""


class Classifier:
    """Class weights: normalise(t + w), with frozen t [C, D] and learned w [S, C, D].

    Where they start is the only difference between the three:

    * `linear_probe`: t = 0, w random, of length one about. Radford et al., ICML 2021, without their logistic regression's search.
    * `zero_shot_probe` (ZS-LP): t = 0, w from the template's text features. Silva-Rodríguez et al., CVPR 2024 (arXiv 2312.12730).
    * `task_residual` (TaskRes): t the template's text features, w from 0, α = 1. Yu et al., CVPR 2023 (arXiv 2211.10277). Without
      weight decay it is `zero_shot_probe`, step by step; the protocol's decay pulls it to zero-shot.

    Of the step size: public code (jusiro/CLAP: SGD .1, 300 epochs; geekyutao/TaskRes: Adam .002, α = .5, 200 epochs; both batches
    of 256) leaves t as long as the tower makes it. A step of SGD turns w by the rate over its squared length, so that where t
    has length 7, CLAP's .1 turns it as CoOp's .002 turns the t of length one here.

    Args:
        zero_shot: Text features [C, D] of the card's template.
        tunes: Which of the three.
    """

    def __init__(self, zero_shot: Tensor, tunes: str) -> None:
        nothing, self.random = torch.zeros_like(zero_shot), tunes == "linear_probe"
        self.frozen, self.start = (zero_shot, nothing) if tunes == "task_residual" else (nothing, zero_shot)

    def first(self, member: Member) -> Tensor:
        """A run's first weights, [K, C, D]; from the second on with a prompt's noise, as learners that start alike stay alike."""
        generator = torch.Generator().manual_seed(derive(member.spec.seed, "context", member.data.card.name))
        drawn = torch.randn(member.method.contexts, *self.start.shape, generator=generator).to(self.start)
        if self.random:
            return drawn / math.sqrt(self.start.shape[1])
        drawn[0] = 0
        return self.start + CONTEXT_STD * drawn

    def seeing(self, members: Sequence[Member]) -> See:  # noqa: ARG002 - a learner's signature
        """A method sees the text features themselves."""
        return as_they_are

    def __call__(self, tuned: Tensor) -> Tensor:
        """[S, C, D] to [S, C, D]."""
        return normalize(self.frozen + tuned, dim=-1)

    def gradient(self, text: Tensor, tuned: Tensor, at_text: Tensor) -> Tensor:
        """[S, C, D] to [S, C, D]."""
        (gradient,) = torch.autograd.grad(text, tuned, at_text)
        return gradient

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """Runs that fit into memory."""
        return fitting(self.start, cap, processes)


class _Direct:
    """Parameters that images pass: nothing of them can be had before the images are known, so they are the leaf themselves."""

    def __call__(self, tuned: Tensor) -> Tensor:
        """As they are."""
        return tuned

    def gradient(self, found: Tensor, tuned: Tensor, at_found: Tensor) -> Tensor:  # noqa: ARG002 - a learner's signature
        """As it is."""
        return at_found


class ClipAdapter(_Direct):
    """CLIP-Adapter: images normalise(.2 relu(relu(f W₁) W₂) + .8 f), W₁ [D, D/4]; text frozen. Gao et al., IJCV 2023.

    Paper: arXiv 2110.04544. Public code: gaopengcuhk/CLIP-Adapter; its linear maps have no bias and torch's own start. The loss is
    the same whatever the images' length, so rates carry over: CoOp's .002 by its authors' instructions, .1 in jusiro/CLAP.

    Args:
        zero_shot: Text features [C, D] of the card's template.
    """

    RATIO = 0.2
    REDUCTION = 4

    def __init__(self, zero_shot: Tensor) -> None:
        self.zero_shot, self.width = zero_shot, zero_shot.shape[1]
        self.narrow = max(1, self.width // self.REDUCTION)

    def first(self, member: Member) -> Tensor:
        """W₁ and W₂ transposed, [1, 2, D/4, D]: uniform within one over the root of what each reads."""
        generator = torch.Generator().manual_seed(derive(member.spec.seed, "context", member.data.card.name))
        bounds = torch.tensor([self.width, self.narrow]).rsqrt()[:, None, None]
        drawn = 2 * torch.rand(2, self.narrow, self.width, generator=generator) - 1
        return (bounds * drawn)[None].to(self.zero_shot)

    def seeing(self, members: Sequence[Member]) -> See:  # noqa: ARG002 - a learner's signature
        """The template's text features, and adapted images."""

        def see(leaf: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
            down, up = leaf.unbind(1)  # [R, D/4, D]
            adapted = relu(relu(images @ down.mT) @ up)
            text = self.zero_shot.expand(len(leaf), -1, -1)
            return text, normalize(self.RATIO * adapted + (1 - self.RATIO) * images, dim=-1)

        return see

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """Runs that fit into memory."""
        return fitting(self.zero_shot.new_empty(2, self.narrow, self.width), cap, processes)


class TipAdapter(_Direct):
    """Tip-Adapter-F: scale f·t + α Σ_i exp(-β (1 - f·k_i)) y_i; the keys k are learned, from the shots. Zhang et al., ECCV 2022.

    The cache is further feature dimensions: images [f ; (α / scale) exp(-β (1 - f·k))], text [t ; y], y the given labels. Without a
    step it is the method `tip_adapter`.

    Paper: arXiv 2207.09519. Public code: gaopengcuhk/Tip-Adapter: AdamW .001, 20 epochs, the epoch that is best *on test*, then α
    and β searched: here the last epoch, α = 1, β = 5.5. In jusiro/CLAP it is trained by SGD at .1.

    Args:
        zero_shot: The zero-shot model.
        members: The runs; where one has fewer shots than others, keys without a value fill it up.
    """

    ALPHA = 1.0
    BETA = 5.5

    def __init__(self, zero_shot: ZeroShot, members: Sequence[Member]) -> None:
        self.zero_shot, self.size = zero_shot, max(len(member.given) for member in members)

    def _filled(self, rows: Tensor) -> Tensor:
        """Rows [N, …] and zeros, as many as the largest cache of the stack has."""
        return torch.cat([rows, rows.new_zeros(self.size - len(rows), rows.shape[1])])

    def first(self, member: Member) -> Tensor:
        """The keys [1, N, D]: the shots, the mean over augmented views where there are any."""
        images = member.images
        return self._filled(normalize(images[min(1, len(images) - 1) :].mean(dim=0), dim=1))[None]

    def seeing(self, members: Sequence[Member]) -> See:
        """Features with the cache behind them, D + N dimensions."""
        template = self.zero_shot.text  # [C, D]
        given = [self._filled(one_hot(member.given, len(template)).to(template)).T for member in members]  # [C, N]
        text = torch.stack([torch.cat([template, values], dim=1) for values in given])

        def see(leaf: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
            near = torch.exp(self.BETA * (images @ leaf.mT - 1))
            return text, torch.cat([images, self.ALPHA / self.zero_shot.scale * near], dim=-1)

        return see

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """Runs that fit into memory."""
        return fitting(self.zero_shot.text.new_empty(self.size, self.zero_shot.text.shape[1]), cap, processes)


def learner_of(tunes: Tunes, backbone: TextBackbone, members: Sequence[Member]) -> Learner:
    """What members tune."""
    train, card, zero_shot = members[0].spec.train, members[0].data.card, members[0].arrays.zero_shot
    assert train is not None
    match tunes:
        case "prompt":
            return text_features(backbone, tuple(card.class_names), train, card.templates[0])
        case "clip_adapter":
            return ClipAdapter(zero_shot.text)
        case "tip_adapter":
            return TipAdapter(zero_shot, members)
        case _:
            return Classifier(zero_shot.text, tunes)


def fitting(one: Tensor, cap: int | None, processes: int) -> int:
    """How many runs with parameters of this size half of the free memory holds, shared with other processes; at most `cap`."""
    fit = int(memory_left(one.device) / processes / 2 / (COPIES * one.numel() * one.element_size()))
    return max(1, min(fit, cap or fit))
