"""The training loop: runs that share backbone and class names train as one stack.

    tuned [S, n_ctx, W] ─ text tower, once for all runs ─▶ text [S, C, D]
                                                              │ each run's slice, as a detached leaf [K, C, D]
                                                           loss of its method, a graph of its own ─▶ gradient at the leaf
    tuned ◀─ SGD ◀─── text tower backward, once for all runs ◀──┘

What is tuned need not be a prompt, nor pass the tower: `bench.engine.learners`.

What goes wrong in one run (an exception, a NaN) stays on its side of the leaf: the run leaves the stack, the others go on.
"""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.data.cards import load_card
from bench.data.load import load_data
from bench.devices import devices
from bench.engine.arrays import Arrays
from bench.engine.backbone import TextBackbone, load_backbone
from bench.engine.fold import Fold, Unfoldable, fold_plain
from bench.engine.learners import Learner, learner_of
from bench.engine.measure import evaluate
from bench.engine.member import Gradient, Member
from bench.engine.optim import StackedSGD
from bench.engine.outcome import Outcome, stack_key
from bench.engine.zero_shot import zero_shot_of
from bench.errors import BenchError
from bench.spec import RunSpec

log = logging.getLogger(__name__)

Progress = Callable[[int], None]


def eval_every(epochs: int) -> int:
    """Epochs between two evaluations: at most about 25 of a run, the last epoch always among them."""
    return max(1, epochs // 25)


def train_stack(
    specs: Sequence[RunSpec],
    *,
    device: str = "auto",
    keep_context: bool = False,
    max_stack: int | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Train runs that share backbone, class names, layout and epochs (equal `stack_key`), as few stacks as memory allows.

    Args:
        specs: The runs.
        device: As `bench.devices.devices` takes it; the first of those that it means.
        keep_context: Keep what is learned in the outcomes.
        max_stack: At most so many contexts at once.
        processes: How many processes share the device's memory, this one included.
        progress: Called with the number of run-steps done since the last call.

    Returns:
        An outcome per run, in the order of `specs`; a run that failed carries its traceback.

    Raises:
        BenchError: TextBackbone, features or class names cannot be used for any of them.
    """
    if len({stack_key(spec) for spec in specs}) > 1:
        raise BenchError("these runs cannot train as one stack: backbone, dataset, prompt layout or epochs differ.")
    backbone = load_backbone(specs[0].backbone, devices(device)[0])
    zero_shot = zero_shot_of(backbone, load_card(specs[0].dataset))
    arrays = Arrays(zero_shot)
    members = [Member(spec, data, arrays) for spec, data in zip(specs, load_data(specs, zero_shot), strict=True)]
    return train_members(backbone, members, keep_context, max_stack, processes, progress)


def train_members(
    backbone: TextBackbone,
    members: Sequence[Member],
    keep_context: bool = False,
    max_stack: int | None = None,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Train runs that hold their data already; as `train_stack`."""
    if members[0].spec.train is None:
        return [_template(member) for member in members]
    outcomes: dict[int, Outcome] = {}  # by the member's position
    for tunes in dict.fromkeys(member.spec.method.tunes for member in members):
        places = [i for i, member in enumerate(members) if member.spec.method.tunes == tunes]
        some = [members[i] for i in places]
        learner = learner_of(tunes, backbone, some)
        parts = _parts(some, learner.max_stack(max_stack, processes))
        found = [outcome for part in parts for outcome in Stack(part, learner, progress).run(keep_context)]
        outcomes |= zip(places, found, strict=True)
    return [outcomes[i] for i in range(len(members))]


def _parts(members: Sequence[Member], limit: int) -> list[list[Member]]:
    """Members in order, cut so that a part has at most `limit` contexts (at least one run)."""
    parts: list[list[Member]] = [[]]
    for member in members:
        size = sum(other.method.contexts for other in parts[-1])
        if parts[-1] and size + member.method.contexts > limit:
            parts.append([])
        parts[-1].append(member)
    return parts


def _template(member: Member) -> Outcome:
    """A run that trains nothing: the card's template, and what its method makes of the shots."""
    started = time.perf_counter()
    if member.spec.from_shots:
        member.guard(member.start)
    outcome = None if member.failure else member.guard(member.outcome, member.arrays.zero_shot.text[None], None)
    if outcome is None:
        return _failed(member)
    outcome.metrics["wall_seconds"] = time.perf_counter() - started
    return outcome


def _failed(member: Member) -> Outcome:
    assert member.failure is not None
    error, trace = member.failure
    return Outcome(
        member.spec, "failed", history=member.history, noise_digest=member.data.noise_digest, error=error, traceback=trace
    )


class Forward(NamedTuple):
    """A forward pass of members, in their order, with the graph that a step goes back through."""

    order: list[int]
    slots: Tensor  # [S] places of their parameter sets in the stack
    tuned: Tensor  # [S, …]
    text: Tensor  # [S, C, D]


class Stack:
    """Members that train together, and tune the same. S: the parameter sets of all members, one behind the other.

    Args:
        members: The runs.
        learner: What they tune.
        progress: Called with the number of run-steps done.
    """

    def __init__(self, members: Sequence[Member], learner: Learner, progress: Progress | None) -> None:
        self.members, self.learner, self.progress = members, learner, progress
        firsts = [learner.first(member) for member in members]
        self.tuned = torch.cat(firsts)  # [S, …], such as contexts [S, n_ctx, W]
        self.slots = torch.arange(len(self.tuned), device=self.tuned.device).split([len(first) for first in firsts])
        self.trains = [member.spec.train for member in members for _ in range(member.method.contexts) if member.spec.train]
        self.optimiser = StackedSGD(self.tuned, self.trains)
        self.epochs = self.trains[0].epochs
        for member in members:
            member.see = learner.seeing([member])
        self.folds = fold_plain(members, learner.seeing)
        self.now: Forward | None = None

    def alive(self) -> list[int]:
        """The positions of members that have not failed."""
        return [i for i, member in enumerate(self.members) if member.failure is None]

    def text(self) -> dict[int, Tensor]:
        """The current text features [K, C, D] of every living member."""
        folded = {i: None for each in self.folds for i in each.places}
        order = [i for i in folded | dict.fromkeys(self.alive()) if self.members[i].failure is None]  # as a step has them
        text = self._forward(order).text.detach().split([len(self.slots[i]) for i in order]) if order else ()
        return dict(zip(order, text, strict=True))

    def _forward(self, order: list[int]) -> Forward:
        """Text features of members, with their graph. An evaluation's are those of the step that follows, so they are kept."""
        if self.now is None or self.now.order != order:
            slots = torch.cat([self.slots[i] for i in order])
            with torch.enable_grad():
                tuned = self.tuned[slots].requires_grad_()
                self.now = Forward(order, slots, tuned, self.learner(tuned))
        return self.now

    def run(self, keep_context: bool) -> list[Outcome]:
        """Train all epochs and give every member's outcome."""
        started = time.perf_counter()
        for i in self.alive():
            self.members[i].guard(self.members[i].start)
        with torch.no_grad():
            for i, at_start in self.text().items():
                self.members[i].guard(self.members[i].measure_start, at_start)
        for epoch in range(self.epochs):
            self._epoch(epoch)
            if self._measured(epoch):
                self._evaluate(epoch)
        text, self.now = self.text(), None
        outcomes = [self._outcome(i, text, keep_context) for i in range(len(self.members))]
        seconds = time.perf_counter() - started
        shared = seconds - sum(member.seconds for member in self.members)  # the tower's, most of it: by contexts and steps
        parts = [member.method.contexts * max(1, member.steps) for member in self.members]
        for member, part, outcome in zip(self.members, parts, outcomes, strict=True):
            outcome.metrics["wall_seconds"] = member.seconds + shared * part / sum(parts)
            if steps := outcome.metrics.get("steps"):
                outcome.metrics["steps_per_second"] = steps / outcome.metrics["wall_seconds"]
        return outcomes

    @torch.no_grad()
    def _evaluate(self, epoch: int) -> None:
        evaluate([(self.members[i], text) for i, text in self.text().items()], epoch)

    @torch.no_grad()
    def _outcome(self, i: int, text: dict[int, Tensor], keep_context: bool) -> Outcome:
        member = self.members[i]
        kept = self.tuned[self.slots[i]] if keep_context else None
        outcome = member.guard(member.outcome, text[i], kept) if i in text else None
        return _failed(member) if outcome is None else outcome

    def _epoch(self, epoch: int) -> None:
        self.optimiser.start_epoch(epoch)
        plans: dict[int, list[Tensor]] = {}  # of the members that are not folded
        for each in self.folds:
            each.start_epoch(epoch)
        text = self.text()  # an evaluation's, and the first step's
        folded = {i for each in self.folds for i in each.places}
        for member in self.members:
            member.losses.clear()
        for i in (i for i in self.alive() if i not in folded):
            member = self.members[i]

            def predict(i: int = i, member: Member = member) -> Tensor:
                """The current logits of the whole training set on the clean view, [K, N, C]."""
                return member.logits(text[i])

            def prepare(member: Member = member, predict: Callable[[], Tensor] = predict) -> list[Tensor]:
                with torch.no_grad():
                    member.method.epoch_start(epoch, predict)
                return member.epoch_batches(epoch)

            plans[i] = member.guard(prepare) or []
        lengths = [*map(len, plans.values()), *(len(each.steps) for each in self.folds)]
        for step in range(max(lengths, default=0)):
            self._step(step, plans, epoch)

    def _step(self, step: int, plans: dict[int, list[Tensor]], epoch: int) -> None:
        """One step of the members that have a batch left in this epoch."""
        folds = [each for each in self.folds if each.members and step < len(each.steps)]
        alone = [i for i, plan in plans.items() if step < len(plan) and self.members[i].failure is None]
        if not folds and not alone:
            return
        groups = [*(each.places for each in folds), *([i] for i in alone)]
        order = [i for places in groups for i in places]
        now = self._forward(order)
        leaves = now.text.detach().split([sum(len(self.slots[i]) for i in places) for places in groups])
        measure, found = step == 0 and self._measured(epoch), list[Gradient]()
        for each, leaf in zip(folds, leaves, strict=False):
            found += self._folded(each, leaf, step, plans, epoch, measure)
        for i, leaf in zip(alone, leaves[len(folds) :], strict=True):
            found.append(self._alone(i, leaf, plans[i][step], epoch, measure))
        at_leaf = torch.cat([part.at_leaf for part in found])  # [S, …]
        finite = at_leaf.abs().flatten(1).amax(dim=1).isfinite()  # [S]
        at_leaf = torch.where(finite.view(-1, *[1] * (at_leaf.dim() - 1)), at_leaf, 0.0)  # what is not stays out of the tower
        gradient = self.learner.gradient(now.text, now.tuned, at_leaf)
        self.now = None
        self.optimiser.step(now.slots, gradient)  # a run that has just failed moves too; nobody reads what it learned any more
        self._note(order, found, finite, epoch)
        for each in folds:
            each.drop_failed()
        if self.progress:
            self.progress(len(order))

    def _folded(
        self, fold: Fold, leaf: Tensor, step: int, plans: dict[int, list[Tensor]], epoch: int, measure: bool
    ) -> list[Gradient]:
        """A fold's gradients; where a loss cannot be folded, one by one in this step, and of its own runs from now on."""
        try:
            return [fold.gradient(leaf, step, epoch, measure)]
        except Unfoldable as refused:
            log.info("%s", refused)
            now = [(i, fold.steps[step].order[run]) for run, i in enumerate(fold.places)]
            plans |= fold.leave(refused.kind)
        if not fold.members:
            self.folds.remove(fold)
        return [self._alone(i, leaf[run : run + 1], batch, epoch, measure) for run, (i, batch) in enumerate(now)]

    def _alone(self, i: int, leaf: Tensor, index: Tensor, epoch: int, measure: bool) -> Gradient:
        """A member's gradient; nothing where it fails."""
        found = self.members[i].guard(self.members[i].gradient, leaf, index, epoch, measure)
        if found is None:
            return Gradient(torch.zeros_like(leaf), leaf.new_zeros(1), None)
        return found

    def _note(self, order: list[int], found: list[Gradient], finite: Tensor, epoch: int) -> None:
        """Let the members `order` keep what their step found, and end those whose loss or gradient was not finite."""
        losses = torch.cat([part.loss for part in found]).isfinite()
        flags = torch.cat([losses, finite]).cpu().tolist()  # the one time that a step waits for the device
        gradients = iter(flags[len(order) :])
        runs = ((part, run) for part in found for run in range(len(part.loss)))
        for i, (part, run), sound in zip(order, runs, flags, strict=False):
            member = self.members[i]
            if not all([sound, *itertools.islice(gradients, len(self.slots[i]))]) and member.failure is None:
                member.guard(member.not_finite, epoch)
            member.note(part, run)

    def _measured(self, epoch: int) -> bool:
        return epoch % eval_every(self.epochs) == 0 or epoch == self.epochs - 1
