"""The contract between a method and the engine: `Batch`, `Task` and `Method`.

A method says which loss a batch gets; everything else (the text tower, the context tokens, SGD, the schedule, evaluation) is
the engine's and the same for all. Shapes: K contexts, C classes, D feature dimensions, M views, B samples of a batch, N training
samples. Features are L2-normalised; `scale` is the backbone's trained logit scale. Losses run in float32.

Two rules keep comparisons paired and fair. Whatever is drawn at random comes from `batch.generator` or `task.generator`, and a
random *class* is drawn as an offset from the given label (so renaming the classes changes nothing). What a method keeps per
sample, it keeps by `batch.index`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

Predict = Callable[[], Tensor]
T = TypeVar("T")


@dataclass(eq=False)
class Batch:
    """What a loss sees of one training step. There are no clean labels in it.

    >>> text, image = torch.eye(3)[None], torch.tensor([[[1.0, 0.0, 0.0]]])  # three classes, one context, one view, one sample
    >>> nothing = {"index": torch.tensor([0]), "epoch": 0, "generator": torch.Generator()}
    >>> batch = Batch(text=text, images=image, labels=torch.tensor([0]), scale=2.0, **nothing)
    >>> batch.z.tolist(), round(batch.p_y.item(), 3)
    ([[2.0, 0.0, 0.0]], 0.787)
    """

    text: Tensor  # [K, C, D] class text features of the K contexts; the leaf that gradients are taken at
    images: Tensor  # [M, B, D] image features in M augmented views
    labels: Tensor  # [B] the given, possibly wrong labels
    index: Tensor  # [B] positions in the training set
    scale: float
    epoch: int
    generator: torch.Generator  # for whatever the method draws; the same stream for every method

    @cached_property
    def logits(self) -> Tensor:
        """Logit scale × cosine, [K, M, B, C]."""
        return self.scale * torch.einsum("mbd,kcd->kmbc", self.images, self.text)

    @property
    def z(self) -> Tensor:
        """The logits of a plain loss (first context, first view), [B, C]."""
        return self.logits[0, 0]

    @cached_property
    def log_p(self) -> Tensor:
        """Log softmax of z, [B, C]: finite where p underflows."""
        return self.z.log_softmax(dim=1)

    @property
    def log_p_y(self) -> Tensor:
        """Log probability of the given label, [B]."""
        return self.log_p.gather(1, self.given)[:, 0]

    @property
    def p_y(self) -> Tensor:
        """Probability of the given label, [B]."""
        return self.log_p_y.exp()

    @property
    def given(self) -> Tensor:
        """The position of each given label, [B, 1], for `gather`."""
        return self.labels[:, None]

    def only(self, keep: Tensor) -> "Batch":
        """The batch of the samples `keep`: a mask [B], or positions [n]."""
        return replace(self, images=self.images[:, keep], labels=self.labels[keep], index=self.index[keep])


@dataclass(frozen=True, eq=False)
class Task:
    """What a method may know before training. Clean labels only where it declares `oracle = "labels"`."""

    features: Callable[[], Tensor]  # makes `images`
    labels: Tensor  # [N] given labels
    zero_shot: Tensor  # [N, C] logits of the card's template on the clean view
    text: Tensor  # [C, D] text features of that template
    num_classes: int
    scale: float
    epochs: int
    batch_size: int
    generator: torch.Generator
    clean_labels: Tensor | None = None  # [N], only for oracle = "labels"
    noise_rate: float | None = None  # only for oracle = "rate" or "labels"
    drop_last: bool = True  # the run's rule for a last incomplete batch, where there are at least `batch_size` samples

    @property
    def images(self) -> Tensor:
        """Training features [1 + V, N, D]: the clean view first, then V augmented views; put together at every call."""
        return self.features()

    def shuffled(self, index: Tensor) -> list[Tensor]:
        """Samples [n] in random order, cut into batches as the engine cuts them."""
        order = torch.randperm(len(index), generator=self.generator, device=self.generator.device).to(index.device)
        batches = list(torch.split(index[order], self.batch_size))
        if self.drop_last and len(batches) > 1 and len(batches[-1]) < self.batch_size:
            batches.pop()
        return batches if len(index) else []

    def draw_seed(self) -> int:
        """A seed for a library with random numbers of its own (scikit-learn), drawn from the generator."""
        return int(torch.randint(2**31, (), generator=self.generator, device=self.generator.device))


def later(absent: T) -> T:
    """The default of a hyper-parameter that a method gains when runs of it are stored: with it, the method does what it did before.

    A run that leaves it there keeps its id, so no version need be raised. `momentum: float = later(0.0)`
    """
    made: T = field(default=absent, metadata={"later": True})
    return made


@dataclass
class Method:
    """Base of all methods. A subclass is a dataclass: its annotated fields are its hyper-parameters, with published defaults.

    Raise `version` whenever a change alters results: plans then call older runs stale.
    """

    version: ClassVar[int] = 1
    contexts: ClassVar[int] = 1  # K, learned contexts per run
    views: ClassVar[int] = 1  # M, augmented views per step
    train: ClassVar[bool] = True  # False: nothing is learned, the card's template is scored
    holds_text: ClassVar[bool] = False  # its loss is about the text features themselves, so these must be what is learned
    from_shots: ClassVar[bool] = False  # with train = False: it is started all the same, with the shots and their given labels
    oracle: ClassVar[Literal["rate", "labels"] | None] = None  # what it is told that nobody knows in practice
    nested: ClassVar[tuple[str, ...]] = ()  # the hyper-parameters that name another method
    learns_little: ClassVar[str] = ""  # why it may gain little over its start even from clean labels, where it does
    name: ClassVar[str] = ""  # set by @register
    title: ClassVar[str] = ""  # the name as papers write it ("CoOp"); the registered name where the class says none of its own

    task: Task = field(init=False, repr=False, compare=False)

    def start(self, task: Task) -> None:
        """Called once, before training. Override to prepare per-sample state; call `super().start(task)` first."""
        self.task = task

    def epoch_start(self, epoch: int, predict: Predict) -> None:
        """Called before every epoch. `predict()` gives the current logits of the whole training set, clean view, [K, N, C]."""

    def batches(self, epoch: int) -> Sequence[Tensor] | None:  # noqa: ARG002 - a hook's signature
        """The epoch's batches as index tensors [B], or None for the engine's shuffled ones. An empty list skips the epoch."""
        return None

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch: per sample [B] (the engine takes the mean), or a scalar."""
        raise NotImplementedError(f"method '{self.name}' trains but defines no loss")

    def scores(self, text: Tensor, images: Tensor, scale: float) -> Tensor:
        """Class scores [N, C] at evaluation, from text features [K, C, D] and image features [N, D]."""
        return scale * images @ text[0].T

    def clean_belief(self) -> Tensor | None:
        """How clean the method believes each training sample to be, [N] in [0, 1], or None where it holds no such belief."""
        return None


def mean_over(keep: Tensor, loss: Tensor) -> Tensor:
    """Per-sample losses whose mean over the batch is the mean over the samples in the mask `keep` [B]; 0 where it is empty."""
    return torch.where(keep, loss, 0.0) * (len(keep) / keep.sum().clamp_min(1))
