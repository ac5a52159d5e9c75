"""Each loss and its gradient at the logits as a function of p_y, the probability of the given label. Reports read the CSV.

Construction: one sample, logits z = log p, in float64. The given label has p_y; the rest, 1 - p_y, lies almost wholly on one other
class ("one": all but a thousandth, which the remaining classes share) or equally on all others ("all").
"""

import csv
from collections.abc import Iterator
from typing import NamedTuple, TextIO

import numpy as np
import torch
from torch import Tensor

from bench.engine.fold import HOOKS
from bench.output import csv_cell
from methods import registry
from methods.base import Batch, Method

POINTS = 99  # p_y = .01, .02, … .99
RESTS = ("one", "all")


class Point(NamedTuple):
    """One point of a curve."""

    method: str
    p_y: float
    gradient_norm: float  # Euclidean norm of dL/dz
    loss: float
    classes: int
    rest: str


def is_plain(method: Method) -> bool:
    """Whether the loss of a sample depends on that sample alone: one context, no state, no schedule, no oracle."""
    stateless = all(getattr(type(method), hook) is getattr(Method, hook) for hook in HOOKS)
    return method.train and method.contexts == 1 and method.oracle is None and stateless


def logits(p_y: float, classes: int, rest: str) -> Tensor:
    """Log probabilities [C] with p_y at class 0, and the rest as in the module's description."""
    share = np.full(classes, 1 / (classes - 1))
    if rest == "one":
        share = np.full(classes, 1e-3 / (classes - 2))
        share[1] = 1 - 1e-3
    p = (1 - p_y) * share
    p[0] = p_y
    return torch.from_numpy(np.log(p))


def curve(method: Method, classes: int, rest: str) -> Iterator[Point]:
    """A method's curve; nothing where the loss draws at random, or where samples do not have a loss each that is theirs alone."""
    p_y = np.linspace(0, 1, POINTS + 2)[1:-1]
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    images = torch.stack([logits(p, classes, rest) for p in p_y]).repeat(method.views, 1, 1).requires_grad_()  # [V, POINTS, C]
    text, first = torch.eye(classes, dtype=torch.float64)[None], torch.zeros(POINTS, dtype=torch.long)

    def losses(count: int) -> Tensor:
        batch = Batch(text, images[:, :count], first[:count], torch.arange(count), scale=1.0, epoch=0, generator=generator)
        return method.loss(batch)

    loss, alone = losses(POINTS), losses(1)
    drawn = not torch.equal(before, generator.get_state())
    if drawn or loss.shape != first.shape or not torch.allclose(loss[:1], alone):
        return
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    norms = gradient.sum(dim=0).norm(dim=1)
    for p, norm, own in zip(p_y, norms.tolist(), loss.tolist(), strict=True):
        yield Point(method.name, round(p, 4), norm, own, classes, rest)


def write_curves(classes: list[int], out: TextIO) -> None:
    """The curves of all plain losses, as CSV with a header line."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Point._fields)
    for name in registry.names():
        method = registry.create(name)
        if not is_plain(method):
            continue
        for count in classes:
            for rest in RESTS:
                for point in curve(method, count, rest):
                    numbers = (point.p_y, f"{point.gradient_norm:.6g}", f"{point.loss:.6g}")
                    writer.writerow([csv_cell(point.method), *numbers, *point[4:]])
