"""Grids through real worker processes, with engines that make trouble."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import bench.plan
from bench import results
from bench.errors import BenchError
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner import pool
from bench.runner.claims import Claims
from bench.runner.forks import start_server
from bench.runner.record import build_record
from bench.runner.run import run_grid
from methods import registry

HERE = Path(__file__).parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def troubles(tmp_path: Path) -> Path:
    path = tmp_path / "troubles.json"
    path.write_text("{}")
    return path


@pytest.fixture
def troubled(fake, troubles: Path):
    """An engine that makes the trouble that the file says."""
    return partial(fake.troubled, troubles)


@pytest.fixture
def start(tmp_path: Path, root: Path, troubles: Path, cards):
    """Starts a runner in a process of its own; what is left of it at the end is killed."""
    started = []

    def start(engine: str, trouble: str = "") -> subprocess.Popen:
        command = [sys.executable, str(HERE / "small_grid.py"), str(tmp_path / "cards"), str(root), engine, trouble]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def run(grid: Grid, root: Path, train, **options):
    return run_grid(grid, root, train=train, workers=1, style="quiet", **options)


def test_a_grid_runs_once_and_a_second_start_finds_it_done(grid, root, fake):
    first = run(grid, root, fake.train, keep_context=True)
    assert (first.total, first.done, first.cached, first.failed, first.code) == (18, 18, 0, 0, 0)
    second = run(grid, root, fake.train)
    assert (second.done, second.cached) == (0, 18)
    store = Store(root)
    cell = make_plan(grid, store).runs[0]
    record, expected = store.read(cell.run_id), fake.outcome(cell.spec)
    assert record["metrics"]["accuracy"] == expected.metrics["accuracy"]
    assert record["metrics"]["ece"] is None  # NaN is no JSON
    assert record["label"] == "coop_ce"
    assert (record["domain"], record["num_classes"], record["num_test"], record["preset"]) == ("in", 3, 18, "embedded")
    assert (record["oracle"], record["identifiable"], record["source"]) == (None, True, "run")
    assert (root / record["log"]).is_file()
    assert np.array_equal(np.load(store.folder(cell.run_id) / "predictions.npy"), expected.predictions)
    assert (store.folder(cell.run_id) / "context.safetensors").is_file()
    assert not list((root / "claims").iterdir())
    assert not list(store.tmp.iterdir())
    frame = results.load(root).frame
    assert len(frame) == 18
    assert set(frame["status"]) == {"done"}


@pytest.mark.parametrize("kind", ["exit", "kill", "raise", "leave", "segfault", "failed", "line", "long error"])
def test_one_bad_run_is_found_and_recorded_and_all_others_finish(grid, root, troubles, troubled, kind, capsys):
    troubles.write_text(json.dumps({"2": kind}))
    asked = grid.model_copy(
        update={"methods": ["coop_ce"], "datasets": grid.datasets[:1], "noise": {"clean": [0.0]}, "seeds": [1, 2, 3, 4]}
    )
    summary = run(asked, root, troubled)
    assert (summary.done, summary.failed, summary.code) == (3, 1, 1)
    store = Store(root)
    (bad,) = store.failures()
    record = store.read(bad)
    assert record["spec"]["seed"] == 2
    said = {"exit": "exit status 3", "kill": "SIGKILL", "raise": "MemoryError", "segfault": "SIGSEGV", "failed": "NaN loss",
            "leave": "SystemExit", "line": "exit status 3", "long error": "xxx"}  # fmt: skip
    assert said[kind] in record["error"]
    assert (store.folder(bad) / "record.json").stat().st_size < 50_000
    if kind == "segfault":
        assert "fake_engine.py" in record["traceback"]
    if kind == "raise":
        assert "does not fit" in record["traceback"]
    assert str(store.folder(bad)) in capsys.readouterr().err
    troubles.write_text("{}")
    assert run(asked, root, troubled).failed == 1  # not tried again by itself
    assert run(asked, root, troubled, retry_failed=True).code == 0
    assert not store.failures()


def test_what_failed_in_another_part_of_the_grid_is_still_failed(grid, root, fake, tmp_path):
    troubles = tmp_path / "troubles.json"
    troubles.write_text('{"2": "failed"}')
    troubled = partial(fake.troubled, troubles)
    failed = run(grid, root, troubled).failed
    troubles.write_text("{}")
    first, second = (run(grid, root, troubled, part=(i, 2), retry_failed=True).failed for i in (1, 2))
    assert failed > first > second == 0


def test_one_accident_costs_nothing(grid, root, troubles, troubled):
    troubles.write_text('{"2": "once"}')
    summary = run(grid, root, troubled)
    assert (summary.done, summary.failed) == (18, 0)


def test_a_run_that_hangs_is_stopped_and_its_log_says_where(grid, root, troubles, troubled):
    troubles.write_text('{"2": "hang"}')
    asked = grid.model_copy(update={"methods": ["coop_ce"], "datasets": grid.datasets[:1], "noise": {"clean": [0.0]}})
    summary = run(asked, root, troubled, stall=3.0)
    assert (summary.done, summary.failed) == (1, 1)
    store = Store(root)
    record = store.read(store.failures().pop())
    assert "no progress for 3 s" in record["error"]
    assert "fake_engine.py" in record["traceback"]


def test_two_workers_share_a_grid(grid, root, fake):
    summary = run_grid(grid, root, train=fake.slow, workers=2, stack=4, style="quiet")
    assert summary.done == 18
    logs = {Store(root).read(run_id)["log"] for run_id in Store(root).done()}
    assert len(logs) == 2


def test_two_runners_on_one_store_share_the_work(root, start):
    """Every run is stored once, and each runner's account covers the grid."""
    runners = [start("slow") for _ in range(2)]
    counts = [tuple(map(int, process.communicate(timeout=400)[0].split())) for process in runners]
    assert sum(done for done, _ in counts) == 18
    assert min(done for done, _ in counts) > 0
    assert {done + cached for done, cached in counts} == {18}


