"""What is measured of a stack's runs after an epoch: many small sets of scores as one, and the host waits once for all of them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.engine.member import Member
from bench.engine.metrics import accuracy, calibration_error

AT_ONCE = 2**22  # scores: more take memory and gain nothing


class Scored(NamedTuple):
    """A run and its class scores."""

    member: Member
    test: Tensor  # [T, C]
    train: Tensor  # [N, C]


@torch.no_grad()
def evaluate(members: Iterable[tuple[Member, Tensor]], epoch: int) -> None:
    """Measure runs, given with their leaves, after an epoch; an error of one is its own."""
    alike: defaultdict[tuple[object, ...], list[Scored]] = defaultdict(list)
    for member, leaf in members:
        scores = member.guard(member.both_scores, leaf)
        if scores is None:
            continue
        runs = alike[tuple((of.shape, of.dtype, of.device) for of in scores)]
        runs.append(Scored(member, *scores))
        if len(runs) * sum(of.numel() for of in scores) >= AT_ONCE:
            _measure(runs, epoch)
            runs.clear()
    for runs in alike.values():
        if runs:
            _measure(runs, epoch)


def _measure(runs: Sequence[Scored], epoch: int) -> None:
    members, tests, trains = zip(*runs, strict=True)
    # [R, T, C] and [R, N, C]; a large set is alone, and not copied
    test, train = (torch.stack(of) if len(of) > 1 else of[0][None] for of in (tests, trains))
    true = torch.stack([member.test_true for member in members])
    given, clean = (torch.stack([getattr(member, of) for member in members]) for of in ("given", "true"))
    none = torch.full((2,), float("nan"), device=test.device)  # where a run has taken no step
    shares = torch.stack([none if member.shares is None else member.shares for member in members])  # [R, 2]
    figures = {  # each [R]
        "finite": test.isfinite().all(dim=2).all(dim=1),
        "loss": torch.stack([torch.stack(member.losses).mean() if member.losses else none[0] for member in members]),
        "accuracy": accuracy(test, true),
        "ece": calibration_error(test, true).to(test.device),
        "train_given": accuracy(train, given),
        "train_true": accuracy(train, clean),
        "grad_clean": shares[:, 0],
        "grad_noisy": shares[:, 1],
    }
    rows = torch.stack([of.double() for of in figures.values()], dim=1).cpu().tolist()
    for member, row in zip(members, rows, strict=True):
        member.guard(member.keep, epoch, dict(zip(figures, row, strict=True)))
