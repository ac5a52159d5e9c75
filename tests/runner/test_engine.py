"""The runner with the real engine, on an embedded task: what is stored is what the engine gives when called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.engine.train import train_stack
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner import run
from bench.runner.run import _devices, _works, run_grid


def test_the_store_holds_what_the_engine_computes(tmp_path: Path):
    grid = Grid(name="real", preset="demo", train={"epochs": 2}, methods=["zero_shot", "coop_ce", "mae"], datasets=["digits"],
                shots=[1], seeds=[1], noise={"symmetric": [0.5]})  # fmt: skip
    summary = run_grid(grid, tmp_path, device="cpu", workers=2, style="quiet")
    assert (summary.done, summary.failed) == (3, 0)
    store, threads = Store(tmp_path), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for shard in make_plan(grid, Store(tmp_path / "none"), workers=2).shards:
            for cell, outcome in zip(shard.runs, train_stack([cell.spec for cell in shard.runs], device="cpu"), strict=True):
                record = store.read(cell.run_id)
                stored = np.load(store.folder(cell.run_id) / "predictions.npy")
                assert record["noise_digest"] == outcome.noise_digest
                assert (stored == outcome.predictions).mean() > 0.99  # another thread count may turn a tie
                assert record["metrics"]["accuracy"] == pytest.approx(outcome.metrics["accuracy"], abs=1.0)
                assert record["metrics"]["accuracy"] > 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("workers", "expected"), [(None, ["cuda:0", "cuda:1"]), (2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"])])
def test_a_gpu_has_as_many_workers_as_asked(workers, expected, monkeypatch):
    monkeypatch.setattr(run, "devices", lambda _: ["cuda:0", "cuda:1"])
    assert _devices("cuda", workers) == expected


@pytest.mark.parametrize(("devices", "together"), [(["cpu", "cpu"], [2, 2]), (["cuda:0", "cuda:1", "cuda:0"], [2, 1, 2])])
def test_workers_know_how_many_share_their_device(devices, together, tmp_path):
    assert [work.processes for work in _works(devices, tmp_path, "me")] == together
