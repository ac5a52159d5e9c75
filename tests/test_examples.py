"""The examples in docstrings do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = ("bench.results.frame", "methods.base", "methods.registry", "reports.analysis", "reports.board", "reports.comparison",
           "reports.premise", "reports.sentences")  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
