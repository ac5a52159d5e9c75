"""What is declared of a run: every metric has a column, and results of earlier versions get all of them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.engine.outcome import Outcome
from bench.plan import PlannedRun
from bench.results import frame as results
from bench.results import schema, upkeep
from bench.results.columns import page
from bench.results.store import Store
from bench.runner.record import build_record
from bench.spec import RunSpec

OLD = Path(__file__).parent / "version1"  # written by version 0.1.0: a run of a store, and rows of an export with a published one


@pytest.fixture
def old(tmp_path: Path) -> Store:
    shutil.copytree(OLD / "runs", tmp_path / "old" / "runs")
    return Store(tmp_path / "old")


def test_an_old_record_gets_all_columns(old):
    frame = results.load(old.root).frame
    assert list(frame.columns) == list(results.COLUMNS)
    row = frame.iloc[0]
    assert (row["method"], row["method_title"], row["trained"], row["tunes"]) == ("gce", "gce", True, "prompt")
    assert (row["accuracy"], row["train_given"], row["citation"]) == (13.875000000000002, 10.0, "")
    assert pd.isna(row["start"])
    assert row["schema_version"] == schema.SCHEMA_VERSION
    assert upkeep.verify(old) == []


def test_an_old_export_gets_all_columns_and_keeps_its_values():
    loaded, stored = results.load(OLD / "export.parquet"), pq.read_table(OLD / "export.parquet").to_pandas()
    frame = loaded.frame
    assert list(frame.columns) == list(results.COLUMNS)
    unchanged = [name for name in stored if name in frame and name != "schema_version"]
    assert len(unchanged) > 40
    pd.testing.assert_frame_equal(frame[unchanged], stored[unchanged])
    assert list(frame["method"]) == ["zero_shot", "coop_ce", "clean_only", "CoOp"]
    assert list(frame["trained"]) == [False, True, True, True]
    assert list(frame["citation"]) == ["", "", "", "Wu et al. 2023"]
    assert not any("citation" in one for one in loaded.environments())
    assert set(frame["tunes"]) == {"prompt"}


def test_a_column_added_later_leaves_indexes_exports_and_published_numbers_readable(old, monkeypatch):
    """Numbers written before the column existed, in all three forms."""
    (old.root / "published").mkdir()
    pq.write_table(results.load(OLD / "export.parquet").table.slice(3), old.root / "published" / "papers.parquet")
    before = results.load(old.root).frame
    later = schema.Column("memory", float, "metric", "peak memory in MiB", 0.0)
    monkeypatch.setattr(results, "DECLARED", (*schema.COLUMNS, later))
    monkeypatch.setattr(results, "SCHEMA", results.SCHEMA.append(pa.field("memory", pa.float64())))
    monkeypatch.setattr(results, "COLUMNS", (*results.COLUMNS, "memory"))
    after = results.load(old.root).frame
    pd.testing.assert_frame_equal(after.drop(columns="memory"), before)
    assert list(after["memory"]) == [0.0, 0.0]


@pytest.mark.parametrize("unlike", ["a column less", "no digest"])
def test_an_index_of_an_earlier_version_is_no_damage(old, unlike):
    """It is made from the records, and made anew."""
    before = results.load(old.root).frame
    if unlike == "no digest":
        (old.root / "index.sha256").unlink()
    else:
        table = results.pq.read_table(old.root / "index.parquet").drop_columns("start")
        results.write_index(old.root / "index.parquet", table)
    assert upkeep.verify(old) == []
    pd.testing.assert_frame_equal(results.load(old.root).frame, before)
    assert results.pq.read_schema(old.root / "index.parquet").equals(results.SCHEMA)


def test_an_undeclared_measurement_is_an_error_at_once():
    asked = json.loads(next(OLD.glob("runs/*/record.json")).read_text())["spec"]
    spec = RunSpec.model_validate(asked | {"train": None})
    run = PlannedRun(spec, {"method": 1, "engine": 1, "features": "f"}, "a-b", "new")
    for found in ({"metrics": {"accuracy": 1.0, "belief_sharpness": 1.0}}, {"history": {"epoch": [0], "belief_sharpness": [1.0]}}):
        with pytest.raises(ValueError, match=r"'belief_sharpness' is measured, but .*schema\.py declares no such name"):
            build_record(run, Outcome(spec, "done", **found), {})


def test_what_is_copied_from_the_last_epoch_is_in_the_history_too():
    assert set(schema.LAST_EPOCH) <= set(schema.HISTORY)
    assert len({column.name for column in schema.COLUMNS}) == len(schema.COLUMNS)


def test_the_page_of_columns_is_current():
    text = (Path(__file__).parents[2] / "results" / "COLUMNS.md").read_text(encoding="utf-8")
    assert text == page(), "python -m bench.results.columns > results/COLUMNS.md"


def test_what_a_diverged_run_measures_can_be_read_again():
    """Its divergence from zero-shot was 6e34, stored, and then taken for damage."""
    row = dict.fromkeys((column.name for column in schema.COLUMNS), None)
    schema.check_row(row | {"zero_shot_kl": 6.2e34})
    with pytest.raises(ValueError, match="zero_shot_kl = inf is outside"):
        schema.check_row(row | {"zero_shot_kl": float("inf")})
