"""The checks that train a method with the engine, on an embedded task out of the model's domain."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args

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
from bench.engine.train import train_members
from bench.engine.zero_shot import zero_shot_of
from bench.errors import BenchError
from bench.grid import expand_methods
from bench.plan import versions_of
from bench.presets import PRESETS
from bench.spec import NoiseSpec, RunSpec, Tunes
from methods import registry
from methods.base import Method

DATASET, BACKBONE = "fashion_mnist", "embedded"  # tuning has much to gain there
CLEAN, NOISY = NoiseSpec(), NoiseSpec(protocol="symmetric", rate=0.25)
SHORT, LONG = 3, 15  # epochs
TOLERANCE = 1e-3  # of how far the context moves, between two ways of stacking, after SHORT epochs
GAIN = 20.0  # points above the random start (or zero-shot, where nothing trains) that count as learning; CE gains three times that

Alter = Callable[[RunData], RunData]


def spec_of(method: str, noise: NoiseSpec, epochs: int, seed: int = 1, tunes: Tunes = "prompt") -> RunSpec:
    """A short run of CoOp's protocol: 16 shots, 8 views, a prompt from random tokens, where there is most to learn."""
    trains = registry.load(method).train
    train = PRESETS["coop50"].model_copy(update={"epochs": epochs}) if trains else None
    base = {"dataset": DATASET, "task": task_digest(DATASET), "backbone": BACKBONE, "views": 8, "shots": 16}
    spec = expand_methods([{"name": method, "tunes": tunes}])[0]
    return RunSpec(method=spec, noise=noise, seed=seed, train=train, from_shots=not trains, **base)


def train(specs: Sequence[RunSpec], alter: Alter = lambda data: data) -> list[Outcome]:
    """Train runs as one stack, on data that `alter` may have changed, and keep what they learn.

    Raises:
        NotConforming: A run failed.
    """
    backbone, card = load_backbone(BACKBONE, "cpu"), load_card(DATASET)
    zero_shot = zero_shot_of(backbone, card)
    arrays = Arrays(zero_shot)
    members = [Member(spec, alter(data), arrays) for spec, data in zip(specs, load_data(specs, zero_shot), strict=True)]
    outcomes = train_members(backbone, members, keep_context=True)
    for outcome in outcomes:
        if outcome.status == "failed":
            raise NotConforming(f"{outcome.spec.method.name} on {DATASET}: the run fails with {outcome.error}")
    return outcomes


def left_by(outcome: Outcome) -> NDArray[Any]:
    """What a run has learned; of one that trains nothing, what it predicts."""
    left = outcome.predictions if outcome.spec.train is None else outcome.context
    assert left is not None
    return left


def _alone(method: type[Method], tunes: Tunes) -> NDArray[Any]:
    """What a method's run with seed 1 leaves when it is trained alone: what the checks compare with."""
    return left_by(train([spec_of(method.name, NOISY, SHORT, tunes=tunes)])[0])


alone: Callable[[type[Method], Tunes], NDArray[Any]] = lru_cache(1)(_alone)  # type: ignore[assignment]  # a dataclass's type is hashable


def check_same_seed(name: str) -> str:
    """Two trainings with one seed end in the same context, to the bit."""
    one, other = alone(registry.load(name), "prompt"), left_by(train([spec_of(name, NOISY, SHORT)])[0])
    if not np.array_equal(one, other):
        raise NotConforming("two trainings of one seed end in different contexts; draw from batch.generator and task.generator")
    return f"{SHORT} epochs on {DATASET}, twice: the same context to the bit"


def check_stacked(name: str, tunes: Tunes = "prompt") -> str:
    """A run trained beside others, one of its own method among them, agrees with the run alone."""
    spec = spec_of(name, NOISY, SHORT, tunes=tunes)
    others = [spec_of("coop_ce", NOISY, SHORT, 2, tunes), spec_of(name, NOISY, SHORT, 2, tunes)]
    single, stacked = alone(registry.load(name), tunes), left_by(train([others[0], spec, others[1]])[1])
    moved = np.abs(single - left_by(train([spec_of(name, NOISY, 1, tunes=tunes)])[0])).max()
    apart = np.abs(single - stacked).max()
    if not apart <= TOLERANCE * moved or moved == 0:
        raise NotConforming(
            f"alone and beside two other runs its {tunes}s end {apart:.1g} apart (they move by {moved:.1g}); keep all state in the "
            "instance, and let no decision hang on the last digit of a float"
        )
    return f"{SHORT} epochs on {DATASET}, alone and stacked: {tunes}s within {TOLERANCE:.0e} of what they move by"


def check_learners(name: str) -> str:
    """What holds of prompts stacked holds of all else that may be tuned; what it cannot tune a plan refuses."""
    refused = []
    for tunes in get_args(Tunes)[1:]:
        try:
            versions_of(spec_of(name, NOISY, SHORT, tunes=tunes))
        except BenchError:
            refused.append(tunes)
            continue
        check_stacked(name, tunes)
    tuned = ", ".join(tunes for tunes in get_args(Tunes)[1:] if tunes not in refused)
    return f"alone and stacked: {tuned}" + (f"; refused by a plan: {', '.join(refused)}" if refused else "")


def check_clean_labels(name: str) -> str:
    """Scrambled true labels leave the training as it is, to the bit, unless the method declares an oracle."""
    oracle = registry.load(name).oracle
    if oracle:
        return f"declares oracle = '{oracle}' and is kept out of rankings"

    def scramble(data: RunData) -> RunData:
        return replace(data, true=np.random.default_rng(0).permutation(data.true))

    scrambled = left_by(train([spec_of(name, NOISY, SHORT)], scramble)[0])
    if not np.array_equal(alone(registry.load(name), "prompt"), scrambled):
        raise NotConforming('the true labels change what it learns; that needs oracle = "labels" in the class')
    return f"{SHORT} epochs on {DATASET} with scrambled true labels: the same context to the bit"


def check_learns(name: str) -> str:
    """It learns where tuning gains much, from clean labels."""
    metrics = train([spec_of(name, CLEAN, LONG)])[0].metrics
    start = metrics["start" if registry.load(name).train else "zero_shot"]
    gain = metrics["accuracy"] - start
    seen = f"{DATASET}, {LONG} epochs, clean labels: {metrics['accuracy']:.1f} %, at the start {start:.1f} %"
    excuse = registry.load(name).learns_little
    if gain < GAIN and not excuse:
        raise NotConforming(f"{seen}; it has to gain {GAIN:g} points, or say in `learns_little` why it cannot")
    return f"{seen} ({excuse})" if gain < GAIN else seen


TRAINING: dict[str, Callable[[str], str]] = {
    "same seed": check_same_seed,
    "alone and stacked": check_stacked,
    "learners": check_learners,
    "clean labels unseen": check_clean_labels,
    "learns": check_learns,
}
OF_SHOTS = ("same seed", "clean labels unseen", "learns")  # of these, what is asked of a method that learns from shots untrained
