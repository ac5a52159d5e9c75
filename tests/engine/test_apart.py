"""A method that changes what is global in the process spoils no other run of its stack."""

import os
import random

import numpy as np
import pytest
import torch

from bench.engine.apart import SETTINGS
from methods.base import Method
from methods.registry import register
from tests.engine.conftest import make_member, make_spec, train


@pytest.fixture
def add(monkeypatch):
    """Register a method for one test."""
    from methods import registry

    for name in ("coop_ce", "gce"):
        registry.load(name)  # before the copy is made: a module registers only once
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    return register("bad_neighbour")


class Plain(Method):
    """Cross entropy."""

    def loss(self, batch):
        return -batch.log_p_y


def draw() -> list[float]:
    """A number of each global generator."""
    return [float(torch.rand(())), float(np.random.random()), random.random()]  # noqa: NPY002 - the global one is meant


def seed(number: int) -> None:
    """Seed all global generators."""
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002 - the global one is meant
    random.seed(number)


SPOILS = {
    "gradients": lambda: torch.set_grad_enabled(False),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "threads": lambda: torch.set_num_threads(2),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "deterministic": lambda: torch.use_deterministic_algorithms(mode=True),
    "numpy errors": lambda: np.seterr(all="raise"),
    "folder": lambda: os.chdir("/"),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_setting_is_as_it_was_for_the_neighbours(backbone, add, spoil):
    class Bad(Plain):
        """Spoils the process after its loss."""

        def loss(self, batch):
            found = super().loss(batch)
            spoil()
            return found

    add(Bad)
    before = [read() for read, _ in SETTINGS]
    specs = [make_spec("coop_ce"), make_spec("bad_neighbour"), make_spec("gce", q=0.7)]
    (alone,) = train(backbone, make_member(backbone, specs[2]))
    first, bad, last = train(backbone, *(make_member(backbone, spec) for spec in specs))
    assert [read() for read, _ in SETTINGS] == before
    assert (first.status, last.status) == ("done", "done")
    assert np.abs(last.context - alone.context).max() < 1e-5
    # Who turns gradients off in the loss has none; everything else is even good for the run itself.
    assert bad.status == ("failed" if spoil is SPOILS["gradients"] else "done"), bad.error


def test_global_random_numbers_are_every_runs_own(backbone, add):
    """What a run draws does not depend on who trains beside it, differs by seed, and nobody outside notices."""
    drawn: dict[int, list[float]] = {}

    class Draws(Plain):
        """Draws from all global generators."""

        def loss(self, batch):
            drawn.setdefault(id(self), []).extend(draw())
            return super().loss(batch)

    class Reseeds(Draws):
        """Seeds them on top."""

        def loss(self, batch):
            seed(0)
            return super().loss(batch)

    add(Draws)
    register("reseeds")(Reseeds)

    def draws_of(*specs):
        drawn.clear()
        members = [make_member(backbone, spec) for spec in specs]
        train(backbone, *members)
        return [drawn[id(member.method)] for member in members]

    seed(1)
    expected = draw()
    seed(1)
    (alone,) = draws_of(make_spec("bad_neighbour"))
    assert draw() == expected
    beside, _, other = draws_of(make_spec("bad_neighbour"), make_spec("reseeds"), make_spec("bad_neighbour", seed=2))
    assert beside == alone
    assert set(alone).isdisjoint(other)
    assert len(set(alone)) == len(alone)


@pytest.mark.parametrize(
    ("shape", "ok"), [("per sample", True), ("scalar", True), ("[B, C]", False), ("[B - 1]", False), ("[1]", False)]
)
def test_a_loss_of_another_shape_fails_the_run(backbone, add, shape, ok):
    class Shaped(Plain):
        """Gives a loss of some shape."""

        def loss(self, batch):
            plain = super().loss(batch)
            return {"per sample": plain, "scalar": plain.mean(), "[B, C]": -batch.log_p, "[B - 1]": plain[1:],
                    "[1]": plain[:1]}[shape]  # fmt: skip

    add(Shaped)
    (outcome,) = train(backbone, make_member(backbone, make_spec("bad_neighbour")))
    assert (outcome.status == "done") == ok
    assert ok or "it is [B] or a scalar" in outcome.error


def test_an_exit_in_a_loss_is_that_runs_failure(backbone, add):
    class Exits(Plain):
        """Leaves."""

        def loss(self, batch):
            raise SystemExit(0)

    add(Exits)
    good, bad = train(backbone, *(make_member(backbone, make_spec(name)) for name in ("coop_ce", "bad_neighbour")))
    assert (good.status, bad.status, bad.error) == ("done", "failed", "SystemExit: 0")
