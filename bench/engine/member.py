"""One run as a member of a stack: its method, data, batches and measurements. It never sees the text tower."""

import math
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.data.task import RunData
from bench.engine.apart import Apart
from bench.engine.arrays import Arrays
from bench.engine.metrics import accuracy, belief_quality, calibration_error, distance_from
from bench.engine.optim import learning_rate
from bench.engine.outcome import Outcome
from bench.results.schema import LAST_EPOCH, check_declared
from bench.seeds import derive
from bench.spec import RunSpec
from methods import registry
from methods.base import Batch, Method, Task

P = ParamSpec("P")
R = TypeVar("R")


class Gradient(NamedTuple):
    """What one step finds of R runs with K contexts each."""

    at_leaf: Tensor  # [R · K, …] the gradients at the leaves, such as text features [C, D]
    loss: Tensor  # [R] their means over the batch
    shares: Tensor | None  # [R, 2] how long the gradient's parts of clean and of mislabelled samples are, where measured


# What methods see of leaves and images [R, n, D]: text features and images [R, n, D']. Leaves and text features are [R, …] and
# [R, C, D'] of runs with one context, or [K, …] and [K, C, D'] of one run.
See = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def as_they_are(leaf: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The leaf is the text features, and images are what they are in the cache (`See`)."""
    return leaf, images


class NotFiniteError(ArithmeticError):
    """A loss or its gradient is NaN or infinite."""


def finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """The same figures, with None for what is not finite: JSON has no NaN."""
    return {name: None if value is None or not math.isfinite(value) else value for name, value in values.items()}


class Member:
    """A run in training.

    Shapes: K contexts, C classes, D feature dimensions, V views, N training and T test samples, B of a batch, M views of a step.

    Args:
        spec: The run.
        data: Its arrays.
        arrays: These, and what the other runs of its shard read, on the device.
    """

    def __init__(self, spec: RunSpec, data: RunData, arrays: Arrays) -> None:
        self.spec, self.data, self.arrays, self.scale = spec, data, arrays, arrays.zero_shot.scale
        self.method: Method = registry.create(spec.method.name, **spec.method.params)
        self.table, self.rows = arrays(data.table), arrays(data.rows)  # [U, 1 + V, D] features and [N] where its images are there
        self.given = arrays(data.given)  # [N]
        self.true = arrays(data.true)  # [N], for measuring only
        self.test, self.test_true = arrays(data.test), arrays(data.test_true)  # [T, D], [T]
        # The parts of these seeds leave out method and rate: all methods see the same order and draw from the same stream.
        self.order = torch.Generator().manual_seed(derive(spec.seed, "batches", data.card.name))
        self.draws = torch.Generator().manual_seed(derive(spec.seed, "draws", data.card.name))
        trusted = type(self.method).__module__.startswith("methods.")  # tested not to touch the global generators
        self.apart = Apart(None if trusted else derive(spec.seed, "global", data.card.name))
        self.see: See = as_they_are
        self.epochs: list[dict[str, float | None]] = []  # what was measured, a row per evaluated epoch
        self.shares: Tensor | None = None  # [2] the gradient's parts (`Gradient.shares`), measured in the epoch's first step
        self.losses: list[Tensor] = []
        self.steps = 0
        self.seconds = 0.0  # spent on this run alone: its method's code and its measurements
        self.start_accuracy: float | None = None  # on test, before the first step; None where nothing is trained
        self.failure: tuple[str, str] | None = None  # its error's last line and traceback

    @property
    def images(self) -> Tensor:
        """Features of all training images in all views, [1 + V, N, D], put together when asked for: they are many."""
        return self.table[self.rows].swapaxes(0, 1).float()

    def guard(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Do something that may run the method's code, on its time; an exception, or an exit, ends this run and no other."""
        started = time.perf_counter()
        try:
            with self.apart:
                return action(*args, **kwargs)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a method raises is a record, not a crash
            self.failure = (f"{type(error).__name__}: {error}".splitlines()[0], traceback.format_exc())
            return None
        finally:
            self.seconds += time.perf_counter() - started

    def start(self) -> None:
        """Tell the method what it may know; one that trains nothing has no epochs, and all samples in one batch."""
        oracle, train = self.method.oracle, self.spec.train
        task = Task(
            features=lambda: self.images,
            labels=self.given,
            zero_shot=self.arrays.logits(self.data),
            text=self.arrays.zero_shot.text,
            num_classes=len(self.data.card.classes),
            scale=self.scale,
            epochs=train.epochs if train else 0,
            batch_size=train.batch_size if train else len(self.given),
            generator=self.draws,
            clean_labels=self.true if oracle == "labels" else None,
            noise_rate=self.data.realised_rate if oracle else None,
            drop_last=bool(train and train.drop_last),
        )
        self.method.start(task)

    def seen(self, leaf: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the method sees of the leaf and of images [n, D]: text features [K, C, D'] and images [n, D']."""
        text, images = self.see(leaf, images[None])
        return text, images[0]

    def scores(self, leaf: Tensor, images: Tensor) -> Tensor:
        """Class scores [n, C] of images [n, D].

        Raises:
            TypeError, ValueError: The method gives something else.
        """
        shape = [len(images), len(self.data.card.classes)]
        scores: object = self.method.scores(*self.seen(leaf, images), self.scale)
        if not isinstance(scores, Tensor):
            raise TypeError(f"scores() gives {type(scores).__name__}; it is a tensor [N, C]")
        if list(scores.shape) != shape or not scores.is_floating_point() or scores.device != images.device:
            given = f"{scores.dtype} {list(scores.shape)} on {scores.device}"
            raise ValueError(f"scores() gives {given}; it is [N, C] = {shape} of floats on {images.device}")
        return scores

    def both_scores(self, leaf: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores of the test images [T, C], and of the training set's on the clean view [N, C]."""
        return self.scores(leaf, self.test), self.scores(leaf, self.arrays.clean_view(self.data))

    def logits(self, leaf: Tensor) -> Tensor:
        """The logits of the whole training set on the clean view, [K, N, C]."""
        text, images = self.seen(leaf, self.arrays.clean_view(self.data))
        return self.scale * images @ text.mT

    def measure_start(self, leaf: Tensor) -> None:
        """Note how right the run is before its first step."""
        self.start_accuracy = float(accuracy(self.scores(leaf, self.test), self.test_true))

    def epoch_batches(self, epoch: int) -> list[Tensor]:
        """The epoch's batches of sample positions: the method's own, or all samples shuffled as CoOp's loader does."""
        shuffled = self.shuffled().to(self.given.device)  # drawn in any case: the order is the seed's
        own = self.method.batches(epoch)
        return self.cut(shuffled) if own is None else [batch for batch in own if len(batch)]

    def shuffled(self) -> Tensor:
        """The next epoch's order of all samples [N], on the CPU."""
        return torch.randperm(len(self.given), generator=self.order)

    def cut(self, order: Tensor) -> list[Tensor]:
        """What belongs to all samples in order, [..., N], in batches [..., B]."""
        assert self.spec.train is not None
        size, total = self.spec.train.batch_size, order.shape[-1]
        batches = list(torch.split(order, size, dim=-1))
        if self.spec.train.drop_last and total >= size and total % size:
            batches.pop()
        return batches

    def views(self, epoch: int) -> list[int]:
        """An epoch's M views: `epoch mod V`, further ones evenly apart, counted from 1; the clean one, 0, if V = 0."""
        augmented, wanted = self.table.shape[1] - 1, self.method.views
        return [1 + (epoch + m * max(augmented // wanted, 1)) % augmented if augmented else 0 for m in range(wanted)]

    def gradient(self, at: Tensor, index: Tensor, epoch: int, measure: bool) -> Gradient:
        """The gradient of a batch's loss at the run's leaf: its text features [K, C, D], or parameters that images pass too.

        The graph is the run's own and ends there.

        With `measure`, also how much of it comes from clean and how much from mislabelled samples.

        Raises:
            ValueError: The loss is neither per sample [B] nor a scalar.
        """
        leaf = at.detach().requires_grad_()
        images = torch.stack([self.table[self.rows[index], view] for view in self.views(epoch)]).float()  # [M, B, D]
        text, seen = self.seen(leaf, images.flatten(0, 1))
        batch = Batch(text, seen.unflatten(0, images.shape[:2]), self.given[index], index, self.scale, epoch, self.draws)
        loss = self.method.loss(batch).float()
        if loss.shape not in {(len(index),), ()}:  # its mean would train on something else without a word
            raise ValueError(f"loss() gives shape {list(loss.shape)} for a batch of {len(index)}; it is [B] or a scalar")
        shares, split = None, measure and loss.dim() == 1
        at_leaf: Tensor
        (at_leaf,) = torch.autograd.grad(loss.mean(), leaf, retain_graph=split)
        if split:
            wrong = self.given[index] != self.true[index]
            (noisy,) = torch.autograd.grad(loss, leaf, wrong / len(loss))
            shares = torch.stack([(at_leaf - noisy).norm(), noisy.norm()])[None]
        # what the stack puts beside that of other runs is dense and on its device, whatever a method works with
        return Gradient(at_leaf.to_dense(), loss.detach().mean()[None].to(leaf.device), shares)

    def note(self, found: Gradient, run: int) -> None:
        """Keep what a step has found, as one of the runs of `found`."""
        self.losses.append(found.loss[run])
        self.steps += 1
        if found.shares is not None:
            self.shares = found.shares[run]

    def not_finite(self, epoch: int) -> None:
        """End the run.

        Raises:
            NotFiniteError: Always.
        """
        raise NotFiniteError(f"the loss or its gradient is not finite in epoch {epoch}, step {self.steps}")

    @property
    def history(self) -> dict[str, list[float | None]]:
        """What was measured, a list per figure with an entry per evaluated epoch; None where a figure was not defined."""
        names = dict.fromkeys(name for row in self.epochs for name in row)
        return {name: [row.get(name) for row in self.epochs] for name in names}

    def keep(self, epoch: int, measured: dict[str, float]) -> None:
        """Keep what was measured after an epoch (`bench.engine.measure`), and how well the method tells clean samples.

        Raises:
            NotFiniteError: It has no finite scores.
        """
        assert self.spec.train is not None
        if not measured.pop("finite"):  # what was learned is finite, but larger than its products can be
            raise NotFiniteError(f"the scores of the test images are not finite after epoch {epoch}")
        row: dict[str, float | None] = {"epoch": epoch, "lr": learning_rate(self.spec.train, epoch), **measured}
        if not self.data.true_known:
            row["train_true"] = None
        if self.shares is None:
            del row["grad_clean"], row["grad_noisy"]
        belief = self.method.clean_belief()
        if belief is not None and self.data.true_known:
            row |= belief_quality(belief, self.data.given == self.data.true)
        self.epochs.append(finite(row))
        self.shares = None

    def outcome(self, leaf: Tensor, contexts: Tensor | None) -> Outcome:
        """The finished run; nothing is selected on the test set.

        Raises:
            NotFiniteError: It has no finite scores.
        """
        last = self.epochs[-1] if self.epochs else {}
        scores = self.scores(leaf, self.test)
        given, true = (torch.from_numpy(labels).to(leaf.device) for labels in (self.data.val_given, self.data.val_true))
        val = self.scores(leaf, torch.from_numpy(self.data.val).to(leaf.device))
        for part, found in (("test", scores), ("validation", val)):  # the argmax of NaN would be an accuracy, and be selected by
            if not found.isfinite().all():
                raise NotFiniteError(f"the scores of the {part} images are not finite")
        zero_shot = self.arrays.zero_shot.logits(self.test)  # [T, C]
        now = float(accuracy(scores, self.test_true))
        metrics = {
            "accuracy": now,
            "start": now if self.start_accuracy is None else self.start_accuracy,
            "zero_shot": float(accuracy(zero_shot, self.test_true)),
            **distance_from(zero_shot, scores),
            "ece": float(calibration_error(scores, self.test_true)),
            "val_noisy": float(accuracy(val, given)),
            "val_clean": float(accuracy(val, true)) if self.data.true_known else None,
            "realised_rate": self.data.realised_rate,
            "steps": self.steps,
            **{name: last[name] for name in LAST_EPOCH if name in last},
        }
        check_declared(metrics, self.history)
        return Outcome(
            self.spec,
            "done",
            dict(finite(metrics)),
            self.history,
            self.data.noise_digest,
            scores.argmax(dim=1).cpu().numpy().astype(np.uint16),
            None if contexts is None else contexts.cpu().numpy(),
        )
