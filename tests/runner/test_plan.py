"""What a plan says of every cell, and how it makes shards."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

import bench.plan
from bench.data.cards import load_card
from bench.data.task import cached_human, human_labels
from bench.engine.outcome import stack_key
from bench.files import write_text
from bench.grid import Grid
from bench.naming import cell_text, method_label
from bench.plan import describe, make_plan, run_steps
from bench.results.store import Store
from bench.spec import NoiseSpec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.prepare()
    return store


def finish(store: Store, cell, status: str = "done") -> None:
    spec = cell.spec.model_dump(mode="json")
    store.write({"run_id": cell.run_id, "status": status, "spec": spec, "versions": cell.versions})


def test_a_fresh_grid_is_all_to_run_and_every_run_is_in_one_shard(grid, store):
    plan = make_plan(grid, store)
    assert plan.counts == {
        "total": 18,
        "done": 0,
        "failed": 0,
        "stale": 0,
        "new": 18,
        "excluded": 0,
        "unavailable": 0,
        "to_run": 18,
    }
    ids = [cell.run_id for shard in plan.shards for cell in shard.runs]
    assert sorted(ids) == sorted(cell.run_id for cell in plan.runs)
    assert len(set(ids)) == 18
    for shard in plan.shards:
        assert len({stack_key(cell.spec) for cell in shard.runs}) == 1


def test_done_failed_and_stale_are_told_apart(grid, store, monkeypatch):
    cells = make_plan(grid, store).runs
    finish(store, cells[0])
    finish(store, cells[1], "failed")
    counts = make_plan(grid, store).counts
    assert (counts["done"], counts["failed"], counts["to_run"]) == (1, 1, 16)
    assert make_plan(grid, store, retry_failed=True).counts["to_run"] == 17
    monkeypatch.setattr(bench.plan, "ENGINE_VERSION", 99)
    counts = make_plan(grid, store).counts
    assert (counts["done"], counts["failed"], counts["stale"], counts["to_run"]) == (0, 0, 1, 18)


def test_shards_are_at_most_a_stack_and_parts_cover_the_grid_once_whatever_is_done(grid, store):
    assert max(len(shard.runs) for shard in make_plan(grid, store, stack=3).shards) == 3
    parts = [{c.run_id for shard in make_plan(grid, store, part=(i, 3)).shards for c in shard.runs} for i in (1, 2, 3)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 18
    finish(store, next(cell for cell in make_plan(grid, store).runs if cell.run_id in parts[0]))
    again = [{c.run_id for shard in make_plan(grid, store, part=(i, 3)).shards for c in shard.runs} for i in (1, 2, 3)]
    assert len(again[0]) == len(parts[0]) - 1
    assert again[1:] == parts[1:]


def test_a_method_that_compares_views_is_refused_where_the_run_has_fewer(grid, store):
    """With one view gjs would be js without a word."""
    for views, state in ((0, "unavailable"), (1, "unavailable"), (2, "new")):
        asked = grid.model_copy(update={"methods": ["gjs", "js"], "views": views})
        cells = make_plan(asked, store).runs
        assert {(cell.spec.method.name, cell.state) for cell in cells} == {("gjs", state), ("js", "new")}
        assert all(f"compares 2 augmented views, the run has {views}" in cell.reason for cell in cells if cell.state != "new")


def test_excluded_and_unavailable_cells_say_why(grid, store, cards):
    asked = grid.model_copy(update={"exclude": [{"method": "gce", "rate": 0.5}], "backbones": ["embedded", "RN50@none"]})
    plan = make_plan(asked, store)
    assert plan.reasons("excluded") == {"method = gce, rate = 0.5": 8}
    assert plan.counts["unavailable"] == 14
    assert plan.counts["to_run"] == 14
    assert any("RN50@none" in reason for reason in plan.reasons("unavailable"))


def test_steps_are_epochs_times_batches(grid, store):
    spec = next(cell.spec for cell in make_plan(grid, store).runs if cell.spec.train)
    samples, train = 3 * 2, spec.train  # 3 classes, 2 shots
    for batch, drop, batches in [(32, True, 1), (4, True, 1), (4, False, 2), (3, True, 2)]:
        changed = train.model_copy(update={"batch_size": batch, "drop_last": drop, "epochs": 7})
        assert run_steps(spec.model_copy(update={"train": changed})) == 7 * batches, (samples, batch, drop)


def test_where_images_are_replaced_every_class_has_all_its_shots(grid, store):
    """As many samples as the run's own data have; classes of the small card have fewer images than half of these shots need."""
    from bench.data.task import draw_images, load_card, split_of

    spec = next(run.spec for run in make_plan(grid, store).runs if run.spec.train)
    for shots, rate in ((0, 0.5), (2, 0.5), (2, 0.0), (50, 0.5), (50, 0.0)):
        noise = NoiseSpec(protocol="fp_symmetric", rate=rate)
        drawn = draw_images(load_card(spec.dataset), split_of(spec.dataset), shots, 3, noise).train
        train = spec.train.model_copy(update={"batch_size": 1, "epochs": 1})
        assert run_steps(spec.model_copy(update={"shots": shots, "noise": noise, "train": train})) == len(drawn), (shots, rate)