def test_workers_are_where_the_command_is_and_have_its_settings(grid, tmp_path, fake, monkeypatch):
    """The server that forks them runs since an earlier command of this process, in another folder and with other settings."""
    start_server()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(grid, Path("results"), fake.telling)
    folder, settings = json.loads((tmp_path / "told.json").read_text())
    assert folder == str(tmp_path)
    assert settings == {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}


def test_what_another_runner_gives_up_is_taken_over_shard_by_shard(root, grid, fake, monkeypatch, capsys):
    """Another runner holds everything at first, finishes one run, fails another, and gives the others back."""
    monkeypatch.setattr(pool, "POLL", 0.2)
    other, store = Claims(root), Store(root)
    store.prepare()
    cells = make_plan(grid, store).runs
    for cell in cells:
        assert other.take(cell.run_id)

    def give_up() -> None:
        time.sleep(3)
        bad = fake.outcome(cells[1].spec)
        bad.status = "failed"
        for cell, outcome in zip(cells[:2], (fake.outcome(cells[0].spec), bad), strict=True):
            store.write(build_record(cell, outcome, {}))
        other.close()

    thread = threading.Thread(target=give_up)
    thread.start()
    summary = run(grid, root, fake.one_key)
    thread.join()
    assert (summary.done, summary.cached, summary.failed) == (16, 1, 1)
    assert "smaller stacks" not in capsys.readouterr().err


def test_ctrl_c_stops_the_workers_and_gives_claims_back(root, start, troubles):
    troubles.write_text('{"2": "hang"}')
    process = start("troubled", str(troubles))
    _wait(lambda: _claims(root))
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == 130
    assert not list((root / "claims").iterdir())


def test_a_killed_runner_takes_its_workers_along_and_a_new_one_continues_at_once(root, grid, start, troubles, troubled):
    troubles.write_text('{"2": "hang"}')
    process = start("troubled", str(troubles))
    _wait(lambda: _claims(root))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    troubles.write_text("{}")
    summary = run(grid, root, troubled)  # would wait ten minutes for a claim of another machine
    assert (summary.done + summary.cached, summary.code) == (18, 0)
    assert not _claims(root)


def test_results_that_cannot_be_stored_end_the_run_with_one_sentence(grid, root, fake):
    with pytest.raises(BenchError, match="could not be stored") as caught:
        run(grid, root, fake.full_disk)
    assert caught.value.code == 3
    assert run(grid, root, fake.train).done == 18


def test_what_is_unavailable_leaves_the_grid_incomplete(grid, root, fake):
    asked = grid.model_copy(update={"backbones": ["embedded", "RN50@none"]})
    summary = run(asked, root, fake.train)
    assert (summary.done, summary.unavailable, summary.code) == (18, 18, 4)
    with pytest.raises(BenchError, match="RN50@none") as caught:
        run(grid.model_copy(update={"backbones": ["RN50@none"]}), root, fake.train)
    assert caught.value.code == 3


@pytest.mark.parametrize(("changes", "options"), [({"preset": "none"}, {}), ({}, {"device": "gpu"}), ({}, {"device": "cuda:7"})])
def test_bad_input_writes_nothing(grid, root, fake, changes, options):
    with pytest.raises(BenchError):
        run_grid(grid.model_copy(update=changes), root, train=fake.train, style="quiet", **options)
    assert not root.exists()


def test_a_method_that_has_changed_since_the_plan_is_not_stored_as_the_planned_one(grid, root, fake, tmp_path, monkeypatch):
    plugin = tmp_path / "edited.py"
    plugin.write_text(
        'from methods import Method, register\n\n@register("edited")\nclass Edited(Method):\n    """Edited."""\n\n'
        "    def loss(self, batch):\n        return -batch.log_p_y\n"
    )
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    registry.load_plugin(plugin)
    asked = grid.model_copy(update={"methods": ["edited"]})
    with monkeypatch.context() as planned:
        planned.setattr(bench.plan, "source_of", lambda _: "as it was")
        with pytest.raises(BenchError, match="the source of method 'edited' has changed since the plan was made"):
            run(asked, root, fake.train, plugins=[plugin])
    assert Store(root).done() == Store(root).failures() == set()
    assert run(asked, root, fake.train, plugins=[plugin]).done > 0


def test_a_plugin_that_the_workers_cannot_load_is_no_failed_run(grid, root, fake, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('no')\n")
    with pytest.raises(BenchError, match="did not start"):
        run(grid, root, fake.train, plugins=[broken])
    assert not Store(root).failures()


def _claims(root: Path) -> list[Path]:
    """Claims of runs, not the owners' files."""
    return [path for path in root.glob("claims/*") if path.suffix not in (".owner", ".new")]


def _wait(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
