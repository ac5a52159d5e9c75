"""The store: whole or not at all, once, and whatever the disk does."""

import errno
import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.store import SCHEMA_VERSION, Store

RUN = "0123456789abcdef-01234567"


def record(status: str = "done", run_id: str = RUN, **more) -> dict:
    return {"run_id": run_id, "status": status, **more}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.prepare()
    return store


def test_a_run_is_stored_with_its_files_and_their_hashes(store):
    assert store.write(record(title="x"), {"predictions.npy": b"abc"})
    assert store.done() == {RUN}
    found = store.read(RUN)
    assert found["title"] == "x"
    assert found["schema_version"] == SCHEMA_VERSION
    assert found["files"] == {"predictions.npy": hashlib.sha256(b"abc").hexdigest()}
    assert (store.folder(RUN) / "predictions.npy").read_bytes() == b"abc"
    assert not list(store.tmp.iterdir())


def test_the_second_of_two_equal_runs_loses(store):
    assert store.write(record(title="first"))
    assert not store.write(record(title="second"))
    assert store.read(RUN)["title"] == "first"
    assert not list(store.tmp.iterdir())


def test_failures_are_counted_and_forgotten_once_the_run_is_done(store):
    for attempt in (1, 2):
        store.write(record("failed", error=f"attempt {attempt}"))
    assert store.attempts(RUN) == 2
    assert store.failures() == {RUN}
    assert store.read(RUN)["error"] == "attempt 2"
    store.write(record())
    assert store.failures() == set()
    assert store.read(RUN)["status"] == "done"


def test_an_unknown_run_is_said(store):
    with pytest.raises(BenchError, match="no run 'xyz'"):
        store.read("xyz")


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match="No space left on device") as caught:
        store.write(record(), {"predictions.npy": b"abc"})
    assert caught.value.code == 3
    assert store.done() == set()
    assert not list(store.tmp.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="not writable") as caught:
        Store(tmp_path / "file" / "results").prepare()
    assert caught.value.code == 3


def _write_many(root: Path, writer: int) -> None:
    store = Store(root)
    for number in range(50):
        store.write(record(run_id=f"run-{number:04d}", writer=writer), {"a.bin": bytes(1000)})
        store.write(record("failed", run_id=f"bad-{number:04d}", writer=writer))


def test_two_processes_never_store_a_run_twice_or_half(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(store.root, writer)) for writer in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert len(store.done()) == 50
    assert {store.attempts(f"bad-{number:04d}") for number in range(50)} == {2}
    for run_id in store.done():
        assert json.loads((store.runs / run_id / "record.json").read_text())["run_id"] == run_id
        assert sorted(path.name for path in (store.runs / run_id).iterdir()) == ["a.bin", "record.json"]
