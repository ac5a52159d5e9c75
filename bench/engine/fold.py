"""Plain runs of a stack as one batch: one call of the loss instead of one per run.

A run is plain where its method has one context, one view, no state and no hook between it and its batches, so that all it says is
a loss of logits and labels. Runs of one such method with the same hyper-parameters differ in their data alone. Their samples become
one long batch, which holds nothing but logits and labels. A loss that asks for more is not folded, nor is one that gives no value
per sample or another gradient than run by run: a stack's first step looks at that, and `bench check-method` at many.

Shapes: R runs, N training samples and B of a batch of each, U rows of a feature table, V views, C classes, D feature dimensions.
"""

import copy
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.engine.member import Gradient, Member, See, as_they_are
from methods.base import Batch, Method

HOOKS = ("start", "epoch_start", "batches")  # what stands between a run and its batches
CLOSE = 1e-3  # of a run's largest gradient, between folded and alone; on a CPU they are equal to the bit


class NotRowWise(Exception):  # noqa: N818 - no error: these runs are computed one by one
    """A loss judges samples by one another."""


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
    """Two and more members that are plain, before their start, and alike but for their data.

    Args:
        members: The runs of a stack.
        seeing: Says what some of them see of their leaves.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, member in enumerate(members):
        if is_plain(member.method) and member.spec.train is not None:
            train, method = member.spec.train, member.method
            alike = (type(method), repr(vars(method)), train.batch_size, train.drop_last)
            groups[(*alike, id(member.table), len(member.rows))].append(place)
    return [Fold(places, [members[place] for place in places], seeing) for places in groups.values() if len(places) > 1]


class _Step(NamedTuple):
    order: Tensor  # [R, B] positions in the runs' training sets
    rows: Tensor  # [R, B] of the feature table, views apart
    labels: Tensor  # [R, B]
    wrong: Tensor  # [R, B], for measuring only


class Fold:
    """Plain runs of one method.

    Args:
        places: Their positions in the stack.
        members: The runs.
        seeing: Says what some of them see of their leaves.
    """

    def __init__(self, places: list[int], members: list[Member], seeing: Callable[[Sequence[Member]], See]) -> None:
        self.places, self.members, self.seeing = places, members, seeing
        self.see = seeing(members)
        self.method = copy.copy(members[0].method)  # which never starts, so it knows no task
        self.apart = copy.deepcopy(members[0].apart)  # no member's own global generators move for what is tried here
        self.given = torch.stack([member.given for member in members])  # [R, N]
        self.wrong = torch.stack([member.given != member.true for member in members])
        self.rows = torch.stack([member.rows for member in members])
        self.steps: list[_Step] = []
        self.seen = False  # whether folded and alone were compared

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
        keep = [i for i, member in enumerate(self.members) if member.failure is None]
        if len(keep) == len(self.members):
            return
        self.places, self.members = [self.places[i] for i in keep], [self.members[i] for i in keep]
        if keep:
            self.see = self.seeing(self.members)
        self.given, self.wrong, self.rows = (of[keep] for of in (self.given, self.wrong, self.rows))
        self.steps = [_Step(*(part[keep] for part in step)) for step in self.steps]

    def batches(self) -> dict[int, list[Tensor]]:
        """The epoch's batches as the members would have drawn them alone, by place."""
        return {place: [step.order[run] for step in self.steps] for run, place in enumerate(self.places)}

    def gradient(self, at: Tensor, number: int, epoch: int, measure: bool) -> Gradient:
        """The members' gradients in a step at their leaves [R, …] (see `Member.gradient`).

        Raises:
            Exception: Whatever the loss raises, and NotRowWise: these runs cannot be folded.
        """
        step, table = self.steps[number], self.members[0].table
        found = self._gradient(at.detach(), table.flatten(0, 1)[step.rows].float(), step, measure)
        if not self.seen:
            alone = [
                member.gradient(at[run : run + 1], step.order[run], epoch, measure=False).at_leaf
                for run, member in enumerate(self.members)
            ]
            apart, longest = (of.abs().flatten(1).amax(dim=1) for of in (torch.cat(alone) - found.at_leaf, found.at_leaf))  # [R]
            if bool((apart > CLOSE * longest).any()):
                raise NotRowWise("its loss of a sample depends on the others of the batch")
            self.seen = True
        return found

    def _gradient(self, at: Tensor, images: Tensor, step: _Step, measure: bool) -> Gradient:
        size = step.labels.shape[1]
        logits, pull = self._logits(at, images)
        z = logits.detach().flatten(0, 1).requires_grad_()
        loss = row_losses(self.method, z, step.labels.flatten())
        at_logits = torch.autograd.grad(loss, z, torch.full_like(loss, 1 / size))[0].view_as(logits)
        at_leaf, losses, shares = pull(at_logits), loss.detach().view_as(step.labels), None
        finite = at_leaf.abs().flatten(1).amax(dim=1).isfinite() & losses.isfinite().all(dim=1)
        if measure:
            noisy = pull(at_logits * step.wrong[:, :, None])  # of mislabelled samples' rows alone: `pull` is linear
            shares = torch.stack([(at_leaf - noisy).flatten(1).norm(dim=1), noisy.flatten(1).norm(dim=1)], dim=1)
        at_leaf = torch.where(finite.view(-1, *[1] * (at.dim() - 1)), at_leaf, 0.0)
        return Gradient(at_leaf, finite, losses.mean(dim=1), shares)

    def _logits(self, leaf: Tensor, images: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Logits [R, B, C] of images [R, B, D], and what makes gradients at the leaves of those at the logits."""
        scale = self.members[0].scale
        if self.see is as_they_are:
            return scale * torch.bmm(images, leaf.mT), lambda at: torch.bmm(images.mT, scale * at).mT
        text, seen = self.see(leaf.requires_grad_(), images)
        logits = scale * torch.bmm(seen, text.mT)
        return logits, lambda at: torch.autograd.grad(logits, leaf, at, retain_graph=True)[0]
