"""Reading results: a store's folder or an exported Parquet file, as one tidy frame with a row per run.

`bench.results.schema` declares the columns. Tables of earlier versions are brought to them when they are read.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.errors import BenchError
from bench.files import read_json, replacing, sha256, write_text
from bench.results.schema import COLUMNS as DECLARED
from bench.results.schema import SCHEMA_VERSION, Column, check_row
from bench.results.store import Record, Store, digest_of
from bench.spec import canonical

ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
SCHEMA = pa.schema([(column.name, ARROW[column.kind]) for column in DECLARED])
COLUMNS = tuple(column.name for column in DECLARED if column.in_frame)


def row(record: Record, predictions: bytes | None = None) -> dict[str, Any]:
    """A record of any schema version as a row; its test predictions are the bytes of uint16 numbers."""
    spec, train = record["spec"], record["spec"]["train"] or {}
    flat = {
        "schema_version": max(SCHEMA_VERSION, record["schema_version"]),
        "method": spec["method"]["name"], "params": canonical(spec["method"]["params"]),
        **{key: spec[key] for key in ("dataset", "task", "backbone", "views", "shots", "seed")},
        "noise": spec["noise"]["protocol"], "rate": spec["noise"]["rate"],
        "train": canonical(train), "trained": bool(train) or spec.get("from_shots", False),
        "lr": train.get("lr"), "epochs": train.get("epochs", 0),
        "method_version": record["versions"]["method"], "engine_version": record["versions"]["engine"],
        "features": record["versions"]["features"], "history": canonical(record.get("history", {})),
        "environment": canonical(record.get("environment", {})), "predictions": predictions, "record": digest_of(record),
    }  # fmt: skip
    given = {"method_title": flat["method"], **record, **record.get("metrics", {}), **flat}
    return {column.name: given.get(column.name, column.absent) for column in DECLARED}


def conform(table: pa.Table) -> pa.Table:
    """A table of this or an earlier schema version with all declared columns, in their order and types."""
    if "trained" not in table.column_names:
        table = _from_version_1(table)
    return pa.table([_column(table, column) for column in DECLARED], schema=SCHEMA)


def _column(table: pa.Table, column: Column) -> pa.ChunkedArray:
    wanted = ARROW[column.kind]
    if column.name in table.column_names:
        return table[column.name].cast(wanted)
    return pa.chunked_array([pa.repeat(pa.scalar(column.absent, wanted), table.num_rows)])


def _from_version_1(table: pa.Table) -> pa.Table:
    """Version 1 had no `trained`, no `method_title`, and put a published number's citation into its environment."""
    published = pc.equal(table["source"], "published")
    cited = [json.loads(text).get("citation", "") for text in table["environment"].to_pylist()]
    changed = {
        "trained": pc.or_(pc.not_equal(table["train"], "{}"), published),
        "method_title": table["method"],
        "citation": pa.array(cited, pa.string()),
        "environment": pc.if_else(published, "{}", table["environment"]),
        "schema_version": pa.repeat(pa.scalar(2, pa.int64()), table.num_rows),
    }
    kept = {name: table[name] for name in table.column_names if name not in changed}
    return pa.table(kept | changed)


