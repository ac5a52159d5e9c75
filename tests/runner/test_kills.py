"""`kill -9` at random moments: no finished run is lost, nothing is left that a later start trips over."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import results
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.store import Store

HERE = Path(__file__).parent


def start(cards: Path, root: Path) -> subprocess.Popen:
    """A runner of the slow engine, in a process group of its own."""
    command = [sys.executable, str(HERE / "small_grid.py"), str(cards), str(root), "slow", ""]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)


def check(root: Path, before: dict[str, str]) -> dict[str, str]:
    """Every stored run is whole, and those stored before are the same to the byte."""
    store, found = Store(root), {}
    for run_id in store.done():
        text = (store.runs / run_id / "record.json").read_text()
        record = json.loads(text)
        assert record["status"] == "done"
        assert set(record["files"]) == {"predictions.npy"}
        assert len(np.load(store.runs / run_id / "predictions.npy")) == 18
        found[run_id] = text
    assert before.items() <= found.items()
    assert not store.failures()
    return found


def kill_many(grid: Grid, cards: Path, root: Path, kills: int, rng: random.Random) -> None:
    wanted, found, killed = 18, {}, 0
    while killed < kills:
        process = start(cards, root)
        # Most of a start is imports: wait for the first claim in nine of ten cases, so that kills hit the work.
        if rng.random() < 0.9:
            _wait_for_work(process, root)
        time.sleep(rng.uniform(0, 1.2))
        everything = rng.random() < 0.5
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if everything else process.kill()
            killed += 1
        process.communicate()
        found = check(root, found)
        if len(found) == wanted:  # begin anew, as a user who deletes some results
            for run_id in rng.sample(sorted(found), 9):
                Store(root).remove(run_id)
                del found[run_id]
    out, error = start(cards, root).communicate(timeout=300)
    assert sum(map(int, out.split())) == wanted, error
    check(root, found)
    assert set(Store(root).done()) == {cell.run_id for cell in make_plan(grid, Store(root)).runs}
    assert len(results.load(root).frame) == wanted


def _wait_for_work(process: subprocess.Popen, root: Path) -> None:
    mine = f"-{process.pid}-"
    while process.poll() is None and not any(mine in path.name for path in root.glob("claims/*.owner")):
        time.sleep(0.02)


def test_a_few_kills(grid, tmp_path):
    kill_many(grid, tmp_path / "cards", tmp_path / "results", 2, random.Random(0))


@pytest.mark.long
def test_two_hundred_kills(grid, tmp_path):
    kill_many(grid, tmp_path / "cards", tmp_path / "results", 200, random.Random(1))
