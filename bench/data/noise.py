"""Label noise, as named protocols. Each is a pure function of the true labels, the rate and a seed.

Wrong labels are nested over rates: a seed fixes one order of the samples and one wrong class per sample, and a higher rate takes
more of that order. So a method's curve over rates shows the rate, not the luck of another draw.

| protocol | what it does |
|---|---|
| `symmetric` | ⌊r·N⌋ samples flip to one of the other C - 1 classes, uniformly |
| `pairflip` | ⌊r·N⌋ samples flip to the next class, y → y + 1 mod C |
| `symmetric_with_self` | ⌊r·N⌋ samples get any class, their own too: the true rate is r (1 - 1/C) |
| `fp_symmetric`, `fp_pairflip` | of each class's k samples, round(r·k) are replaced by images of other classes (the next class) |
| `instance` | a sample's flip depends on its features (Xia et al., NeurIPS 2020) |
| `confusion` | ⌊r·N⌋ samples, those the zero-shot model doubts first, flip to a class it confuses them with |
| `human` | ⌊r·N⌋ samples get the label people gave them; `human:<set>` names one of several sets of labels |
"""

from collections import defaultdict
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import truncnorm

from bench.data.splits import Item
from bench.errors import BenchError, nearest
from bench.seeds import derive

Labels = NDArray[np.int64]
Floats = NDArray[np.floating]
Array = TypeVar("Array", bound=NDArray[Any])

REPLACING = ("fp_symmetric", "fp_pairflip")
PROTOCOLS = ("clean", "symmetric", "pairflip", "symmetric_with_self", *REPLACING, "instance", "confusion", "human")
SPREAD = 0.1  # standard deviation of the flip probabilities of `instance`, as published


def kind(protocol: str) -> str:
    """The protocol's name without the set of human labels: "human:worse_label" is of the kind "human".

    Raises:
        BenchError: No protocol is called that.
    """
    name, colon, _ = protocol.partition(":")
    if name not in PROTOCOLS or (colon and name != "human"):
        raise BenchError(f"no noise protocol is called '{protocol}'.", nearest(protocol, PROTOCOLS))
    return name


def count(rate: float, total: int, rounding: str = ROUND_FLOOR) -> int:
    """⌊rate · total⌋ on decimals: int(0.29 * 100) is 28 in floating point."""
    return int((Decimal(str(rate)) * total).to_integral_value(rounding))


def make_noise(
    protocol: str,
    true: Labels,
    classes: int,
    rate: float,
    seed: int,
    part: str = "train",
    *,
    features: Floats | None = None,
    zero_shot: Floats | None = None,
    human: Labels | None = None,
) -> Labels:
    """The given labels of a training set.

    The protocols that replace images keep the given labels and change the images (`replace_images`). Asked for labels, as for
    validation shots, they flip round(r·k) of each class's k labels instead.

    Args:
        protocol: One of `PROTOCOLS`, or "human:<set>".
        true: True labels [N].
        classes: C.
        rate: Nominal share of wrong labels, in [0, 1]. `realised_rate` tells what came out.
        seed: The run's seed.
        part: Which labels these are ("train" or "val"); their draws are independent.
        features: Clean-view features [N, D], L2-normalised; for "instance".
        zero_shot: Logits of the zero-shot model [N, C]; for "confusion".
        human: What people called each sample [N]; for "human".

    Raises:
        BenchError: Unknown protocol, a rate outside [0, 1], an input missing, or one class only, so that nothing can flip.
    """
    name = kind(protocol)
    if not 0 <= rate <= 1:
        raise BenchError(f"noise rate {rate} is outside [0, 1].", "Rates are shares, such as 0.25.")
    if name == "clean" or rate == 0 or not len(true):
        return true.copy()
    if classes < 2:
        raise BenchError(f"'{protocol}' noise needs at least two classes; the dataset has {classes}.")
    rng = np.random.default_rng(derive(seed, "noise", protocol, part))
    if name == "instance":
        return _instance(true, classes, rate, rng, _needed(features, protocol, "features"))
    if name == "confusion":
        order, wrong = _confusion(true, rng, _needed(zero_shot, protocol, "the zero-shot model's logits"))
    elif name == "human":
        order, wrong = rng.permutation(len(true)), _needed(human, protocol, "a file of human labels")
    else:
        order = rng.permutation(len(true))
        wrong = _wrong_class(name, true, classes, rng)
    flips = _first_of_each_class(order, true, rate) if name in REPLACING else order[: count(rate, len(true))]
    given = true.copy()
    given[flips] = wrong[flips]
    return given


def _needed(value: Array | None, protocol: str, what: str) -> Array:
    if value is None:
        raise BenchError(f"'{protocol}' noise needs {what}.")
    return value


def _wrong_class(name: str, true: Labels, classes: int, rng: np.random.Generator) -> Labels:
    """The class each sample gets if it flips."""
    if name in ("pairflip", "fp_pairflip"):
        return (true + 1) % classes
    if name == "symmetric_with_self":
        return rng.integers(0, classes, size=len(true))
    return (true + rng.integers(1, classes, size=len(true))) % classes


def _first_of_each_class(order: Labels, true: Labels, rate: float) -> Labels:
    """The first round(r·k) of each class's k samples in a given order; a half rounds to the even number."""
    members: dict[int, list[int]] = defaultdict(list)
    for sample in order:
        members[int(true[sample])].append(int(sample))
    return np.array([i for m in members.values() for i in m[: count(rate, len(m), ROUND_HALF_EVEN)]], dtype=np.int64)


