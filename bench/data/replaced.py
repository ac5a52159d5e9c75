"""False positives: shots that give way to images of other classes.

PTNL (Wu et al., ICCV 2023) and JoAPR (Guo & Gu, CVPR 2024) cut each class in half in file order. Shots come from the first half,
with replacement where it has too few; false positives come from the second halves of other classes. So no shot is ever another
class's false positive. (JoAPR's code cuts in the middle at every rate, as here; PTNL's after the share 1 - r.)
"""

import random
from collections import defaultdict
from decimal import ROUND_HALF_EVEN

import numpy as np

from bench.data.noise import count, protocol_of
from bench.data.splits import Item, sample_shots
from bench.errors import BenchError
from bench.seeds import derive


def draw_halves(train: list[Item], shots: int, seed: int) -> tuple[list[Item], list[Item]]:
    """The shots of a seed, from the first ⌈n/2⌉ images of each class in file order, and all images behind them.

    The shots are drawn as CoOp draws them from whole classes, and again from a half with fewer than `shots` images; shots = 0 takes
    the first halves whole.
    """
    by_class: dict[int, list[Item]] = defaultdict(list)
    for item in train:
        by_class[item.label].append(item)
    first = [item for items in by_class.values() for item in items[: -(-len(items) // 2)]]
    spare = [item for items in by_class.values() for item in items[-(-len(items) // 2) :]]
    rng = random.Random(seed)  # noqa: S311 - CoOp's own generator, as for the other shots
    return sample_shots(first, shots, rng, repeat=True), spare


def replace_images(protocol: str, shots: list[Item], spare: list[Item], classes: int, rate: float, seed: int) -> list[Item]:
    """The images behind the given labels: item i of the result is labelled as `shots[i]` is.

    Of each class's k shots round(rate · k), a half rounding to even, give way. No image is shown twice while a class that may be
    drawn has another (the sources may repeat one within a class). A slot's image does not depend on the rate.

    Args:
        protocol: One that replaces images.
        shots: The shots of all classes.
        spare: The images that may replace them.
        classes: C.
        rate: Share of each class's shots, in [0, 1].
        seed: The run's seed.

    Raises:
        BenchError: No image may replace a shot of some class.
    """
    weights, rng = protocol_of(protocol).replaces, np.random.default_rng(derive(seed, "noise", protocol, "images"))
    assert weights is not None
    slots: dict[int, list[int]] = defaultdict(list)  # of each class, in random order
    for slot in rng.permutation(len(shots)):
        slots[shots[slot].label].append(int(slot))
    pool: list[list[Item]] = [[] for _ in range(classes)]
    for i in rng.permutation(len(spare)):
        pool[spare[i].label].append(spare[i])
    due = {label: count(rate, len(own), ROUND_HALF_EVEN) for label, own in slots.items()}
    sizes, shown, used = np.array([len(images) for images in pool]), np.zeros(classes, dtype=np.int64), list(shots)
    # All slots of a rank draw, due or not, so that the draws of a lower rate are the first ones of a higher.
    for rank, label in ((rank, label) for rank in range(max(due.values(), default=0)) for label in sorted(slots)):
        if rank >= len(slots[label]):
            continue
        odds = weights(np.maximum(sizes - shown, 0), label)
        odds = odds if odds.any() else weights(sizes, label)  # all shown: begin again
        if not odds.any():
            raise BenchError(
                f"'{protocol}' noise has no image to replace a shot of class {label} with.",
                "The classes it draws from need two training images each; or take a protocol that flips labels.",
            )
        source = int(np.searchsorted(odds.cumsum(), rng.integers(odds.sum()), side="right"))
        if rank < due[label]:
            used[slots[label][rank]] = pool[source][shown[source] % sizes[source]]
        shown[source] += 1
    return used
