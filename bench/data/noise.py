"""Label noise, as named protocols. Each is a pure function of the true labels, the rate and a seed.

Wrong labels are nested over rates: a seed fixes one order of the samples and one wrong class per sample, and a higher rate takes
more of that order. So a method's curve over rates shows the rate, not the luck of another draw.

| protocol | what it does |
|---|---|
| `symmetric` | ⌊r·N⌋ samples flip to one of the other C - 1 classes, uniformly |
| `pairflip` | ⌊r·N⌋ samples flip to the next class, y → y + 1 mod C |
| `symmetric_with_self` | ⌊r·N⌋ samples get any class, their own too: the true rate is r (1 - 1/C) |
| `fp_symmetric` | of each class's k shots, round(r·k) are replaced by false positives, drawn over all images of other classes |
| `fp_even` | the same, drawn over the other classes first: ours, each of them is as likely, however many images it has |
| `fp_pairflip` | the same, drawn from the next class |
| `instance` | a sample's flip depends on its features (Xia et al., NeurIPS 2020) |
| `confusion` | ⌊r·N⌋ samples, those the zero-shot model doubts first, flip to a class it confuses them with |
| `human` | ⌊r·N⌋ samples get the label people gave them; `human:<set>` names one of several sets of labels |

The protocols `fp_*` are those of PTNL (Wu et al., ICCV 2023) and JoAPR (Guo & Gu, CVPR 2024): given labels stay balanced and every
class has the same rate. Shots and false positives come from separate halves of each class (`bench.data.replaced`), so a seed's
shots are not the images that it draws under the other protocols. Validation labels, of which a class has too few for a share of its
own, flip instead: ⌊r·N⌋ of all. The labels of `instance` and `confusion` depend on the backbone, whose features or zero-shot
predictions they follow: accuracies under them do not compare across backbones.
"""

from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, nearest
from bench.seeds import derive

Labels = NDArray[np.int64]
Floats = NDArray[np.floating]

SPREAD = 0.1  # standard deviation of the flip probabilities of `instance`, as published


class Known(NamedTuple):
    """What a protocol may look at."""

    true: Labels  # [N]
    classes: int
    rate: float
    features: Floats | None  # [N, D] of the clean view, L2-normalised
    zero_shot: Floats | None  # [N, C] logits of the zero-shot model
    human: Labels | None  # [N] what people called each sample


NEEDS = {"features": "features", "zero_shot": "the zero-shot model's logits", "human": "a file of human labels"}


class Protocol(NamedTuple):
    """A noise protocol: one entry of `PROTOCOLS`."""

    draw: Callable[[Known, np.random.Generator], Labels]  # the given labels [N]
    limit: Callable[[int], float]  # of C: below this rate the true class stays the most likely given label
    needs: Literal["features", "zero_shot", "human"] | None = None  # which field of `Known`, beside the true labels
    # Where images are replaced instead of labels: how likely the image that replaces a shot is to come from each class, [C], given
    # the images that each class has left [C] and the shot's class.
    replaces: Callable[[Labels, int], Labels] | None = None


def kind(protocol: str) -> str:
    """The protocol's name without the set of human labels: "human:worse_label" is of the kind "human".

    Raises:
        BenchError: No protocol is called that.
    """
    name = protocol.partition(":")[0]
    if name not in PROTOCOLS or name not in {protocol, "human"}:
        raise BenchError(f"no noise protocol is called '{protocol}'.", nearest(protocol, PROTOCOLS))
    return name


def label_set(protocol: str) -> str:
    """The set of human labels that a protocol names: "worse_label" of "human:worse_label"; "" where it names none."""
    return protocol.partition(":")[2]


def protocol_of(name: str) -> Protocol:
    """The entry of a protocol's name.

    Raises:
        BenchError: No protocol is called that.
    """
    return PROTOCOLS[kind(name)]


