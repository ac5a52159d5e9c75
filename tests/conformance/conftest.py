"""A registry that a test may add to."""

import pytest

from methods import registry


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    for name in registry.names():
        registry.load(name)  # before the copy is made: a module registers only once
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
