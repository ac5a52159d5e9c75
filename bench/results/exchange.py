"""Results in and out of a store: one Parquet file to commit or send, and numbers that others have published."""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench import __version__
from bench.data.cards import card_paths
from bench.data.noise import kind
from bench.errors import BenchError, nearest
from bench.files import read_text, replacing, sha256, write_text
from bench.output import CONTROL, FORMULA
from bench.results.frame import SCHEMA, load
from bench.results.schema import COLUMNS, SCHEMA_VERSION, check_row
from bench.results.store import Store
from bench.spec import canonical, digest

DIGITS = 5  # significant digits that an export keeps of per-epoch metrics
REQUIRED = ("method", "dataset", "accuracy", "citation")
OPTIONAL = ("noise", "rate", "backbone", "shots", "seed", "epochs", "label", "preset")
NAMES = ("method", "backbone", "label", "preset")
NUMBERS = {"accuracy": float, "rate": float, "shots": int, "seed": int, "epochs": int}


def export_results(source: Path, out: Path, grid: str = "") -> dict[str, Any]:
    """Write results of a store as `out/results.parquet`, with a manifest of what they are and how they were made.

    The same results give the same bytes: rows are sorted by run, and nothing holds the time of the export.

    Args:
        source: The store.
        out: The folder to write to.
        grid: Only the runs that the grid of this name asked for; all by default.

    Returns:
        The manifest.

    Raises:
        BenchError: No grid of this name was run into the store, or `out` is the store.
    """
    if out == source:
        raise BenchError(f"{out} is the results folder itself.", "Name another folder with --out.")
    grids = Store(source).grids()
    if grid and grid not in grids:
        raise BenchError(f"no grid '{grid}' was run into {source}.", nearest(grid, grids))
    asked = [grids[grid]] if grid else list(grids.values())
    loaded = load(source)
    table = loaded.table.sort_by("run_id")
    if grid:
        table = table.filter(pc.is_in(table["run_id"], pa.array(grids[grid]["run_ids"], pa.string())))
    histories = pa.array([_rounded(text) for text in table["history"].to_pylist()], pa.string())
    table = table.set_column(table.schema.get_field_index("history"), "history", histories)
    path = out / "results.parquet"
    with replacing(path) as aside:
        pq.write_table(table, aside, compression="zstd", compression_level=19)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "sha256": sha256(path),
        "runs": table.num_rows,
        "passed_over": len(loaded.passed_over),
        "failed": sum(status == "failed" for status in table["status"].to_pylist()),
        "bench": __version__,
        "commands": sorted({item["command"] for item in asked}),
        "grids": [item["grid"] for item in asked],
        "versions": {name: sorted(set(table[name].to_pylist())) for name in ("engine_version", "features")},
        "environments": [json.loads(text) for text in sorted(set(table["environment"].to_pylist()))],
        "note": f"per-epoch metrics are rounded to {DIGITS} significant digits",
    }
    write_text(out / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def _rounded(history: str) -> str:
    return canonical({name: [_round(value) for value in values] for name, values in json.loads(history).items()})


def _round(value: Any) -> Any:
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return value
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))


def import_published(source: Path, root: Path) -> int:
    """Take published numbers from a CSV file into a results folder, marked with source = "published".

    Columns: method, dataset, accuracy (percent) and citation; optionally noise, rate, backbone, shots, seed (0: a mean over seeds),
    epochs, label and preset. Importing a file of the same name again replaces what it gave before.

    Returns:
        The number of rows.

    Raises:
        BenchError: The file is missing, a column is unknown or lacking, or a value is out of range; says which line.
    """
    reader = csv.DictReader(io.StringIO(read_text(source, hint="Give a CSV file.")), strict=True)
    try:
        _check_columns(source, reader.fieldnames or [])
        rows = [_published(line, f"{source}, line {reader.line_num}") for line in reader]
    except csv.Error as error:
        raise BenchError(f"{source} is not CSV near line {reader.line_num + 1} ({error}).", "Correct it.") from error
    if not rows:
        raise BenchError(f"{source} holds no numbers.", "Give a row per published number.")
    if max(row["accuracy"] for row in rows) <= 1:
        raise BenchError(f"{source}: every accuracy is at most 1, so these look like shares.", "Give percent: 93 for 0.93.")
    if len({row["run_id"] for row in rows}) < len(rows):
        raise BenchError(f"{source} gives the same setting twice.", "Keep one row of each.")
    Store(root)  # refuses a folder that is a link
    with replacing(root / "published" / f"{source.stem}.parquet") as aside:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), aside)
    return len(rows)


