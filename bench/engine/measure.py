"""What is measured of a stack's runs after an epoch: many small sets of scores as one, for which the host waits as one."""

import time
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
        scored = member.guard(_scored, member, leaf)
        if scored is None:
            continue
        runs, size = alike[_kind(scored)], scored.test.numel() + scored.train.numel()
        runs.append(scored)
        del scored  # a large set is not held while the next is computed
        if len(runs) * size >= AT_ONCE:
            _measure(runs, epoch)
            runs.clear()
    for runs in alike.values():
        if runs:
            _measure(runs, epoch)


def _scored(member: Member, leaf: Tensor) -> Scored:
    """A run's scores; small ones, which wait for those of others, are copied: they may lie in a buffer that runs share."""
    scores = member.both_scores(leaf)
    held = sum(of.numel() for of in scores) < AT_ONCE
    return Scored(member, *(of.clone() if held else of for of in scores))


def _kind(scored: Scored) -> tuple[object, ...]:
    return tuple((of.shape, of.dtype) for of in scored[1:])


def _measure(runs: Sequence[Scored], epoch: int) -> None:
    started = time.perf_counter()
    rows: list[dict[str, float] | None]
    try:
        rows = [*_figures(runs)]
        spent = time.perf_counter() - started
        for run in runs:
            run.member.seconds += spent / len(runs)
    except Exception:  # noqa: BLE001 - memory is short, or scores are odd: those of one run then end that run and no other
        alone = [run.member.guard(_figures, [run]) for run in runs]
        rows = [None if found is None else found[0] for found in alone]
    for run, row in zip(runs, rows, strict=True):
        if row:
            run.member.guard(run.member.keep, epoch, row)


def _figures(runs: Sequence[Scored]) -> list[dict[str, float]]:
    """What `Member.keep` takes, of each run."""
    members, tests, trains = zip(*runs, strict=True)
    # [R, T, C] and [R, N, C]; a large set is alone, and not copied
    test, train = (torch.stack(of) if len(of) > 1 else of[0][None] for of in (tests, trains))
    true, given, clean = (torch.stack([getattr(member, of) for member in members]) for of in ("test_true", "given", "true"))
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
    return [dict(zip(figures, row, strict=True)) for row in rows]
