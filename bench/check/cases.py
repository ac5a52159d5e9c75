"""Made-up tasks, among them awkward ones, and `play`, which drives a method through one of them without an engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from methods.base import Batch, Method, Task

EPOCHS, LAST = 12, 11
PLAYED = (0, 1, 2, LAST)  # of EPOCHS: before and after any warm-up


class NotConforming(Exception):  # noqa: N818 - it is a finding, no programming error
    """What a method does wrong, and what to do about it, in one sentence."""


@dataclass(frozen=True, eq=False)
class Case:
    """A made-up task. Class text features are the unit vectors, so logits are scale × image features."""

    title: str
    images: Tensor  # [N, C], unit length
    labels: Tensor  # [N] given
    true: Tensor  # [N]
    scale: float = 14.0
    shift: int = 0  # rename every class c to c + shift
    batch_size: int = 16

    @property
    def classes(self) -> int:
        """C."""
        return self.images.shape[1]


class Step(NamedTuple):
    """One training step of a case."""

    epoch: int
    samples: Tensor  # [B]
    loss: Tensor  # [B] or scalar
    gradient: Tensor  # [K, C, D] at the text features


def task_of(case: Case, method: Method, generator: torch.Generator) -> tuple[Task, Tensor]:
    """What the method is told, and the text features [C, C]."""
    text = torch.eye(case.classes).roll(case.shift, dims=0)
    told = method.oracle == "labels"
    task = Task(
        features=case.images.expand(1 + max(2, method.views), -1, -1).clone,
        labels=(case.labels + case.shift) % case.classes,
        zero_shot=case.scale * case.images @ text.T,
        text=text,
        num_classes=case.classes,
        scale=case.scale,
        epochs=EPOCHS,
        batch_size=case.batch_size,
        generator=generator,
        clean_labels=(case.true + case.shift) % case.classes if told else None,
        noise_rate=(case.true != case.labels).float().mean().item() if method.oracle else None,
        drop_last=False,
    )
    return task, text


def play(make: Callable[[], Method], case: Case) -> tuple[Method, list[Step]]:
    """Drive a method through some epochs of a case, as the engine would, on frozen text features.

    Raises:
        NotConforming: It raises, or a loss, gradient or belief has a wrong shape or is not finite.
    """
    method, generator = make(), torch.Generator().manual_seed(7)
    task, text = task_of(case, method, generator)
    steps = []
    try:
        method.start(task)
        for epoch in PLAYED:
            method.epoch_start(epoch, lambda: task.zero_shot.expand(method.contexts, -1, -1).clone())
            own = method.batches(epoch)
            batches = task.shuffled(torch.arange(len(task.labels))) if own is None else own
            steps += [step(method, task, text, index, epoch, generator) for index in batches]
        belief = method.clean_belief()
    except NotConforming as error:
        raise NotConforming(f"{case.title}: {error}") from error
    except Exception as error:
        raise NotConforming(f"{case.title}: it raises {type(error).__name__}: {error}") from error
    if belief is not None and (belief.shape != task.labels.shape or not ((belief >= 0) & (belief <= 1)).all()):
        raise NotConforming(f"{case.title}: clean_belief() gives {describe(belief)}; it is [N] numbers from 0 to 1")
    return method, steps


def step(method: Method, task: Task, text: Tensor, index: Tensor, epoch: int, generator: torch.Generator) -> Step:
    """One training step: loss and gradient of the batch `index`.

    Raises:
        NotConforming: Either has a wrong shape or type or is not finite.
    """
    leaf = text.expand(method.contexts, -1, -1).clone().requires_grad_()
    images = task.images[1 : 1 + method.views, index]
    batch = Batch(leaf, images, task.labels[index], index, task.scale, epoch, generator)
    loss = method.loss(batch)
    if not isinstance(loss, Tensor):
        raise NotConforming(f"epoch {epoch}: loss() gives {type(loss).__name__}; it is a tensor [B] or a scalar")
    if loss.shape not in {(len(index),), ()}:
        raise NotConforming(f"epoch {epoch}: loss() gives {describe(loss)} for a batch of {len(index)}; it is [B] or a scalar")
    if loss.dtype != torch.float32:
        raise NotConforming(f"epoch {epoch}: the loss is {loss.dtype}; losses are float32")
    if not loss.isfinite().all():
        raise NotConforming(f"epoch {epoch}: the loss is not finite; work on batch.log_p, not on the logarithm of a softmax")
    if not loss.requires_grad:
        raise NotConforming(f"epoch {epoch}: the loss does not depend on the text features, so nothing can be learned")
    (gradient,) = torch.autograd.grad(loss.mean(), leaf)
    if not gradient.isfinite().all():
        raise NotConforming(f"epoch {epoch}: the gradient is not finite (0 · ∞ in the backward pass); work on batch.log_p")
    return Step(epoch, index, loss.detach(), gradient)


def describe(value: Tensor) -> str:
    """A tensor's shape and range, for messages."""
    return f"shape {list(value.shape)}" + (f" from {value.min():.3g} to {value.max():.3g}" if value.numel() else "")


def unit(rows: Tensor) -> Tensor:
    """Rows of unit length."""
    return torch.nn.functional.normalize(rows, dim=1)


def usual_case(classes: int = 5, samples: int = 61, spread: float = 0.25) -> Case:
    """Noisy features around each class, a third of the labels wrong; the last batch holds one sample where samples = 16 n + 1."""
    generator = torch.Generator().manual_seed(3)
    true = torch.arange(samples) % classes
    images = unit(torch.eye(classes)[true] + spread * torch.randn(samples, classes, generator=generator))
    step = torch.randint(1, classes, (samples,), generator=generator)
    wrong = torch.arange(samples) % 3 == 1
    return Case("a usual task", images, torch.where(wrong, (true + step) % classes, true), true)


def extreme_case(classes: int) -> Case:
    """Logits ±1e4 apart: fitted, confidently wrong, undecided, flat and random samples."""
    y = torch.arange(30) % classes
    given, other, flat = torch.eye(classes)[y], torch.eye(classes)[(y + 1) % classes], torch.ones(30, classes)
    random_rows = torch.randn(30, classes, generator=torch.Generator().manual_seed(5))
    kinds = torch.stack([given, other, given - other, other - given, flat, random_rows])  # [6, 30, C]
    images = unit(kinds[torch.arange(30) % 6, torch.arange(30)])
    return Case(f"logits 10,000 apart, {classes} classes", images, y, y, scale=1e4)


def edge_cases() -> Iterator[Case]:
    """Tasks in which a partition or a mean can come out empty."""
    usual = usual_case()
    y, eye = usual.labels, torch.eye(usual.classes)
    yield replace(usual, title="no label is wrong", labels=usual.true)
    yield replace(usual, title="every sample fits its label, so none is judged noisy", images=eye[y], true=y)
    yield replace(usual, title="every sample contradicts its label, so none is judged clean", images=eye[(y + 1) % 5], true=y)
    yield replace(usual, title="all predictions are equal", images=unit(torch.ones_like(usual.images)))
    yield replace(usual, title="a class has no sample", labels=y.clamp_max(3), true=usual.true.clamp_max(3))
    yield replace(usual, title="all samples have one label", labels=torch.zeros_like(y))
    yield replace(usual_case(samples=21), title="every batch has one sample", batch_size=1)
    yield replace(usual, title="one shot: a single sample per class", images=eye, labels=y[:5].sort()[0], true=torch.arange(5))