def test_the_estimate_comes_from_the_pace_of_finished_runs(grid, store):
    cells = make_plan(grid, store).runs
    assert make_plan(grid, store).seconds is None
    for cell in [cell for cell in cells if cell.spec.train][:3]:
        spec = cell.spec.model_dump(mode="json") | {"dataset": "alpha"}
        store.write({"run_id": cell.run_id, "status": "done", "spec": spec, "versions": cell.versions,
                     "metrics": {"steps": 10, "wall_seconds": 5.0}})  # fmt: skip
    plan = make_plan(grid, store)
    assert plan.seconds == pytest.approx(0.5 * sum(shard.steps for shard in plan.shards))
    assert plan.seconds > 0
    limit = 0.5 * 2.5 * run_steps(next(cell.spec for cell in plan.runs if cell.spec.train))
    short = make_plan(grid, store, most_seconds=limit)
    assert max(len(shard.runs) for shard in plan.shards) > max(len(shard.runs) for shard in short.shards) == 2
    assert sum(len(shard.runs) for shard in short.shards) == sum(len(shard.runs) for shard in plan.shards)


def test_the_pace_is_that_of_all_runs_so_far_whatever_lies_in_the_index(grid, store):
    cells = [cell for cell in make_plan(grid, store).runs if cell.spec.train]

    def finish(cell, seconds):
        spec = cell.spec.model_dump(mode="json") | {"dataset": "alpha"}
        store.write({"run_id": cell.run_id, "status": "done", "spec": spec, "versions": cell.versions,
                     "metrics": {"steps": 10, "wall_seconds": seconds}})  # fmt: skip

    finish(cells[0], 5.0)
    assert make_plan(grid, store).seconds == pytest.approx(0.5 * sum(shard.steps for shard in make_plan(grid, store).shards))
    finish(cells[1], 15.0)
    finish(cells[2], float("inf"))
    plan = make_plan(grid, store)
    assert plan.seconds == pytest.approx(1.0 * sum(shard.steps for shard in plan.shards))
    foreign = {key: ["text"] for key in ("dataset", "backbone", "tunes", "method", "steps", "wall_seconds")}
    pd.DataFrame(foreign).to_parquet(store.root / "index.parquet")
    assert make_plan(grid, store).seconds == plan.seconds


def test_prompts_and_learners_have_a_pace_of_their_own(grid, store):
    """A learner's fast steps make no prompt fast, and a slow one on another dataset is better known than none."""
    both = grid.model_copy(update={"methods": [{"name": "gce", "tunes": ["prompt", "linear_probe"]}]})
    runs = make_plan(both, store).runs
    for tunes, dataset, seconds in (("prompt", "alpha", 5.0), ("linear_probe", "beta", 0.1)):
        cell = next(run for run in runs if run.spec.method.tunes == tunes and run.spec.dataset.endswith("alpha.toml"))
        spec = cell.spec.model_dump(mode="json") | {"dataset": dataset}
        store.write({"run_id": cell.run_id, "status": "done", "spec": spec, "versions": cell.versions, "tunes": tunes,
                     "metrics": {"steps": 10, "wall_seconds": seconds}})  # fmt: skip
        plan = make_plan(both, store)
        if tunes == "prompt":
            assert plan.seconds is None, "nobody knows how fast a probe is"
    left = [run.spec for shard in plan.shards for run in shard.runs]
    assert plan.seconds == pytest.approx(sum({"prompt": 0.5, "linear_probe": 0.01}[s.method.tunes] * run_steps(s) for s in left))


def test_a_dear_method_is_estimated_by_its_own_pace_and_hidden_by_no_cheap_ones(grid, store):
    """Many cheap runs of one method, one dear run of another, and one that nobody has run; on another dataset one alone."""
    asked = grid.model_copy(update={"methods": ["coop_ce", "gce", "mae"]})
    everywhere = make_plan(asked, store).runs
    runs = [run for run in everywhere if run.spec.dataset.endswith("alpha.toml")]
    beta = next(run for run in everywhere if run not in runs)
    store.write({"run_id": beta.run_id, "status": "done", "spec": beta.spec.model_dump(mode="json") | {"dataset": "beta"},
                 "versions": beta.versions, "metrics": {"steps": 10, "wall_seconds": 20}})  # fmt: skip
    dear = next(run for run in runs if run.spec.method.name == "gce")
    for run in [run for run in runs if run.spec.method.name == "coop_ce"] + [dear]:
        store.write({"run_id": run.run_id, "status": "done", "spec": run.spec.model_dump(mode="json") | {"dataset": "alpha"},
                     "versions": run.versions, "metrics": {"steps": 10, "wall_seconds": 90 if run is dear else 10}})  # fmt: skip
    plan = make_plan(asked, store)
    left = [run.spec for shard in plan.shards for run in shard.runs]
    assert {spec.method.name for spec in left} == {"coop_ce", "gce", "mae"}
    pace = {"coop_ce": 1.0, "gce": 9.0, "mae": 5.0}
    rates = (2.0 if spec.dataset.endswith("beta.toml") else pace[spec.method.name] for spec in left)
    assert plan.seconds == pytest.approx(sum(rate * run_steps(spec) for rate, spec in zip(rates, left, strict=True)))


