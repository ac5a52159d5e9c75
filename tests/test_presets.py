"""Presets: what the papers' scripts say, what they set of a method, and how a run comes by its preset's name."""

import pytest

from bench.grid import Grid, expand, expand_methods
from bench.presets import PARAMS, PRESETS, title_of
from bench.spec import TrainSpec
from methods import registry


def test_papers_protocols_are_those_of_their_scripts():
    """Read in the configurations that the public scripts name: MAX_EPOCH and LR of rn50.yaml, rn50.yaml and ViT_B_32_ep50.yaml."""
    assert {name: (PRESETS[name].epochs, PRESETS[name].lr) for name in ("nlprompt", "joapr", "ptnl")} == {
        "nlprompt": (200, 0.002),
        "joapr": (200, 0.002),
        "ptnl": (50, 0.002),
    }


def test_a_preset_sets_its_papers_hyper_parameters_where_the_grid_leaves_them_open():
    assert registry.defaults("gce") == {"q": 0.7}  # of the loss's own paper
    for preset, entry, expected in (
        ("coop50", "gce", [0.7]),
        ("ptnl", "gce", [0.5]),
        ("nlprompt", "gc*", [0.5]),
        ("ptnl", {"name": "gce", "q": [0.3, 0.7]}, [0.3, 0.7]),
    ):
        assert [spec.params["q"] for spec in expand_methods([entry], preset)] == expected
    composed = [{"name": "clipcleaner", "base": base} for base in ("gce", {"name": "gce", "q": 0.3}, "sce")]
    assert [spec.params["base"].get("q") for spec in expand_methods(composed, "ptnl")] == [0.5, 0.3, None]
    grid = Grid(preset="ptnl", methods=["gce", "coop_ce"], datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1])
    assert {spec.method.name: spec.method.params for spec in expand(grid)} == {"gce": {"q": 0.5}, "coop_ce": {}}


def test_what_presets_set_of_methods_exists():
    for preset, chosen in PARAMS.items():
        assert preset in PRESETS
        for method, params in chosen.items():
            assert set(params) <= set(registry.defaults(method))


@pytest.mark.parametrize("name", PRESETS)
def test_a_run_is_called_after_the_first_preset_that_it_equals(name):
    equal = [other for other in PRESETS if PRESETS[other] == PRESETS[name]]
    assert title_of(PRESETS[name]) == equal[0]


def test_other_runs_are_called_after_the_nearest_preset():
    assert title_of(TrainSpec(epochs=50, lr=0.01)) == "coop50, lr=0.01"
    assert title_of(TrainSpec(epochs=200, lr=0.01, batch_size=64)) == "coop200, lr=0.01, batch_size=64"
    assert title_of(PRESETS["embedded"].model_copy(update={"momentum": 0.5})) == "embedded, momentum=0.5"
    assert title_of(None) == ""
