"""Looking after a store: what is damaged, what is superseded, what crashes have left."""

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path

from bench.files import sha256
from bench.results.schema import SCHEMA_VERSION
from bench.results.store import Record, Store
from bench.spec import cell_of, run_id_of

LEFTOVER = 3600.0  # seconds after which what lies in tmp/ belongs to nobody


def verify(store: Store) -> list[str]:
    """Everything that is wrong with a store's runs, read in full; empty where it is sound."""
    problems = []
    for run_id in sorted(store.done()):
        problems += _verify_run(store.runs / run_id, run_id)
    for folder in sorted(store.failed.glob("*")):
        problems += _verify_run(folder, folder.name.partition(".")[0])
    return problems


def _verify_run(folder: Path, run_id: str) -> list[str]:
    try:
        record: Record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        if record["schema_version"] > SCHEMA_VERSION:
            return [f"{folder}: written by a newer version (schema {record['schema_version']})"]
        identity = run_id_of(record["spec"], record["versions"])
        files = dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{folder}/record.json: not readable as a record ({type(error).__name__}: {str(error).splitlines()[0]})"]
    problems = []
    if not record["run_id"] == identity == run_id:
        problems.append(f"{folder}: its specification and versions belong to run {identity}")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif sha256(path) != expected:
            problems.append(f"{path}: altered or truncated (its SHA-256 differs from the record's)")
    return problems


def superseded(store: Store) -> list[str]:
    """Finished runs whose cell has a later run, under other versions of method, engine or features."""
    by_cell: dict[str, list[str]] = defaultdict(list)
    for run_id in store.done():
        by_cell[cell_of(run_id)].append(run_id)
    old = []
    for run_ids in by_cell.values():
        if len(run_ids) > 1:
            old += sorted(run_ids, key=lambda run_id: store.read(run_id)["finished"])[:-1]
    return sorted(old)


def leftovers(store: Store) -> list[Path]:
    """What crashes have left in tmp/, and failed attempts of runs that are done since."""
    now, done = time.time(), store.done()
    old = [path for path in store.tmp.glob("*") if now - path.stat().st_mtime > LEFTOVER]
    return sorted(old + [path for path in store.failed.glob("*") if path.name.partition(".")[0] in done])


def sweep(store: Store) -> int:
    """Remove the leftovers; how many there were."""
    found = leftovers(store)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)