def test_labels_name_what_is_not_default(grid, store):
    assert method_label("gce", {"q": 0.7}) == "gce"
    assert method_label("gce", {"q": 0.5}) == "gce(q=0.5)"
    inner = {"name": "gce", "q": 0.5}
    assert method_label("clipcleaner", {"base": inner}) == "clipcleaner(base=gce(q=0.5))"
    spec = next(cell.spec for cell in make_plan(grid, store).runs if cell.spec.noise.rate and cell.spec.method.name == "gce")
    assert cell_text(spec) == f"gce · alpha · symmetric 0.5 · 2 shots · seed {spec.seed}"


def test_the_version_of_a_composed_method_counts(grid, store, monkeypatch):
    from methods import registry

    asked = grid.model_copy(update={"methods": [{"name": "clipcleaner", "base": "gce"}]})
    before = make_plan(asked, store).runs[0].run_id
    monkeypatch.setattr(registry.load("gce"), "version", 77)
    assert make_plan(asked, store).runs[0].run_id != before


def test_a_context_that_no_prompt_has_room_for_is_unavailable_before_anything_starts(grid, store):
    """The embedded tower takes 32 tokens; a class name and the end token need one each."""
    for n_ctx, runs in ((30, 16), (31, 0), (1000, 0)):
        plan = make_plan(grid.model_copy(update={"train": {"n_ctx": n_ctx}}), store)
        assert plan.counts["to_run"] - 2 == runs  # and zero-shot twice, which has no context
    assert any(
        "a context of 1000 tokens is too long: a whole prompt of 'embedded' has 32" in why for why in plan.reasons("unavailable")
    )


def test_a_plan_is_plain_json(grid, store):
    plan = make_plan(grid, store)
    described = json.loads(json.dumps(describe(plan)))
    assert described["counts"] == plan.counts
    assert len(described["to_run"]) == 18
    assert dataclasses.is_dataclass(plan)


def test_ten_thousand_cells_are_one_plan(grid: Grid, store):
    big = grid.model_copy(update={"seeds": list(range(1250)), "noise": {"symmetric": [0.0, 0.5]}})
    plan = make_plan(big, store)
    assert plan.counts["total"] == 10_002
    assert plan.counts["to_run"] == 10_002


def test_an_edited_plugin_makes_its_runs_stale(grid, store, tmp_path):
    from methods import registry

    plugin = tmp_path / "mine.py"
    text = 'from methods import Method, register\n\n@register("mine")\nclass Mine(Method):\n    """Mine."""\n'
    asked = grid.model_copy(update={"methods": ["mine"]})
    try:
        for expected in ("new", "stale"):
            plugin.write_text(text)
            registry.load_plugin(plugin)
            cells = make_plan(asked, store).runs
            assert {cell.state for cell in cells} == {expected}
            for cell in cells:
                finish(store, cell)
            assert {cell.state for cell in make_plan(asked, store).runs} == {"done"}
            text += "    # another loss\n"
    finally:
        del registry._classes["mine"]


def test_an_oracle_is_refused_where_nobody_knows_the_truth(store):
    grid = Grid(methods=["clean_only", "co_teaching_oracle", "coop_ce"], datasets=["clothing1m"], noise={"human": [1.0]}, seeds=[1])
    cells = make_plan(grid, store).runs
    told = {cell.spec.method.name: cell.reason for cell in cells if "told the true labels" in cell.reason}
    assert set(told) == {"clean_only", "co_teaching_oracle"}
    assert 'exclude = [{method = "clean_only", dataset = "clothing1m"}]' in told["clean_only"]


def test_other_labels_by_people_make_runs_stale_and_missing_ones_are_said(grid, store, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_FEATURES", str(tmp_path / "features"))
    card = Path(grid.datasets[0])
    card.write_text(f"{card.read_text()}\n[human]\nfile = 'labels.json'\nsets = {{mine = 25.0}}\n")
    load_card.cache_clear()
    asked = grid.model_copy(update={"methods": ["coop_ce"], "datasets": [str(card)], "noise": {"human": [0.0, 1.0]}, "seeds": [1]})

    def states():
        human_labels.cache_clear()
        return {cell.spec.noise.protocol: (cell.state, cell.reason) for cell in make_plan(asked, store).runs}

    found = states()
    assert (found["clean"][0], found["human"][0]) == ("new", "unavailable")
    assert "the human labels of" in found["human"][1]
    path = cached_human(load_card(str(card)))
    for content, says in (("[", "not valid JSON"), ("{}", "holds no labels 'mine'")):
        write_text(path, content)
        assert says in states()["human"][1]
    for label in (0, 1):
        write_text(path, json.dumps({"mine": {"x.png": label}}))
        assert states() == {"clean": ("new" if label == 0 else "done", ""), "human": ("new" if label == 0 else "stale", "")}
        for cell in make_plan(asked, store).runs:
            finish(store, cell)
