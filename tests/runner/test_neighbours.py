"""What a run leaves behind, in its process or beside it, costs no other run, and the runner never waits for it."""

import contextlib
import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.results.store import Store
from bench.runner import pool
from bench.runner.claims import Claims
from bench.runner.run import run_grid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def run(grid, root, train, **options):
    return run_grid(grid, root, train=train, workers=1, style="quiet", **options)


def one_method(grid):
    return grid.model_copy(update={"methods": ["coop_ce"], "datasets": grid.datasets[:1], "noise": {"clean": [0.0]}})


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["orphan", "escaped orphan"])
def test_a_dead_workers_child_that_holds_its_pipe_keeps_nobody_waiting(grid, root, fake, tmp_path, kind):
    troubles = tmp_path / "troubles.json"
    troubles.write_text(json.dumps({"2": kind}))
    summary = run(one_method(grid), root, partial(fake.troubled, troubles))
    assert (summary.done, summary.failed) == (1, 1)
    assert "exit status 3" in Store(root).read(Store(root).failures().pop())["error"]
    for child in map(int, (tmp_path / "orphans").read_text().split()):  # one of each attempt
        end = time.monotonic() + 60
        while kind == "orphan" and alive(child):
            assert time.monotonic() < end, "the child outlives its worker"
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_runs_that_another_method_has_spoiled_are_done_in_a_fresh_worker(grid, root, fake, capsys):
    """After gce every other method fails in that process; none of them is at fault, so none is recorded as failed."""
    summary = run(grid, root, fake.spoiled)
    assert (summary.done, summary.failed) == (18, 0)
    assert not Store(root).failures()
    assert "failed beside other methods (gradients are off)" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_results_folder_that_is_deleted_meanwhile_is_said_at_once(grid, root, fake, seconds, monkeypatch):
    monkeypatch.setattr(pool, "BEAT", 1000)  # neither a sign of life nor a result has to be written for that
    with pytest.raises(BenchError, match=f"results folder {root}.* (gone|removed)") as caught:
        run(grid, root, partial(fake.removes, root, seconds))
    assert caught.value.code == 3


def test_what_a_killed_runner_was_writing_goes_at_the_next_start(grid, root, fake):
    store = Store(root)
    store.prepare()
    (store.tmp / "half-a-run").mkdir()
    (store.tmp / "half-a-run" / "record.json").write_text("{")
    other = Claims(root)  # as long as another runner lives, it may be its
    one = one_method(grid)
    run(one.model_copy(update={"seeds": [1]}), root, fake.train)
    assert [path.name for path in store.tmp.iterdir()] == ["half-a-run"]
    other.close()
    run(one, root, fake.train)
    assert not list(store.tmp.iterdir())
