"""Fields, hyper-parameters and modules that come later: what is stored stays what it is, and what differs never trains together."""

import json
import sys
from dataclasses import dataclass

import pytest
from pydantic import create_model

import bench.grid
from bench.engine.outcome import OWN, OWN_TRAIN, stack_key
from bench.grid import expand
from bench.plan import make_plan, versions_of
from bench.results import upkeep
from bench.spec import MethodSpec, RunSpec, TrainSpec, later
from methods import registry
from methods.base import later as later_parameter

Grown = create_model("Grown", __base__=TrainSpec, dropout=(float, later(0.0)))
GrownRun = create_model("GrownRun", __base__=RunSpec, train=(Grown | None, ...), ensemble=(int, later(1)))


@pytest.fixture
def grown(monkeypatch):
    """The next release, whose training has a field more, and whose runs have one more."""
    monkeypatch.setattr(bench.grid, "TrainSpec", Grown)
    monkeypatch.setattr(bench.grid, "RunSpec", GrownRun)


def test_a_field_added_later_leaves_stored_runs_what_they_are(filled, grid, grown):
    cells = make_plan(grid, filled).runs
    assert type(cells[0].spec) is GrownRun
    assert {type(cell.spec.train) for cell in cells} == {Grown, type(None)}
    assert {cell.state for cell in cells} == {"done", "failed"}
    assert upkeep.verify(filled) == []
    assert upkeep.superseded(filled) == []


def test_runs_that_use_a_later_field_are_new_and_train_apart(filled, grid, grown):
    using = grid.model_copy(update={"train": {"dropout": [0.0, 0.1]}})
    cells = [cell for cell in make_plan(using, filled).runs if cell.spec.train]
    assert {cell.state for cell in cells if cell.spec.train.dropout == 0} == {"done", "failed"}
    assert {cell.state for cell in cells if cell.spec.train.dropout > 0} == {"new"}
    plain, dropped = (next(c.spec for c in cells if c.spec.train.dropout == value) for value in (0.0, 0.1))
    assert stack_key(plain) != stack_key(dropped)
    assert stack_key(plain) != stack_key(plain.model_copy(update={"ensemble": 2}))


def changed(model, name: str):
    """The model with another value of a field."""
    value = getattr(model, name)
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, int):
        other = value + 1
    elif isinstance(value, float):
        other = value / 2
    elif isinstance(value, str):
        other = value + "x"
    else:
        other = MethodSpec(name="mae") if name == "method" else value.model_copy(update={"rate": 0.1})
    return model.model_copy(update={name: other})


def test_every_field_is_the_runs_own_or_part_of_the_stacks_key(grid):
    spec = next(spec for spec in expand(grid) if spec.train)
    assert set(RunSpec.model_fields) >= OWN
    assert set(TrainSpec.model_fields) >= OWN_TRAIN
    for name in set(RunSpec.model_fields) - {"train"}:
        assert (stack_key(changed(spec, name)) == stack_key(spec)) == (name in OWN), name
    for name in TrainSpec.model_fields:
        other = spec.model_copy(update={"train": changed(spec.train, name)})
        assert (stack_key(other) == stack_key(spec)) == (name in OWN_TRAIN), name


def test_a_hyper_parameter_added_later_leaves_the_ids_of_runs_without_it(grid, monkeypatch):
    cls = registry.load("gce")
    before = {spec.cell_id for spec in expand(grid)}
    grown = dataclass(type(cls.__name__, (cls,), {"momentum": later_parameter(0.0), "__annotations__": {"momentum": float}}))
    monkeypatch.setitem(registry._classes, "gce", grown)
    assert registry.create("gce").momentum == 0.0
    assert {spec.cell_id for spec in expand(grid)} == before
    used = grid.model_copy(update={"methods": [{"name": "gce", "momentum": [0.0, 0.5]}]})
    cells = expand(used)
    assert len({spec.cell_id for spec in cells}) == 16
    assert len({spec.cell_id for spec in cells} - before) == 8


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin that takes a number from a package of its own, which takes it from another file there."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_losses").mkdir()
    (tmp_path / "my_losses" / "__init__.py").write_text("from .numbers import Q\n")
    (tmp_path / "my_losses" / "numbers.py").write_text("import json\nQ = 0.5\n")
    (tmp_path / "my_losses" / "late.py").write_text("def loss(batch, q):\n    return -q * batch.log_p_y\n")
    (tmp_path / "my_losses" / "unused.py").write_text("")
    path = tmp_path / "grows.py"
    path.write_text(
        "import torch\nfrom my_losses import Q\nfrom methods.base import Method\nfrom methods.registry import register\n\n"
        '@register("grows")\nclass Grows(Method):\n    """Grows."""\n    q: float = Q\n\n'
        "    def loss(self, batch):\n        from my_losses import late\n        return late.loss(batch, self.q)\n"
    )
    registry.load_plugin(path)
    yield path
    registry._classes.pop("grows")
    for name in [name for name in sys.modules if name.startswith(("my_losses", "bench_plugin_grows"))]:
        del sys.modules[name]


def test_a_plugin_is_stale_when_a_module_of_its_own_changes_and_only_then(plugin, grid):
    """Also of a module that only the loss imports, so that a plan has not loaded it; and where it is another method's base."""
    specs = [
        expand(grid.model_copy(update={"methods": [entry]}))[0] for entry in ("grows", {"name": "clipcleaner", "base": "grows"})
    ]
    folder = plugin.parent / "my_losses"
    assert registry.sources("bench_plugin_grows") == [plugin, *(folder / f"{name}.py" for name in ("__init__", "late", "numbers"))]
    assert registry.sources("methods.gce") == []
    before = [versions_of(spec) for spec in specs]
    (folder / "unused.py").write_text("1\n")
    assert [versions_of(spec) for spec in specs] == before
    for name in ("numbers", "late"):
        (folder / f"{name}.py").write_text((folder / f"{name}.py").read_text() + "# edited\n")
        after = [versions_of(spec)["source"] for spec in specs]
        assert all(now != then["source"] for now, then in zip(after, before, strict=True))
        before = [versions_of(spec) for spec in specs]


@pytest.mark.parametrize("text", ["\ufeffX = 1\n".encode(), b"# -*- coding: latin-1 -*-\nX = '\xe9'\n", b"print 'two'\n"])
def test_modules_in_other_encodings_or_of_another_python_are_a_plugins_sources(plugin, text):
    (plugin.parent / "my_losses" / "late.py").write_bytes(text)
    assert plugin.parent / "my_losses" / "late.py" in registry.sources("bench_plugin_grows")


def test_what_was_stored_is_verified_by_itself(filled):
    """A record's id follows from what is written in it, so that no later default is read into it."""
    run_id = min(filled.done())
    record = json.loads((filled.runs / run_id / "record.json").read_text())
    assert set(record["spec"]) == set(RunSpec.model_fields) - {"from_shots"}, "a later field at its absent value is not written"
