"""The store: whole or not at all, once, and whatever the disk does."""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.results.frame import load
from bench.results.store import SCHEMA_VERSION, Store

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


def test_a_folder_without_a_record_is_no_run_and_gives_way(store):
    assert store.write(record(title="first"), {"predictions.npy": b"abc"})
    (store.runs / RUN / "record.json").unlink()
    assert store.done() == set()
    assert store.write(record(title="second"), {"predictions.npy": b"def"})
    assert store.read(RUN)["title"] == "second"
    assert (store.folder(RUN) / "predictions.npy").read_bytes() == b"def"
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


def test_a_run_that_cannot_be_renamed_into_place_is_not_mistaken_for_a_stored_one(store, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    for status in ("done", "failed"):
        with pytest.raises(BenchError, match="No space left on device"):
            store.write(record(status))
    assert not list(store.tmp.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="not writable") as caught:
        Store(tmp_path / "file" / "results").prepare()
    assert caught.value.code == 3


def _write_many(root: Path, writer: int) -> None:
    store = Store(root)
    for number in range(50):
        store.write(record(run_id=f"{number:016d}-{number:08d}", writer=writer), {"a.bin": bytes(1000)})
        store.write(record("failed", run_id=f"{number:016d}-ffffffff", writer=writer))


def test_two_processes_never_store_a_run_twice_or_half(store):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(store.root, writer)) for writer in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert len(store.done()) == 50
    assert {store.attempts(f"{number:016d}-ffffffff") for number in range(50)} == {2}
    for run_id in store.done():
        assert json.loads((store.runs / run_id / "record.json").read_text())["run_id"] == run_id
        assert sorted(path.name for path in (store.runs / run_id).iterdir()) == ["a.bin", "record.json"]


@pytest.fixture
def read_only():
    """A finished store that this process cannot write to, root or not."""
    folder = Path(tempfile.mkdtemp())
    store = Store(folder / "results")
    store.prepare()
    store.write(record(spec=SPEC, versions={"method": 1, "engine": 1, "features": "f"}, metrics={"accuracy": 50.0}, source="run"))
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield store
    if root:
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


SPEC = {"method": {"name": "gce", "params": {}}, "dataset": "dtd", "task": "t", "backbone": "b", "views": 0, "shots": 1,
        "noise": {"protocol": "clean", "rate": 0.0}, "seed": 1, "train": None}  # fmt: skip


def test_a_read_only_store_is_read_but_not_written(read_only):
    assert list(load(read_only.root).frame["accuracy"]) == [50.0]
    with pytest.raises(BenchError, match="not writable"):
        read_only.prepare()
    with pytest.raises(BenchError, match="could not be stored"):
        read_only.write(record(run_id="another-1"))
    assert read_only.done() == {RUN}
