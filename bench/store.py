"""The result store: one directory per run, there whole or not at all.

    <root>/runs/<run_id>/record.json [+ predictions.npy, context.safetensors]     a finished run
    <root>/failed/<run_id>/<attempt>/record.json                                   a failed attempt, with its traceback
    <root>/tmp/…                                                                    being written; meaningless after a crash
    <root>/index.parquet                                                            derived (bench.results), may be deleted

A run is written aside and renamed into place. Of two processes that finish the same run the second rename loses, so nothing is ever
stored twice or half.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import ENVIRONMENT, BenchError

SCHEMA_VERSION = 1

Record = dict[str, Any]


def _sync(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Store:
    """A folder of results.

    Args:
        root: The folder; made when the first run is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs, self.failed, self.tmp = root / "runs", root / "failed", root / "tmp"

    def prepare(self) -> None:
        """Make the folders and try a write.

        Raises:
            BenchError: The folder is not writable.
        """
        try:
            for folder in (self.runs, self.failed, self.tmp):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.tmp / f"probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BenchError(
                f"results folder {self.root} is not writable ({error.strerror}).",
                "Give another one with --out.",
                ENVIRONMENT,
            ) from error

    def has(self, run_id: str) -> bool:
        """Whether a finished run is stored."""
        return (self.runs / run_id).is_dir()

    def done(self) -> set[str]:
        """The ids of all finished runs."""
        return {entry.name for entry in os.scandir(self.runs)} if self.runs.is_dir() else set()

    def attempts(self, run_id: str) -> int:
        """How often a run has failed."""
        folder = self.failed / run_id
        return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0

    def failures(self) -> set[str]:
        """The ids of runs that have failed and have not been finished since."""
        failed = {entry.name for entry in os.scandir(self.failed)} if self.failed.is_dir() else set()
        return failed - self.done()

    def write(self, record: Record, files: Mapping[str, bytes] | None = None) -> bool:
        """Store a record (status "done" or "failed") with its files, whole or not at all.

        Returns:
            Whether it was stored; False where another process had stored the same run before.

        Raises:
            BenchError: The disk is full or read-only; nothing is left behind.
        """
        run_id = record["run_id"]
        target = self.runs / run_id
        if record["status"] == "failed":
            target = self.failed / run_id / str(self.attempts(run_id) + 1)
        aside = self.tmp / f"{run_id}-{uuid.uuid4().hex}"
        record = {"schema_version": SCHEMA_VERSION, **record}
        try:
            aside.mkdir(parents=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            for name, data in (files or {}).items():
                _sync(aside / name, data)
            _sync(aside / "record.json", json.dumps(record, sort_keys=True).encode())
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise BenchError(
                f"run {run_id} could not be stored in {self.root} ({error.strerror}).",
                "Free or unlock the disk and start again: finished runs are kept.",
                ENVIRONMENT,
            ) from error
        try:
            aside.rename(target)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if target.is_dir():
                return False
            raise
        return True

    def read(self, run_id: str) -> Record:
        """The record of a finished run, or of its last failed attempt."""
        folder = self.folder(run_id)
        record: Record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        return record

    def folder(self, run_id: str) -> Path:
        """The folder of a finished run, or of its last failed attempt.

        Raises:
            BenchError: There is neither.
        """
        if self.has(run_id):
            return self.runs / run_id
        attempts = self.attempts(run_id)
        if not attempts:
            raise BenchError(f"no run '{run_id}' in {self.root}.", "`bench status` lists what is stored.")
        return self.failed / run_id / str(attempts)

    def records(self, run_ids: set[str]) -> Iterator[Record]:
        """The records of the given runs, in no order."""
        return (self.read(run_id) for run_id in run_ids)
