"""The result store: one directory per run, there whole or not at all.

    <root>/runs/<run_id>/record.json [+ predictions.npy, context.safetensors]     a finished run
    <root>/failed/<run_id>.<attempt>/record.json                                   a failed attempt, with its traceback
    <root>/grids/<name>.json                                                        what `bench run` was last asked for
    <root>/claims/, logs/, slurm/                                                   of running and past processes (bench.runner)
    <root>/tmp/…                                                                    being written; meaningless after a crash
    <root>/index.parquet                                                            derived (bench.results), may be deleted

Only what is named as a run is taken for one; `bench store verify` says what else lies there. None of these folders may be a link:
nothing is deleted, moved or written through one. A run is written aside and renamed into place. Of two processes that finish the
same run the second rename loses, so nothing is ever stored twice or half.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import ENVIRONMENT, BenchError
from bench.results.schema import SCHEMA_VERSION

Record = dict[str, Any]
RUN_ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
ATTEMPT = re.compile(RUN_ID.pattern + r"\.[1-9][0-9]*")
CONTENTS = {  # of the store's folders: what is called so is the store's own
    "runs": RUN_ID,
    "failed": ATTEMPT,
    "tmp": re.compile(rf"({RUN_ID.pattern}|probe)-[0-9a-f]+"),
    "claims": re.compile(rf"{RUN_ID.pattern}|.+\.(owner|new)"),
    "grids": re.compile(r".+\.json"),
    "logs": re.compile(r".+\.log"),
    "published": re.compile(r".+\.parquet"),
    "slurm": re.compile(r"jobs\.jsonl|[0-9].*|\.?submission_file_.*|.*\.pkl"),
}
OWN = (*CONTENTS, "slurm/jobs.jsonl")
BESIDE = ("index.parquet", "index.sha256", "report")  # what else may lie there


def digest_of(record: Record) -> str:
    """The SHA-256 of all that a record says, but for the digest itself."""
    said = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def named(folder: Path, name: re.Pattern[str]) -> set[str]:
    """The real folders in a folder whose names are of a form."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {item.name for item in entries if item.is_dir(follow_symlinks=False) and name.fullmatch(item.name)}


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


def read_record(path: Path) -> Record:
    """The record in a file, which says what was written there.

    Raises:
        ValueError: It was edited, is not a record, or is of a newer version. (OSError, KeyError, TypeError: not readable as one.)
    """
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    if record["schema_version"] > SCHEMA_VERSION:
        raise ValueError(f"written by a newer version, schema {record['schema_version']}")
    if record["schema_version"] > 1 and record["digest"] != digest_of(record):  # version 1 had no digest
        raise ValueError("edited: its digest is not that of what it says")
    return record


