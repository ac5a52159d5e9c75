"""The checks that train a method with the engine, on an embedded task out of the model's domain."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.check.cases import NotConforming
from bench.data.cards import load_card
from bench.data.load import load_data
from bench.data.task import RunData, task_digest
from bench.engine.arrays import Arrays
from bench.engine.backbone import load_backbone
from bench.engine.member import Member
from bench.engine.outcome import Outcome
from bench.engine.text import TextFeatures
from bench.engine.train import Stack
from bench.engine.zero_shot import zero_shot_of
from bench.grid import expand_methods
from bench.presets import PRESETS
from bench.spec import NoiseSpec, RunSpec
from methods import registry

DATASET, BACKBONE = "fashion_mnist", "embedded"  # tuning has much to gain there
CLEAN, NOISY = NoiseSpec(), NoiseSpec(protocol="symmetric", rate=0.25)
SHORT, LONG = 3, 15  # epochs
TOLERANCE = 1e-3  # of how far the context moves, between two ways of stacking, after SHORT epochs
GAIN = 20.0  # points above the random start that count as learning; cross entropy gains about three times as many

Alter = Callable[[RunData], RunData]


def spec_of(method: str, noise: NoiseSpec, epochs: int, seed: int = 1) -> RunSpec:
    """A short run of CoOp's protocol: 16 shots, 8 views, from random tokens, where there is most to learn."""
    train = PRESETS["coop50"].model_copy(update={"epochs": epochs})
    base = {"dataset": DATASET, "task": task_digest(DATASET), "backbone": BACKBONE, "views": 8, "shots": 16}
    return RunSpec(method=expand_methods([method])[0], noise=noise, seed=seed, train=train, **base)


def train(specs: Sequence[RunSpec], alter: Alter = lambda data: data) -> list[Outcome]:
    """Train runs as one stack, on data that `alter` may have changed, and keep the learned contexts.

    Raises:
        NotConforming: A run failed.
    """
    backbone, card = load_backbone(BACKBONE, "cpu"), load_card(DATASET)
    zero_shot = zero_shot_of(backbone, card)
    arrays = Arrays(zero_shot)
    members = [Member(spec, alter(data), arrays) for spec, data in zip(specs, load_data(specs, zero_shot), strict=True)]
    assert specs[0].train is not None
    features = TextFeatures(backbone, card.class_names, specs[0].train, card.templates[0])
    outcomes = Stack(members, features, None).run(keep_context=True)
    for outcome in outcomes:
        if outcome.status == "failed":
            raise NotConforming(f"{outcome.spec.method.name} on {DATASET}: the run fails with {outcome.error}")
    return outcomes


def context_of(outcome: Outcome) -> NDArray[np.float32]:
    """The learned context of a run that kept it."""
    assert outcome.context is not None
    return outcome.context


def check_same_seed(name: str) -> str:
    """Two trainings with one seed end in the same context, to the bit."""
    one, other = (context_of(train([spec_of(name, NOISY, SHORT)])[0]) for _ in range(2))
    if not np.array_equal(one, other):
        raise NotConforming("two trainings of one seed end in different contexts; draw from batch.generator and task.generator")
    return f"{SHORT} epochs on {DATASET}, twice: the same context to the bit"


def check_stacked(name: str) -> str:
    """A run trained beside others agrees with the run alone."""
    spec = spec_of(name, NOISY, SHORT)
    others = [spec_of("coop_ce", NOISY, SHORT, seed=2), spec_of("gce", NOISY, SHORT)]
    alone, stacked = context_of(train([spec])[0]), context_of(train([others[0], spec, others[1]])[1])
    moved = np.abs(alone - context_of(train([spec_of(name, NOISY, 1)])[0])).max()
    apart = np.abs(alone - stacked).max()
    if apart > TOLERANCE * moved:
        raise NotConforming(
            f"alone and beside two other runs its contexts end {apart:.1g} apart (it moves by {moved:.1g}); keep all state in the "
            "instance, and let no decision hang on the last digit of a float"
        )
    return f"{SHORT} epochs on {DATASET}, alone and stacked: contexts within {TOLERANCE:.0e} of what they move by"


def check_clean_labels(name: str) -> str:
    """Scrambled true labels leave the training as it is, to the bit, unless the method declares an oracle."""
    oracle = registry.load(name).oracle
    if oracle:
        return f"declares oracle = '{oracle}' and is kept out of rankings"

    def scramble(data: RunData) -> RunData:
        return replace(data, true=np.random.default_rng(0).permutation(data.true))

    spec = spec_of(name, NOISY, SHORT)
    kept, scrambled = (context_of(train([spec], alter)[0]) for alter in (lambda data: data, scramble))
    if not np.array_equal(kept, scrambled):
        raise NotConforming('the true labels change what it learns; that needs oracle = "labels" in the class')
    return f"{SHORT} epochs on {DATASET} with scrambled true labels: the same context to the bit"


def check_learns(name: str) -> str:
    """It learns where tuning gains much, from clean labels."""
    metrics = train([spec_of(name, CLEAN, LONG)])[0].metrics
    gain = metrics["accuracy"] - metrics["start"]
    seen = f"{DATASET}, {LONG} epochs, clean labels: {metrics['accuracy']:.1f} %, at the start {metrics['start']:.1f} %"
    excuse = registry.load(name).learns_little
    if gain < GAIN and not excuse:
        raise NotConforming(f"{seen}; it has to gain {GAIN:g} points, or say in `learns_little` why it cannot")
    return f"{seen} ({excuse})" if gain < GAIN else seen


TRAINING: dict[str, Callable[[str], str]] = {
    "same seed": check_same_seed,
    "alone and stacked": check_stacked,
    "clean labels unseen": check_clean_labels,
    "learns": check_learns,
}
