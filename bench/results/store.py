"""The result store: one directory per run, there whole or not at all.

    <root>/runs/<run_id>/record.json [+ predictions.npy, context.safetensors]     a finished run
    <root>/failed/<run_id>.<attempt>/record.json                                   a failed attempt, with its traceback
    <root>/grids/<name>.json                                                        what `bench run` was last asked for
    <root>/claims/, logs/, slurm/                                                   of running and past processes (bench.runner)
    <root>/tmp/…                                                                    being written; meaningless after a crash
    <root>/index.parquet                                                            derived (bench.results), may be deleted

A run is written aside and renamed into place. Of two processes that finish the same run the second rename loses, so nothing is ever
stored twice or half.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import ENVIRONMENT, BenchError
from bench.results.schema import SCHEMA_VERSION

Record = dict[str, Any]


def _sync(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename_new(aside: Path, target: Path) -> bool:
    """Whether `aside` could be renamed to `target`; False where something is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        aside.rename(target)
    except OSError:
        if target.is_dir():
            return False
        raise
    return True


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

    def _attempt(self, run_id: str, number: int) -> Path:
        return self.failed / f"{run_id}.{number}"

    def attempts(self, run_id: str) -> int:
        """How often a run has failed."""
        count = 0
        while self._attempt(run_id, count + 1).is_dir():
            count += 1
        return count

    def failures(self) -> set[str]:
        """The ids of runs that have failed and have not been finished since."""
        failed = {entry.name.partition(".")[0] for entry in os.scandir(self.failed)} if self.failed.is_dir() else set()
        return failed - self.done()

    def write(self, record: Record, files: Mapping[str, bytes] | None = None) -> bool:
        """Store a record (status "done" or "failed") with its files, whole or not at all.

        Returns:
            Whether it was stored; False where another process had stored the same run before.

        Raises:
            BenchError: The disk is full or read-only; nothing is left behind.
        """
        run_id, files = record["run_id"], files or {}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        whole = {"schema_version": SCHEMA_VERSION, **record, "files": hashes}
        aside = self.tmp / f"{run_id}-{uuid.uuid4().hex}"
        try:
            aside.mkdir(parents=True)
            for name, data in files.items():
                _sync(aside / name, data)
            _sync(aside / "record.json", json.dumps(whole, sort_keys=True).encode())
            return self._publish(aside, record)
        except OSError as error:
            raise BenchError(
                f"run {run_id} could not be stored in {self.root} ({error.strerror}).",
                "Free or unlock the disk and start again: finished runs are kept.",
                ENVIRONMENT,
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _publish(self, aside: Path, record: Record) -> bool:
        """Rename a complete folder into place. A folder that is there already is not replaced: rename refuses one with files."""
        run_id = record["run_id"]
        if record["status"] == "done":
            return _rename_new(aside, self.runs / run_id)
        attempt = self.attempts(run_id) + 1
        while not _rename_new(aside, self._attempt(run_id, attempt)):  # another process's attempt came first
            attempt += 1
        return True

    def read(self, run_id: str) -> Record:
        """The record of a finished run, or of its last failed attempt.

        Raises:
            BenchError: There is neither, or it is damaged.
        """
        path = self.folder(run_id) / "record.json"
        try:
            record: Record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BenchError(f"{path} is damaged ({error}).", f"`bench store verify {self.root}` names all that are.") from error
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
        return self._attempt(run_id, attempts)

    def remove(self, run_id: str) -> None:
        """Delete a finished run; out of sight first, so that a kill leaves no half of it."""
        aside = self.tmp / f"{run_id}-{uuid.uuid4().hex}"
        self.tmp.mkdir(exist_ok=True)
        (self.runs / run_id).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def records(self, run_ids: set[str]) -> Iterator[Record]:
        """The records of the given runs, in no order."""
        return (self.read(run_id) for run_id in run_ids)