@dataclass(frozen=True, eq=False)
class Results:
    """What was loaded: `frame` holds the tidy columns; histories and predictions stay in Arrow until asked for."""

    frame: pd.DataFrame
    table: pa.Table
    passed_over: tuple[str, ...] = ()  # runs and files that are damaged, with the reason; `bench store verify` names all

    def _repr_html_(self) -> str:
        """For notebooks: a row per run, those in the middle left out, and how many are damaged."""
        shown = self.frame[["run_id", "label", "dataset", "noise", "rate", "seed", "status", "accuracy", "zero_shot"]]
        damaged = f"<p>{len(self.passed_over)} damaged, passed over</p>" if self.passed_over else ""
        return str(shown.to_html(index=False, max_rows=20, show_dimensions=True, float_format="{:g}".format)) + damaged

    def history(self, run_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Per-epoch metrics in long form: run_id, epoch, and a column for each metric that was recorded."""
        ids, texts = self.table["run_id"].to_pylist(), self.table["history"].to_pylist()
        wanted = set(ids if run_ids is None else run_ids)
        columns: dict[str, list[Any]] = {"run_id": [], "epoch": []}
        for run_id, text in zip(ids, texts, strict=True):
            if run_id not in wanted or text == "{}":
                continue
            history, before = json.loads(text), len(columns["epoch"])
            length = len(history["epoch"])
            history["run_id"] = [run_id] * length
            for name in columns | history:  # a metric that only some runs recorded is None in the others
                if name not in columns:
                    columns[name] = [None] * before
                columns[name].extend(history[name] if name in history else [None] * length)
        return pd.DataFrame(columns)

    def predictions(self, run_id: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
        """The predicted class of every test image, in the split's order."""
        data = self.table.filter(pc.field("run_id") == run_id)["predictions"].to_pylist()
        if not data or data[0] is None:
            raise BenchError(f"run '{run_id}' has no stored predictions.")
        return np.frombuffer(data[0], dtype=np.uint16)

    def environments(self) -> list[dict[str, Any]]:
        """The distinct environments that the runs were made in."""
        return [json.loads(text) for text in sorted(set(self.table["environment"].to_pylist()))]


def _stored_row(store: Store, run_id: str) -> dict[str, Any]:
    """The row of a stored run or failure.

    Raises:
        BenchError: Its record or its predictions are damaged.
    """
    saved = store.folder(run_id) / "predictions.npy"
    try:
        record = store.read(run_id)
        found = row(record, _predictions(saved, record["files"][saved.name]) if saved.is_file() else None)
        check_row(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise BenchError(f"run {run_id} in {store.root} is damaged ({type(error).__name__}: {error}).") from error
    return found


def _predictions(path: Path, expected: str) -> bytes:
    if sha256(path) != expected:
        raise ValueError(f"{path.name} is altered or truncated")
    found: bytes = np.load(path, allow_pickle=False).astype(np.uint16).tobytes()
    return found


def _rows(store: Store, run_ids: Iterable[str], passed_over: list[str]) -> pa.Table:
    """The rows of stored runs; of those that are damaged, the reason is noted."""
    found = []
    for run_id in sorted(run_ids):
        try:
            found.append(_stored_row(store, run_id))
        except BenchError as error:
            passed_over.append(str(error))
    return pa.Table.from_pylist(found, SCHEMA)


def _stored_index(store: Store) -> pa.Table:
    """The index as it was written; empty where there is none, or one of a version that had other columns: it is made anew then.

    Raises:
        ValueError, OSError or ArrowException: It is damaged or altered.
    """
    path, digest = store.root / "index.parquet", store.root / "index.sha256"
    if not (path.is_file() and digest.is_file()):  # version 1 wrote no digest
        return SCHEMA.empty_table()
    if sha256(path) != digest.read_text(encoding="ascii"):
        raise ValueError("altered: its SHA-256 is not that in index.sha256")
    table = pq.read_table(path)
    return table if table.schema.equals(SCHEMA) else SCHEMA.empty_table()


def _index(store: Store, passed_over: list[str]) -> pa.Table:
    """The store's index, brought up to date: only runs that it lacks are read."""
    try:
        table = _stored_index(store)
    except (OSError, ValueError, pa.ArrowException):
        table = SCHEMA.empty_table()
    done, failed = store.listed(), store.failures()
    kept = table.filter(pc.is_in(table["run_id"], pa.array(sorted(done), pa.string())))
    new = _rows(store, done - set(kept["run_id"].to_pylist()), passed_over)
    table = pa.concat_tables([kept, new])
    if new.num_rows:
        write_index(store.root / "index.parquet", table)
    return pa.concat_tables([table, _rows(store, failed, passed_over)])


def write_index(path: Path, table: pa.Table) -> None:
    """Write the index and, beside it, the digest that it is believed by; a read-only store is readable without."""
    with contextlib.suppress(BenchError):
        with replacing(path) as aside:
            pq.write_table(table, aside, compression="zstd")
            found = sha256(aside)
        write_text(path.with_suffix(".sha256"), found)


def damaged_tables(store: Store, digests: Mapping[str, str]) -> list[str]:
    """What is wrong with the index, given the digests of the records that it was made from, and with imported numbers."""
    problems, path = [], store.root / "index.parquet"
    try:
        rows = _stored_index(store).select(["run_id", "record"]).to_pylist()
        wrong = [one["run_id"] for one in rows if one["record"] and one["record"] != digests.get(one["run_id"], one["record"])]
        problems = [f"{path}: its row of run {run_id} was made from another record; delete the file" for run_id in wrong]
    except (OSError, ValueError, pa.ArrowException) as error:
        problems = [f"{path}: {error}; it will be made anew"]
    passed_over: list[str] = []
    _published(store.root, passed_over)
    return problems + passed_over


def _published(root: Path, passed_over: list[str]) -> list[pa.Table]:
    """Imported numbers; files that hold none are passed over."""
    found = []
    for path in sorted((root / "published").glob("*.parquet")):
        try:
            found.append(_read(path))
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            passed_over.append(f"{path}: not readable as published numbers ({str(error).splitlines()[0]})")
    return found


def pace(root: Path) -> dict[tuple[str, str, str, str], float]:
    """Seconds per step from a store's index, brought up to date, by (dataset, backbone, tunes, method): of runs, the median.

    Method "" is any, the mean over methods: they differ much, and cheap ones must not hide dear ones. Dataset "" is any, too.
    """
    by = ["dataset", "backbone", "tunes", "method"]
    columns = [*by, "steps", "wall_seconds"]
    frame = _index(Store(root), []).select(columns).to_pandas()
    frame = frame[(frame["steps"] > 0) & (frame["wall_seconds"] > 0) & (frame["wall_seconds"] < float("inf"))]
    frame["pace"] = frame["wall_seconds"] / frame["steps"]
    medians = pd.concat([frame, frame.assign(dataset="")]).groupby(by, as_index=False)["pace"].median()
    means = medians.groupby(by[:3], as_index=False)["pace"].mean().assign(method="")
    rows = pd.concat([medians, means])[[*by, "pace"]].itertuples(index=False)
    return {
        (str(dataset), str(backbone), str(tunes), str(method)): float(value) for dataset, backbone, tunes, method, value in rows
    }


def load(path: str | Path | Results) -> Results:
    """The results of a store's folder, of a Parquet file, or of a folder with a `results.parquet`; loaded ones as they are.

    >>> frame = load("results/starts").frame  # a row per run; results/COLUMNS.md lists the columns
    >>> frame.groupby("method")["dataset"].nunique()["dspt"].item()
    18

    Raises:
        BenchError: There are none, all are damaged, an export was altered, or they were written by a newer version.
    """
    if isinstance(path, Results):
        return path
    if not isinstance(path, str | Path):
        raise BenchError(f"results are loaded from a path, not from {type(path).__name__}.", "A frame needs no loading.")
    path = Path(path)
    exported = path / "results.parquet" if path.is_dir() else path
    passed_over: list[str] = []
    if any((path / part).is_dir() for part in ("runs", "failed")):
        found = _index(Store(path), passed_over)
    elif exported.is_file():
        _check_manifest(exported)
        found = _read(exported)
    elif (path / "published").is_dir():
        found = SCHEMA.empty_table()
    else:
        raise BenchError(f"no results in {path}.", "Name a results folder (bench run --out) or an exported .parquet file.")
    table = pa.concat_tables([found, *_published(path, passed_over)])
    if passed_over and not table.num_rows:
        raise BenchError(f"all results in {path} are damaged: {passed_over[0]}", f"`bench store verify {path}` names all that are.")
    return Results(table.select(COLUMNS).to_pandas(), table, tuple(passed_over))


def _read(path: Path) -> pa.Table:
    """The rows of an exported or imported file."""
    table = pq.read_table(path)
    newest = pc.max(table["schema_version"]).as_py() or SCHEMA_VERSION
    if newest > SCHEMA_VERSION:
        raise BenchError(
            f"results in {path} have schema version {newest}; this version reads up to {SCHEMA_VERSION}.",
            "Upgrade noisy-prompt-bench.",
        )
    return conform(table)


def _check_manifest(exported: Path) -> None:
    """An export whose bytes are not those that its manifest names was altered."""
    manifest = exported.with_name("manifest.json")
    if exported.name != "results.parquet" or not manifest.is_file():
        return
    found = sha256(exported)
    if read_json(manifest).get("sha256") != found:
        raise BenchError(
            f"{exported} is not the file that {manifest} describes (SHA-256 {found[:12]}…).", "Restore it, or export again."
        )
