"""The simulated results as a fixture."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sim():
    spec = importlib.util.spec_from_file_location("reports_simulate", Path(__file__).with_name("simulate.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