def _check_columns(source: Path, names: Any) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for name in names:
        if name not in known:
            raise BenchError(f"{source}: unknown column '{name}'.", nearest(name, known))
        if names.count(name) > 1:
            raise BenchError(f"{source} has the column '{name}' twice.", "Keep one of them.")
    for name in REQUIRED:
        if name not in names:
            raise BenchError(f"{source} lacks the column '{name}'.", f"Columns: {', '.join(known)}.")


def _published(line: Mapping[str, str], where: str) -> dict[str, Any]:
    """A row of the CSV file as a row of results."""
    if None in line:
        raise BenchError(f"{where} has more fields than the header.", "Decimals have a point; text with commas has quotes.")
    given = {key: (value or "").strip() for key, value in line.items()}
    _check_text(given, where)
    values: dict[str, Any] = {key: _number(given[key], key, where) if key in NUMBERS else given[key] for key in given if given[key]}
    for name in REQUIRED:
        if name not in values:
            raise BenchError(f"{where}: '{name}' is empty.", "Fill it in.")
    if values["citation"].isdigit():  # what a decimal comma leaves of an accuracy, where the line lacks its citation
        hint = "Say who published it; decimals have a point."
        raise BenchError(f"{where}: the citation is '{values['citation']}', a number.", hint)
    rate, noise = values.get("rate"), values.get("noise", "clean")
    kind(noise)
    if (noise == "clean") != (not rate):
        raise BenchError(f"{where}: a noise and its rate (above 0) belong together.", "Give both, or neither for clean labels.")
    if values["dataset"] not in card_paths():
        raise BenchError(f"{where}: no dataset is called '{values['dataset']}'.", nearest(values["dataset"], card_paths()))
    rate = rate or 0.0
    setting = {key: values.get(key) for key in ("method", "dataset", "backbone", "shots", "seed", "epochs", "preset")} | {
        "noise": noise,
        "rate": rate,
    }
    cell = digest(["published", setting])
    row = {
        **{column.name: column.absent for column in COLUMNS}, **values,
        "run_id": cell, "cell_id": cell, "status": "done", "source": "published", "schema_version": SCHEMA_VERSION,
        "label": values.get("label", values["method"]), "method_title": values["method"], "trained": True,
        "noise": noise, "rate": rate,
    }  # fmt: skip
    try:
        check_row(row)
    except ValueError as error:
        raise BenchError(f"{where}: {error}.", "Correct the line.") from error
    return row


def _check_text(given: Mapping[str, str], where: str) -> None:
    """Names reach terminals, spreadsheets and pages: none may hold what these take for a command."""
    for key, text in given.items():
        if CONTROL.search(text) or set(text) & set("\n\t"):
            raise BenchError(f"{where}: '{key}' holds control characters: {text!r}.", "Remove them.")
        if key in NAMES and text.startswith(FORMULA):
            raise BenchError(f"{where}: '{key}' is '{text}', which a spreadsheet takes for a formula.", "Write the name alone.")


def _number(text: str, key: str, where: str) -> float | int:
    try:
        return int(text) if NUMBERS[key] is int else float(text)
    except ValueError:
        raise BenchError(f"{where}: '{key}' is '{text}', not a number.", "Correct the line.") from None
