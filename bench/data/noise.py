"""Label noise, as named protocols. Each is a pure function of the true labels, the rate and a seed.

Wrong labels are nested over rates: a seed fixes one order of the samples and one wrong class per sample, and a higher rate takes
more of that order. So a method's curve over rates shows the rate, not the luck of another draw.
"""

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, nearest
from bench.seeds import derive

Labels = NDArray[np.int64]

PROTOCOLS = ("clean", "symmetric", "pairflip")


def count(rate: float, total: int) -> int:
    """⌊rate · total⌋ on decimals: int(0.29 * 100) is 28 in floating point."""
    return int(Decimal(str(rate)) * total)


def make_noise(protocol: str, true: Labels, classes: int, rate: float, seed: int, part: str = "train") -> Labels:
    """The given labels of a training set.

    Args:
        protocol: "clean", "symmetric" (to one of the other C - 1 classes, uniformly) or "pairflip" (y → y + 1 mod C).
        true: True labels [N].
        classes: C.
        rate: Share of all samples that flip, in [0, 1]: ⌊rate · N⌋ of them.
        seed: The run's seed.
        part: Which labels these are ("train" or "val"); their draws are independent.

    Raises:
        BenchError: Unknown protocol, or labels that cannot flip as there is only one class.
    """
    if protocol not in PROTOCOLS:
        raise BenchError(f"no noise protocol is called '{protocol}'.", nearest(protocol, PROTOCOLS))
    flips = 0 if protocol == "clean" else count(rate, len(true))
    if flips and classes < 2:
        raise BenchError(f"'{protocol}' noise needs at least two classes; the dataset has {classes}.")
    rng = np.random.default_rng(derive(seed, "noise", protocol, part))
    order = rng.permutation(len(true))[:flips]
    step = rng.integers(1, max(classes, 2), size=len(true)) if protocol == "symmetric" else np.ones(len(true), dtype=np.int64)
    given = true.copy()
    given[order] = (true[order] + step[order]) % classes
    return given


def identifiable(protocol: str, rate: float, classes: int) -> bool:
    """Whether the true class stays the most likely given label; where not, no method can tell it from the labels alone."""
    if protocol == "pairflip":
        return rate < 0.5
    return protocol == "clean" or rate < 1 - 1 / classes
