"""Which path computes the text features, and why."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from bench.engine.backbone import TextBackbone
from bench.engine.member import Member, See, as_they_are
from bench.engine.plain import PlainPath
from bench.engine.prompts import Prompts, initial_contexts, make_prompts
from bench.engine.shared import SharedPath, why_not_shared
from bench.errors import BenchError
from bench.machine import free_memory
from bench.spec import TrainSpec

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference of a feature's coordinate between the two paths in float32
AT_ONCE = 32  # classes per forward pass of the comparison
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextlib.contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Where wanted, float32 products are computed in TF32 (10 bits of mantissa) inside; outside all is as it was."""
    before = torch.get_float32_matmul_precision()
    if wanted:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class TextFeatures:
    """Class text features as a function of contexts: [S, n_ctx, W] to [S, C, D], L2-normalised, float32.

    Args:
        backbone: Tower and tokenizer.
        names: C class names.
        train: The prompt's layout and the towers' precision.
        template: The card's zero-shot template, for contexts that start from it.
        path: "auto" takes the shared path where it fits and agrees with the plain one on these names.

    Raises:
        BenchError: A name that does not fit, or a forced shared path that does not.
    """

    def __init__(
        self,
        backbone: TextBackbone,
        names: Sequence[str],
        train: TrainSpec,
        template: str = "",
        path: Literal["auto", "plain", "shared"] = "auto",
    ) -> None:
        self.backbone, self.train, self.template = backbone, train, template
        self.prompts = make_prompts(backbone, names, train, template)
        reason = "asked for" if path == "plain" else why_not_shared(backbone.tower, train)
        if reason and path == "shared":
            raise BenchError(f"the shared path cannot be used: {reason}.", "Use the plain path.")
        self.path: PlainPath | SharedPath
        self.path, self.reason = PlainPath(backbone.tower, self.prompts), f"plain path: {reason}"
        if not reason:
            self.path, self.reason = (
                SharedPath(backbone.tower, self.prompts),
                "shared path: causal tower, shared context, class at the end",
            )
            gap = self._gap() if path == "auto" else 0.0
            if not gap <= TOLERANCE:
                self.path = PlainPath(backbone.tower, self.prompts)
                self.reason = f"plain path: the shared path differs by {gap:.1e} on these class names"
                log.warning("%s; please report this with the backbone's name", self.reason)
        if train.precision in AUTOCAST:
            self.path.halve(AUTOCAST[train.precision])

    def first(self, member: Member) -> Tensor:
        """A run's first contexts, [K, (C,) n_ctx, W]."""
        seed, dataset, contexts = member.spec.seed, member.data.card.name, member.method.contexts
        return initial_contexts(self.backbone, self.train, seed, contexts, len(self.prompts.sequences), dataset, self.template)

    def seeing(self, members: Sequence[Member]) -> See:  # noqa: ARG002 - a learner's signature
        """A method sees the text features themselves."""
        return as_they_are

    def __call__(self, contexts: Tensor) -> Tensor:
        """[S, n_ctx, W] (class-specific: [S, C, n_ctx, W]) to [S, C, D]."""
        precision = self.train.precision
        if precision == "fp32":
            return self.path(contexts)
        if contexts.device.type != "cuda":
            raise BenchError(
                f"precision '{precision}' is for CUDA; this runs on {contexts.device.type}.", 'Set precision = "fp32".'
            )
        with tf32(precision == "tf32"), torch.autocast("cuda", AUTOCAST.get(precision), enabled=precision in AUTOCAST):
            return self.path(contexts)

    def gradient(self, text: Tensor, contexts: Tensor, at_text: Tensor) -> Tensor:
        """The gradient at the contexts, as they are shaped, from that at their text features, [S, C, D].

        Half precision loses small gradients, so there every context's is brought to 1 and back: the backward pass is linear.
        """
        if self.train.precision != "fp16":
            with tf32(self.train.precision == "tf32"):
                return torch.autograd.grad(text, contexts, at_text)[0]
        largest = at_text.abs().amax(dim=(1, 2)).clamp_min(torch.finfo(at_text.dtype).tiny)  # [S]
        (gradient,) = torch.autograd.grad(text, contexts, at_text / largest[:, None, None])
        return gradient * largest.view(-1, *[1] * (gradient.dim() - 1))

    @torch.no_grad()
    def _gap(self) -> float:
        """The largest difference between the paths' features, on random contexts and all class names."""
        classes = len(self.prompts.sequences)
        context = initial_contexts(self.backbone, self.train, seed=0, contexts=1, classes=classes, template=self.template)
        fast = self.path(context)[0]
        gaps = []
        for first in range(0, len(self.prompts.sequences), AT_ONCE):
            some = Prompts(self.prompts.sequences[first : first + AT_ONCE], self.prompts.n_ctx, self.prompts.tokens)
            plain = PlainPath(self.backbone.tower, some)(context)[0]
            gaps.append(float((fast[first : first + AT_ONCE] - plain).abs().max()))
        return max(gaps)

    def max_stack(self, cap: int | None, processes: int = 1) -> int:
        """How many contexts to train at once: half of the free memory's worth, shared with other processes; at most `cap`."""
        mine = memory_left(self.backbone.tower.positional_embedding.device) / processes / 2
        fit = self.path.max_stack(mine) if isinstance(self.path, SharedPath) else self._plain_stack(mine)
        return max(1, min(fit, cap or fit))

    def _plain_stack(self, memory: float) -> int:
        classes, length, width = self.path.embedded.shape if isinstance(self.path, PlainPath) else (1, 1, 1)
        layers = len(self.backbone.tower.transformer.resblocks)
        return max(1, int(memory / (20 * classes * length * width * layers * 4)))  # 20: like shared.KEPT, with attention's copies


@lru_cache(maxsize=2)
def text_features(backbone: TextBackbone, names: tuple[str, ...], train: TrainSpec, template: str) -> TextFeatures:
    """`TextFeatures`, made and compared once for all shards of a worker that need the same."""
    return TextFeatures(backbone, names, train, template)


def memory_left(device: torch.device) -> float:
    """Bytes free on a device, about."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return free_memory(unknown=4.0 * 2**30)
