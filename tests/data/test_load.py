"""Runs that are loaded together hold nothing twice."""

import numpy as np

from bench.data.load import load_data, load_run
from tests.data.test_task import animals, spec  # noqa: F401 - a fixture

NOISES = (("clean", 0.0), ("symmetric", 0.5), ("pairflip", 0.5), ("instance", 0.5))


def held(tasks):
    """Bytes of all features that the tasks keep alive, each array once, and a view as what it is a view of."""
    arrays = [array for task in tasks for array in (task.table, task.val, task.test)]
    whole = {id(array): array for array in (array if array.base is None else array.base for array in arrays)}
    return sum(array.nbytes for array in whole.values())


def bytes_of(draws, train, val, test, views, dim):
    """What draws of `train` distinct and `val` validation images cost: half precision where views make them many."""
    return draws * (train * (1 + views) * dim * 2 + val * dim * 4) + test * dim * 4


def test_features_are_held_once(animals):  # noqa: F811 - the fixture
    specs = [spec(*noise, seed=seed, method=method) for noise in NOISES for seed in (1, 2, 3) for method in ("x", "y")]
    tasks = load_data(specs)
    assert len({id(task) for task in tasks}) == len(NOISES) * 3  # methods share all
    assert len({id(task.rows) for task in tasks}) == 3  # noises share a draw
    distinct = len({path for task in tasks for path in task.paths})
    assert held(tasks) == bytes_of(1, distinct, 0, 21, 2, 16) + 3 * bytes_of(1, 0, 12, 0, 2, 16)
    for one, task in zip(map(load_run, specs), tasks, strict=True):
        assert np.array_equal(one.train, task.train)
        assert np.array_equal(one.given, task.given)
        assert np.array_equal(one.val, task.val)


def test_replacing_noises_add_rows(animals):  # noqa: F811 - the fixture
    clean, replaced = load_data([spec(), spec("fp_symmetric", 0.5)])
    assert clean.table is replaced.table
    assert len(clean.table) == len({*clean.paths, *replaced.paths}) > 12
    assert np.array_equal(replaced.train, load_run(spec("fp_symmetric", 0.5)).train)


def test_a_shard_of_imagenet_fits():
    """32 runs of three seeds at CoOp's protocol, with each draw's zero-shot logits, counted as above."""
    features = bytes_of(3, 16_000, 4_000, 50_000, 8, 512)
    logits = 3 * 16_000 * 1000 * 4
    assert features + logits < 1.5e9