def check_rate(protocol: str, rate: float) -> None:
    """Whether a protocol can have a rate.

    Raises:
        BenchError: No protocol is called that, the rate is no share, or "clean" is asked to be noisy.
    """
    clean = kind(protocol) == "clean"
    if not 0 <= rate <= 1:
        raise BenchError(f"[noise] {protocol}: rate {rate} is outside [0, 1].", "Rates are shares, such as 0.25.")
    if clean and rate > 0:
        raise BenchError(f"[noise] clean: the rate {rate} needs a protocol of its own.", "Name one, such as symmetric.")


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

    The protocols that replace training images keep the given labels and change the images (`replace_images`). Asked for labels, as
    for validation shots, they flip ⌊rate · N⌋ of all of them, whatever their class.

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
        BenchError: Unknown protocol, an impossible rate, an input missing, or one class only, so that nothing can flip.
    """
    check_rate(protocol, rate)
    entry, known = protocol_of(protocol), Known(true, classes, rate, features, zero_shot, human)
    if rate == 0 or not len(true):
        return true.copy()
    if classes < 2:
        raise BenchError(f"'{protocol}' noise needs at least two classes; the dataset has {classes}.")
    if entry.needs and getattr(known, entry.needs) is None:
        raise BenchError(f"'{protocol}' noise needs {NEEDS[entry.needs]}.")
    return entry.draw(known, np.random.default_rng(derive(seed, "noise", protocol, part)))


def _flip(known: Known, order: Labels, wrong: Labels) -> Labels:
    """The true labels, the first ⌊rate · N⌋ in an order [N] of the samples replaced by their wrong ones [N]."""
    flips, given = order[: count(known.rate, len(known.true))], known.true.copy()
    given[flips] = wrong[flips]
    return given


def _clean(known: Known, _: np.random.Generator) -> Labels:
    return known.true.copy()


def _symmetric(known: Known, rng: np.random.Generator) -> Labels:
    order, step = rng.permutation(len(known.true)), rng.integers(1, known.classes, size=len(known.true))
    return _flip(known, order, (known.true + step) % known.classes)


def _pairflip(known: Known, rng: np.random.Generator) -> Labels:
    return _flip(known, rng.permutation(len(known.true)), (known.true + 1) % known.classes)


def _symmetric_with_self(known: Known, rng: np.random.Generator) -> Labels:
    return _flip(known, rng.permutation(len(known.true)), rng.integers(0, known.classes, size=len(known.true)))


def _human(known: Known, rng: np.random.Generator) -> Labels:
    assert known.human is not None
    return _flip(known, rng.permutation(len(known.true)), known.human)


def _instance(known: Known, rng: np.random.Generator) -> Labels:
    """Feature-dependent flips: probability q ~ N(r, .1²) on [0, 1]; the wrong class from softmax(x W_y), W_y ~ N(0, 1) [D, C].

    The features are scaled to a root mean square of 1 per dimension, as the published code's standardised pixels are. With the
    quantile of q, the flip's threshold and the Gumbel noise fixed per sample, a higher rate flips a superset.
    """
    from scipy.stats import truncnorm  # noqa: PLC0415 - takes a second, and a plan needs none of it

    true, features, rate = known.true, known.features, known.rate
    assert features is not None
    quantile, threshold = rng.uniform(size=(2, len(true)))
    flip = threshold < truncnorm.ppf(quantile, -rate / SPREAD, (1 - rate) / SPREAD, loc=rate, scale=SPREAD)
    gumbel = rng.gumbel(size=(len(true), known.classes))
    projections = rng.integers(0, 2**63, size=known.classes)
    given, scale = true.copy(), np.sqrt(features.shape[1])
    for label in np.unique(true[flip]):
        rows, shape = np.flatnonzero(flip & (true == label)), (features.shape[1], known.classes)
        projection = np.random.default_rng(projections[label]).standard_normal(shape, dtype=np.float32)
        scores = scale * features[rows] @ projection + gumbel[rows]
        scores[:, label] = -np.inf
        given[rows] = scores.argmax(1)
    return given


def _confusion(known: Known, rng: np.random.Generator) -> Labels:
    """The flips of a zero-shot annotator.

    Samples come in the order of a draw without replacement weighted by 1 - p(true class) (Efraimidis & Spirakis, 2006), and the
    wrong class is drawn from the model's probabilities over the other classes.
    """
    from scipy.special import softmax  # noqa: PLC0415 - as above

    logits, rows = known.zero_shot, np.arange(len(known.true))
    assert logits is not None
    doubt = np.maximum(1 - softmax(logits.astype(np.float64), axis=1)[rows, known.true], 1e-9)
    order = np.argsort(rng.exponential(size=len(rows)) / doubt, kind="stable")
    scores = logits + rng.gumbel(size=logits.shape)
    scores[rows, known.true] = -np.inf
    return _flip(known, order, scores.argmax(1))


def _other_images(left: Labels, label: int) -> Labels:
    """Every image of another class is as likely, as in the sources."""
    return np.where(np.arange(len(left)) == label, 0, left)


def _other_classes(left: Labels, label: int) -> Labels:
    """Every other class is as likely, however many images it has."""
    return np.sign(_other_images(left, label))


def _next_class(left: Labels, label: int) -> Labels:
    return np.where(np.arange(len(left)) == (label + 1) % len(left), left, 0)


def _never(_: int) -> float:
    """No rate is too high: the labels are taken as they are."""
    return 2.0


def _uniform(classes: int) -> float:
    """Where the wrong class is drawn uniformly the true one leads while 1 - r > r / (C - 1)."""
    return 1 - 1 / classes


def _half(_: int) -> float:
    """Where the wrong class is, or for like images may be, the same for all of a class."""
    return 0.5


PROTOCOLS = {
    "clean": Protocol(_clean, _never),
    "symmetric": Protocol(_symmetric, _uniform),
    "pairflip": Protocol(_pairflip, _half),
    "symmetric_with_self": Protocol(_symmetric_with_self, lambda _: 1.0),
    "fp_symmetric": Protocol(_symmetric, _uniform, replaces=_other_images),
    "fp_even": Protocol(_symmetric, _uniform, replaces=_other_classes),
    "fp_pairflip": Protocol(_pairflip, _half, replaces=_next_class),
    "instance": Protocol(_instance, _half, needs="features"),
    "confusion": Protocol(_confusion, _half, needs="zero_shot"),
    # People's true class leads in all 10 classes of CIFAR-10N and in 97 of CIFAR-100N's 100.
    "human": Protocol(_human, _never, needs="human"),
}


def realised_rate(given: Labels, true: Labels) -> float:
    """The share of labels that are wrong; 0 where there are none."""
    return float(np.mean(given != true)) if len(true) else 0.0


def identifiable(protocol: str, rate: float, classes: int) -> bool:
    """Whether the true class stays the most likely given label; where not, no method can tell it from the labels alone."""
    return rate < protocol_of(protocol).limit(classes)
