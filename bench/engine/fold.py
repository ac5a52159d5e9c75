"""Plain runs of a stack as one batch: one gather, one product and one way back for all, and one call of each loss.

A run is plain where its method has one context, one view, no state and no hook between it and its batches, so that all it says is
a loss of logits and labels. Runs of one such method with the same hyper-parameters differ in their data alone. Their samples become
one long batch, which holds nothing but logits and labels. A loss that asks for more is not folded, nor is one that gives no value
per sample or another gradient than run by run: a stack's first step looks at that, and `bench check-method` at many.

Shapes: R runs, N training samples and B of a batch of each, U rows of a feature table, V views, C classes, D feature dimensions.
"""

import copy
import dataclasses
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.engine.member import Gradient, Member, See, as_they_are
from methods.base import Batch, Method

HOOKS = ("start", "epoch_start", "batches")  # what stands between a run and its batches
Kind = tuple[type[Method], str]  # a method with its hyper-parameters
CLOSE = 1e-3  # of a run's largest gradient, between folded and alone; on a CPU they are equal to the bit


class NotRowWise(Exception):  # noqa: N818 - no error: these runs are computed one by one
    """A loss judges samples by one another."""


class Unfoldable(Exception):  # noqa: N818 - no error: these runs are computed one by one
    """The runs of a method that must leave their fold.

    Args:
        kind: The method.
        why: What it raised.
    """

    def __init__(self, kind: Kind, why: BaseException) -> None:
        super().__init__(f"{kind[0].__name__} is computed run by run: {why}")
        self.kind = kind


class Rows(Batch):
    """What a row-wise loss may read: logits and labels. All else of a batch is missing here."""

    def __init__(self, z: Tensor, labels: Tensor) -> None:
        self.logits, self.labels = z[None, None], labels


def is_plain(method: Method) -> bool:
    """Whether a method is its loss alone: it overrides no hook and keeps nothing but hyper-parameters."""
    hyper = {field.name for field in dataclasses.fields(method) if field.init}
    untouched = all(getattr(type(method), hook) is getattr(Method, hook) for hook in HOOKS)
    return untouched and method.contexts == method.views == 1 and vars(method).keys() <= hyper


def row_losses(method: Method, z: Tensor, labels: Tensor) -> Tensor:
    """A plain method's losses [n] of logits [n, C].

    Raises:
        NotRowWise: It gives no loss per sample, or keeps something.
    """
    before = dict(vars(method))
    loss = method.loss(Rows(z, labels)).float()
    if loss.shape != labels.shape or vars(method) != before:
        raise NotRowWise("its loss is not per sample, or it keeps state")
    return loss


