"""Looking after a store: what is damaged, what is superseded, what crashes have left."""

import contextlib
import time
from collections import defaultdict
from pathlib import Path

from bench.errors import BenchError
from bench.files import ASIDE, remove, sha256
from bench.results.frame import damaged_tables, row
from bench.results.schema import check_row
from bench.results.store import ATTEMPT, Store, digest_of, named, read_record
from bench.spec import cell_of, run_id_of

LEFTOVER = 3600.0  # seconds after which what lies in tmp/ belongs to nobody


def verify(store: Store) -> list[str]:
    """Everything that is wrong with a store's runs, index and imported numbers, all read in full; empty where it is sound."""
    problems, digests = [], dict[str, str]()
    for run_id in sorted(store.listed()):
        problems += _verify_run(store.runs / run_id, run_id, digests)
    for name in sorted(named(store.failed, ATTEMPT)):
        problems += _verify_run(store.failed / name, name.partition(".")[0], {})
    problems += damaged_tables(store, digests)
    problems += [f"{path}: not the store's own; it is passed over" for path in store.strays()]
    empty = [line for line, jobs in enumerate(store.jobs("slurm"), 1) if not jobs]
    problems += [f"{store.root}/slurm/jobs.jsonl: line {line} names no job; it is passed over" for line in empty]
    grids = {path for path in (store.root / "grids").glob("*") if path.suffix != ".json" or path.stem not in store.grids()}
    return problems + [f"{path}: not what `bench run` was asked for; it is passed over" for path in sorted(grids)]


def _verify_run(folder: Path, run_id: str, digests: dict[str, str]) -> list[str]:
    try:
        record = read_record(folder / "record.json")
        digests[run_id] = digest_of(record)
        identity = run_id_of(record["spec"], record["versions"])
        files = dict(record["files"])
        check_row(row(record))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [f"{folder}/record.json: not sound as a record ({type(error).__name__}: {str(error).splitlines()[0]})"]
    problems = []
    if not record["run_id"] == identity == run_id:
        problems.append(f"{folder}: its specification and versions belong to run {identity}")
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            problems.append(f"{path}: a link to {path.readlink()}, not a file of the store")
        elif path.name not in {"record.json", *files}:
            problems.append(f"{path}: not named in the run's record")
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
            with contextlib.suppress(BenchError):  # where one is damaged, nobody knows which is the latest
                old += sorted(run_ids, key=lambda run_id: store.read(run_id)["finished"])[:-1]
    return sorted(old)


def leftovers(store: Store) -> list[Path]:
    """What crashes have left in tmp/ and of files being written, and failed attempts of runs that are done since."""
    now, done = time.time(), store.done()
    begun = [
        path
        for folder in (".", "grids", "published")
        for path in (store.root / folder).glob(".*.tmp")
        if ASIDE.fullmatch(path.name)
    ]
    old = [path for path in (*store.tmp.glob("*"), *begun) if now - path.lstat().st_mtime > LEFTOVER]
    return sorted(old + [store.failed / name for name in named(store.failed, ATTEMPT) if name.partition(".")[0] in done])


def sweep(store: Store) -> int:
    """Remove the leftovers; how many there were."""
    found = leftovers(store)
    for path in found:
        remove(path)
    return len(found)
