"""Altered or missing inputs are named before anything starts, and nothing is written."""

import shutil
from types import SimpleNamespace

import pytest

from bench.backbones import description as backbones
from bench.data import task
from bench.data.cards import load_card
from bench.errors import ENVIRONMENT, BenchError
from bench.grid import Grid
from bench.runner.run import run_grid

GRID = Grid(methods=["coop_ce"], datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1], train={"epochs": 1})


def test_altered_weights(tmp_path, monkeypatch):
    described = backbones.describe("embedded")
    other = tmp_path / "weights.safetensors"
    other.write_bytes(b"x")
    monkeypatch.setattr("bench.runner.preflight.describe", lambda _: described.model_copy(update={"weights": str(other)}))
    with pytest.raises(BenchError, match=f"its sha256 is .*, not {described.sha256[:12]}") as error:
        run_grid(GRID, tmp_path / "out", style="quiet")
    assert error.value.code == ENVIRONMENT
    other.unlink()
    with pytest.raises(BenchError, match="is gone"):
        run_grid(GRID, tmp_path / "out", style="quiet")
    assert not (tmp_path / "out").exists()


def test_altered_features(tmp_path, monkeypatch):
    folder = tmp_path / "features"
    shutil.copytree(task.features_folder("digits", "embedded"), folder)
    block = folder / "train" / "block-0000.npy"
    data = bytearray(block.read_bytes())
    data[-1] ^= 1
    block.write_bytes(bytes(data))
    monkeypatch.setattr("bench.runner.preflight.features_folder", lambda *_: folder)
    with pytest.raises(BenchError, match=r"features of 'digits': .*block-0000\.npy"):
        run_grid(GRID, tmp_path / "out", style="quiet")
    assert not (tmp_path / "out").exists()


def test_features_of_the_users_own_are_left_to_features_verify(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.runner.preflight.load_card", lambda name: load_card(name).model_copy(update={"features": ""}))
    monkeypatch.setattr("bench.runner.preflight.features_folder", lambda *_: pytest.fail("read them in full"))
    from bench.runner.preflight import check_inputs

    spec = SimpleNamespace(dataset="digits", backbone="embedded")
    check_inputs(SimpleNamespace(shards=[SimpleNamespace(runs=[SimpleNamespace(spec=spec)])]))