class Store:
    """A folder of results.

    Args:
        root: The folder; made when the first run is written.

    Raises:
        BenchError: One of the store's own folders is a link.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in OWN:
            if (root / name).is_symlink():
                hint = "Nothing is deleted or written through a link; put a real folder in its place."
                raise BenchError(f"{root / name} is a link to {(root / name).readlink()}.", hint)
        self.runs, self.failed, self.tmp = root / "runs", root / "failed", root / "tmp"

    def prepare(self) -> None:
        """Make the folders and try a write.

        Raises:
            BenchError: The folder is not writable, or a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise BenchError(f"{self.root} is a file, not a results folder.", "Give another one with --out.")
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

    def check(self) -> None:
        """Whether the folder holds results.

        Raises:
            BenchError: It does not.
        """
        if not (self.runs.is_dir() or self.failed.is_dir()):
            raise BenchError(f"no results in {self.root}.", "Name a results folder (bench run --out).")

    def has(self, run_id: str) -> bool:
        """Whether a finished run is stored."""
        return (self.runs / run_id / "record.json").is_file()

    def done(self) -> set[str]:
        """The ids of all finished runs: those of `listed` that hold a record."""
        return {run_id for run_id in named(self.runs, RUN_ID) if self.has(run_id)}

    def listed(self) -> set[str]:
        """The folders that are named as finished runs, whatever is in them."""
        return named(self.runs, RUN_ID)

    def _attempt(self, run_id: str, number: int) -> Path:
        return self.failed / f"{run_id}.{number}"

    def attempts(self, run_id: str) -> int:
        """The number of a run's last failed attempt; 0 where it has not failed."""
        numbers = (name.rpartition(".") for name in named(self.failed, ATTEMPT))
        return max((int(number) for name, _, number in numbers if name == run_id), default=0)

    def failures(self) -> set[str]:
        """The ids of runs that have failed and have not been finished since."""
        return {name.partition(".")[0] for name in named(self.failed, ATTEMPT)} - self.done()

    def strays(self) -> list[Path]:
        """What lies in the store and is none of its own: by its name, or as it is a link, or a file for a folder or the reverse."""
        found = [path for path in self.root.glob("*") if path.name not in {*CONTENTS, *BESIDE}]
        found += [path for name in CONTENTS if (path := self.root / name).exists() and not path.is_dir()]
        for folder, form in CONTENTS.items():
            for path in (self.root / folder).glob("*"):
                kind = path.is_dir() if folder in ("runs", "failed") else path.is_file() or folder == "tmp"
                if not (form.fullmatch(path.name) and kind) or path.is_symlink():
                    found.append(path)
        return sorted(found)

    def jobs(self, scheduler: str) -> list[list[str]]:
        """The jobs that every line of a scheduler's `jobs.jsonl` notes; [] of a line that says nothing of jobs."""
        path, found = self.root / scheduler / "jobs.jsonl", list[list[str]]()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                found.append([str(job) for job in json.loads(line)["jobs"]])
            except (ValueError, KeyError, TypeError, RecursionError):
                found.append([])
        return found

    def grids(self) -> dict[str, dict[str, Any]]:
        """What `bench run` was asked for, by the grid's name; files that say nothing of the kind are passed over."""
        found = {}
        for path in sorted((self.root / "grids").glob("*.json")):
            with contextlib.suppress(OSError, ValueError, RecursionError):
                asked = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(asked, dict) and {"command", "grid", "run_ids", "unavailable"} <= set(asked):
                    found[path.stem] = asked
        return found

    def write(self, record: Record, files: Mapping[str, bytes] | None = None) -> bool:
        """Store a record (status "done" or "failed") with its files, whole or not at all.

        Returns:
            Whether it was stored; False where another process had stored the same run before.

        Raises:
            BenchError: The disk is full or read-only; nothing is left behind.
        """
        run_id, files = record["run_id"], files or {}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        whole = {**record, "schema_version": SCHEMA_VERSION, "files": hashes}
        whole["digest"] = digest_of(whole)
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
        """Rename a complete folder into place. A run that is there already is not replaced: rename refuses a folder with files.

        One without a record is no run: somebody or a disk has damaged it.
        """
        run_id = record["run_id"]
        if record["status"] == "done":
            if not (stored := _rename_new(aside, self.runs / run_id)) and not self.has(run_id):
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    self.remove(run_id)
                stored = _rename_new(aside, self.runs / run_id)
            return stored
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
            return read_record(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise BenchError(f"{path} is damaged ({error}).", f"`bench store verify {self.root}` names all that are.") from error

    def folder(self, run_id: str) -> Path:
        """The folder of a finished run, or of its last failed attempt.

        Raises:
            BenchError: There is neither.
        """
        known = RUN_ID.fullmatch(run_id)  # what is not named so could be a path that leads elsewhere
        if known and self.has(run_id):
            return self.runs / run_id
        attempts = self.attempts(run_id) if known else 0
        if not attempts:
            raise BenchError(f"no run '{run_id}' in {self.root}.", "`bench status` lists what is stored.")
        return self._attempt(run_id, attempts)

    def remove(self, run_id: str) -> None:
        """Delete a finished run; out of sight first, so that a kill leaves no half of it."""
        aside = self.tmp / f"{run_id}-{uuid.uuid4().hex}"
        self.tmp.mkdir(exist_ok=True)
        (self.runs / run_id).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