def _instance(true: Labels, classes: int, rate: float, rng: np.random.Generator, features: Floats) -> Labels:
    """Feature-dependent flips: probability q ~ N(r, .1²) on [0, 1]; the wrong class from softmax(x W_y), W_y ~ N(0, 1) [D, C].

    The features are scaled to a root mean square of 1 per dimension, as the published code's standardised pixels are. With the
    quantile of q, the flip's threshold and the Gumbel noise fixed per sample, a higher rate flips a superset.
    """
    quantile, threshold = rng.uniform(size=(2, len(true)))
    flip = threshold < truncnorm.ppf(quantile, -rate / SPREAD, (1 - rate) / SPREAD, loc=rate, scale=SPREAD)
    gumbel = rng.gumbel(size=(len(true), classes))
    projections = rng.integers(0, 2**63, size=classes)
    given, scale = true.copy(), np.sqrt(features.shape[1])
    for label in np.unique(true[flip]):
        rows = np.flatnonzero(flip & (true == label))
        projection = np.random.default_rng(projections[label]).standard_normal((features.shape[1], classes), dtype=np.float32)
        scores = scale * features[rows] @ projection + gumbel[rows]
        scores[:, label] = -np.inf
        given[rows] = scores.argmax(1)
    return given


def _confusion(true: Labels, rng: np.random.Generator, logits: Floats) -> tuple[Labels, Labels]:
    """The order of flips and the wrong classes of a zero-shot annotator.

    Samples come in the order of a draw without replacement weighted by 1 - p(true class) (Efraimidis & Spirakis, 2006), and the
    wrong class is drawn from the model's probabilities over the other classes.
    """
    rows = np.arange(len(true))
    doubt = np.maximum(1 - softmax(logits.astype(np.float64), axis=1)[rows, true], 1e-9)
    order = np.argsort(rng.exponential(size=len(true)) / doubt, kind="stable")
    scores = logits + rng.gumbel(size=logits.shape)
    scores[rows, true] = -np.inf
    return order, scores.argmax(1)


def replace_images(protocol: str, shots: list[Item], train: list[Item], classes: int, rate: float, seed: int) -> list[Item]:
    """The images behind the given labels under a replacing protocol: item i of the result is labelled as `shots[i]` is.

    Of each class's k shots round(r·k) (a half rounds to even) give way to images of other classes ("fp_symmetric": of a uniform
    other class; "fp_pairflip": of the next), none twice and none of the sampled shots. So the given labels stay balanced and
    every class has the same rate. PTNL (Wu et al., ICCV 2023).

    Raises:
        BenchError: The training split has too few images beside the shots.
    """
    rng = np.random.default_rng(derive(seed, "noise", protocol, "images"))
    order = rng.permutation(len(shots))
    pool = _pool(shots, train, rng)
    sizes: dict[int, int] = defaultdict(int)
    ranked = []
    for slot in order:
        label = shots[slot].label
        ranked.append((sizes[label], int(slot)))
        sizes[label] += 1
    due = {label: count(rate, size, ROUND_HALF_EVEN) for label, size in sizes.items()}
    used = list(shots)
    # Class by class in turn and for all slots alike, so that a slot's replacement does not depend on the rate.
    for rank, slot in sorted(ranked, key=lambda pair: pair[0]):
        if rank >= max(due.values()):
            break
        label = shots[slot].label
        others = [(label + 1) % classes] if protocol == "fp_pairflip" else list(pool)
        others = [other for other in others if other != label and pool.get(other)]
        if others:
            replacement = pool[others[int(rng.integers(len(others)))]].pop()
            used[slot] = replacement if rank < due[label] else used[slot]
        elif rank < due[label]:
            raise BenchError(
                f"'{protocol}' at rate {rate} needs more images to replace shots of class {label} than the split has.",
                "Take fewer shots, a lower rate, or a protocol that flips labels (symmetric, pairflip).",
            )
    return used


def _pool(shots: list[Item], train: list[Item], rng: np.random.Generator) -> dict[int, list[Item]]:
    """The training images beside the shots, by class, each class shuffled."""
    taken, pool = set(shots), defaultdict(list)
    for item in train:
        if item not in taken:
            pool[item.label].append(item)
    return {label: [pool[label][i] for i in rng.permutation(len(pool[label]))] for label in sorted(pool)}


def realised_rate(given: Labels, true: Labels) -> float:
    """The share of labels that are wrong; 0 where there are none."""
    return float(np.mean(given != true)) if len(true) else 0.0


def identifiable(protocol: str, rate: float, classes: int) -> bool:
    """Whether the true class stays the most likely given label; where not, no method can tell it from the labels alone.

    Where the wrong class is the same for all of a class ("pairflip") or may be so for like images ("instance", "confusion"), that
    takes a rate below 1/2. People's labels are taken as they are: the true class leads in all 10 classes of CIFAR-10N and in 97 of
    CIFAR-100N's 100.
    """
    limits = {"clean": 2.0, "human": 2.0, "symmetric": 1 - 1 / classes, "fp_symmetric": 1 - 1 / classes, "symmetric_with_self": 1.0}
    return rate < limits.get(kind(protocol), 0.5)