def fold_plain(members: Sequence[Member], seeing: Callable[[Sequence[Member]], See]) -> list["Fold"]:
    """Two and more members that are plain, before their start, and whose batches are alike in size.

    Args:
        members: The runs of a stack.
        seeing: Says what some of them see of their leaves.
    """
    groups: dict[tuple[Any, ...], dict[Kind, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, member in enumerate(members):
        if is_plain(member.method) and member.spec.train is not None:
            alike = (member.spec.train.batch_size, member.spec.train.drop_last, id(member.table), len(member.rows))
            groups[alike][_kind(member.method)].append(place)
    together = ([place for places in kinds.values() for place in places] for kinds in groups.values())
    return [Fold(places, [members[place] for place in places], seeing) for places in together if len(places) > 1]


def _kind(method: Method) -> Kind:
    return type(method), repr(vars(method))


class _Step(NamedTuple):
    order: Tensor  # [R, B] positions in the runs' training sets
    rows: Tensor  # [R, B] of the feature table, views apart
    labels: Tensor  # [R, B]
    wrong: Tensor  # [R, B], for measuring only


class Fold:
    """Plain runs, those of one method behind each other.

    Args:
        places: Their positions in the stack.
        members: The runs.
        seeing: Says what some of them see of their leaves.
    """

    def __init__(self, places: list[int], members: list[Member], seeing: Callable[[Sequence[Member]], See]) -> None:
        self.places, self.members, self.seeing = places, members, seeing
        self.see = seeing(members)
        self.kinds = [_kind(member.method) for member in members]
        # Methods that never start, so that they know no task, and no member's own global generators move for what is tried here.
        self.own = {
            kind: (copy.copy(member.method), copy.deepcopy(member.apart)) for kind, member in zip(self.kinds, members, strict=True)
        }
        self.given = torch.stack([member.given for member in members])  # [R, N]
        self.wrong = torch.stack([member.given != member.true for member in members])
        self.rows = torch.stack([member.rows for member in members])
        self.steps: list[_Step] = []
        self.seen: set[Kind] = set()  # of which folded and alone were compared
        self.spent: dict[Kind, float] = {}  # seconds of a step in each method's code

    def start_epoch(self, epoch: int) -> None:
        """Draw the epoch's batches of those that are still alive."""
        self.drop_failed()
        if not self.members:
            return
        first = self.members[0]
        order = torch.stack([member.shuffled() for member in self.members]).to(self.rows.device)  # [R, N]
        (view,) = first.views(epoch)
        rows = self.rows.gather(1, order) * first.table.shape[1] + view
        whole = (order, rows, self.given.gather(1, order), self.wrong.gather(1, order))
        self.steps = [_Step(*parts) for parts in zip(*(first.cut(part) for part in whole), strict=True)]

    def drop_failed(self) -> None:
        """Go on without the members that have failed."""
        self._keep([i for i, member in enumerate(self.members) if member.failure is None])

    def leave(self, kind: Kind) -> dict[int, list[Tensor]]:
        """Go on without a method's runs; gives the batches of this epoch as they would have drawn them alone, by place."""
        gone = [i for i, own in enumerate(self.kinds) if own == kind]
        batches = {self.places[i]: [step.order[i] for step in self.steps] for i in gone}
        self._keep([i for i, own in enumerate(self.kinds) if own != kind])
        return batches

    def _keep(self, keep: list[int]) -> None:
        if len(keep) == len(self.members):
            return
        self.places, self.members = [self.places[i] for i in keep], [self.members[i] for i in keep]
        self.kinds = [self.kinds[i] for i in keep]
        if keep:
            self.see = self.seeing(self.members)
        self.given, self.wrong, self.rows = (of[keep] for of in (self.given, self.wrong, self.rows))
        self.steps = [_Step(*(part[keep] for part in step)) for step in self.steps]

    def gradient(self, at: Tensor, number: int, epoch: int, measure: bool) -> Gradient:
        """The members' gradients in a step at their leaves [R, …] (see `Member.gradient`).

        Raises:
            Unfoldable: The runs of one method cannot be folded.
        """
        started, self.spent = time.perf_counter(), dict.fromkeys(self.kinds, 0.0)
        step, table = self.steps[number], self.members[0].table
        found = self._gradient(at.detach(), table.flatten(0, 1)[step.rows].float(), step, measure)
        for kind, runs in self._methods():
            if kind not in self.seen:
                with self._code_of(kind):
                    self._compare(runs, found.at_leaf[runs[0] : runs[-1] + 1], at, step, epoch)
                self.seen.add(kind)
        shared = (time.perf_counter() - started - sum(self.spent.values())) / len(self.members)
        for kind, member in zip(self.kinds, self.members, strict=True):
            member.seconds += shared + self.spent[kind] / self.kinds.count(kind)
        return found

    def _compare(self, runs: list[int], folded: Tensor, at: Tensor, step: _Step, epoch: int) -> None:
        """Look at whether the folded gradients of runs are those that each has alone."""
        alone = torch.cat([self.members[run].gradient(at[[run]], step.order[run], epoch, measure=False).at_leaf for run in runs])
        alone, folded = (torch.nan_to_num(of, 0.0, 0.0, 0.0) for of in (alone, folded))  # what is not finite ends either way
        apart, longest = (of.abs().flatten(1).amax(dim=1) for of in (alone - folded, folded))  # [runs]
        if bool((apart > CLOSE * longest).any()):
            raise NotRowWise("its loss of a sample depends on the others of the batch")

    def _methods(self) -> Iterator[tuple[Kind, list[int]]]:
        """Every method and its runs."""
        for kind, runs in itertools.groupby(range(len(self.kinds)), key=self.kinds.__getitem__):
            yield kind, list(runs)

    @contextmanager
    def _code_of(self, kind: Kind) -> Iterator[Method]:
        """Around what a method's code does, with the method."""
        (method, apart), started = self.own[kind], time.perf_counter()
        try:
            with apart:
                yield method
        except (Exception, SystemExit) as error:
            raise Unfoldable(kind, error) from error
        finally:
            self.spent[kind] += time.perf_counter() - started

    def _gradient(self, at: Tensor, images: Tensor, step: _Step, measure: bool) -> Gradient:
        logits, pull = self._logits(at, images)
        parts = [self._loss(kind, runs, logits, step.labels) for kind, runs in self._methods()]
        losses, at_logits = (torch.cat(part) for part in zip(*parts, strict=True))
        at_leaf, shares = pull(at_logits), None
        if measure:
            noisy = pull(at_logits * step.wrong[:, :, None])  # of mislabelled samples' rows alone: `pull` is linear
            shares = torch.stack([(at_leaf - noisy).flatten(1).norm(dim=1), noisy.flatten(1).norm(dim=1)], dim=1)
        return Gradient(at_leaf, losses.mean(dim=1), shares)

    def _loss(self, kind: Kind, runs: list[int], logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The losses [r, B] of a method's runs, and the gradients [r, B, C] of their means at the logits."""
        of = slice(runs[0], runs[-1] + 1)
        z, y = logits[of].detach().flatten(0, 1).requires_grad_(), labels[of].flatten()
        with self._code_of(kind) as method:
            loss = row_losses(method, z, y)
            (at,) = torch.autograd.grad(loss, z, torch.full_like(loss, 1 / labels.shape[1]))
        return loss.detach().view_as(labels[of]), at.view_as(logits[of])

    def _logits(self, leaf: Tensor, images: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Logits [R, B, C] of images [R, B, D], and what makes gradients at the leaves of those at the logits."""
        scale = self.members[0].scale
        if self.see is as_they_are:
            return scale * torch.bmm(images, leaf.mT), lambda at: torch.bmm(images.mT, scale * at).mT
        text, seen = self.see(leaf.requires_grad_(), images)
        logits = scale * torch.bmm(seen, text.mT)
        return logits, lambda at: torch.autograd.grad(logits, leaf, at, retain_graph=True)[0]
