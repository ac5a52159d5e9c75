"""Two tiny datasets with features, a grid over them, and a fake engine that the worker processes can import."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.features import FeatureWriter
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner.record import build_record, files_of

HERE = Path(__file__).parent


def make_dataset(folder: Path, name: str, classes: int = 3, shots: int = 4, test: int = 6) -> Path:
    """A card with its split and random features of the "embedded" backbone."""
    rng = np.random.default_rng(0)
    parts = {"train": shots, "val": 2, "test": test}
    split = {
        part: [[f"{name}/{part}-{c}-{i}.png", c, f"class {c}"] for c in range(classes) for i in range(n)]
        for part, n in parts.items()
    }
    (folder / f"{name}.json").write_text(json.dumps(split))
    for part, items in split.items():
        views = 2 if part == "train" else 0
        writer = FeatureWriter(folder / "features" / name / "embedded" / part, {"name": name}, dim=4, views=views)
        writer.append([path for path, _, _ in items], rng.normal(size=(len(items), 1 + views, 4)))
        writer.commit()
    card = folder / f"{name}.toml"
    names = ", ".join(f'"class {c}"' for c in range(classes))
    card.write_text(
        f'name = "{name}"\ntitle = "{name}"\nclasses = [{names}]\ntemplates = ["a {{}}."]\n'
        f'split = "{name}.json"\nfeatures = "features/{name}"\ndomain = "in"\n'
    )
    return card


@pytest.fixture
def cards(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cards"
    folder.mkdir()
    return [str(make_dataset(folder, name)) for name in ("alpha", "beta")]


@pytest.fixture
def grid(cards: list[str]) -> Grid:
    """2 methods × 2 datasets × 2 rates × 2 seeds, and zero-shot on both: 18 runs."""
    return Grid(
        name="small",
        preset="demo",
        methods=["coop_ce", "gce", "zero_shot"],
        datasets=cards,
        noise={"symmetric": [0.0, 0.5]},
        views=2,
        shots=[2],
        seeds=[1, 2],
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """The module of fake engines, importable by its name here and in spawned workers (which copy sys.path)."""
    monkeypatch.syspath_prepend(str(HERE))
    import fake_engine

    yield fake_engine
    sys.modules.pop("fake_engine", None)


@pytest.fixture
def filled(grid: Grid, tmp_path: Path, fake) -> Store:
    """A store with all 18 runs of the grid, one of them failed, written without workers."""
    store = Store(tmp_path / "results")
    store.prepare()
    for number, cell in enumerate(make_plan(grid, store).runs):
        outcome = fake.outcome(cell.spec)
        if number == 0:
            outcome.status, outcome.error, outcome.traceback = "failed", "NaN loss", "Traceback …"
        files = {} if number == 0 else files_of(outcome, keep_context=False)
        store.write(build_record(cell, outcome, {"torch": "2"}, "logs/a.log"), files)
    return store
