"""Loading results: the index, exports, published numbers; and keeping a store in order."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.results import frame as results
from bench.results import upkeep
from bench.results.exchange import export_results, import_published
from bench.results.store import Store, digest_of


def test_a_store_loads_as_one_row_per_run(filled, grid, fake):
    loaded = results.load(filled.root)
    frame = loaded.frame.set_index("run_id")
    assert len(frame) == 18
    assert (frame["status"] == "failed").sum() == 1
    assert set(frame.columns) | {"run_id"} == set(results.COLUMNS)
    for run_id in filled.done():
        record, row = filled.read(run_id), frame.loc[run_id]
        assert row["accuracy"] == record["metrics"]["accuracy"]
        assert (row["method"], row["dataset"]) == (record["spec"]["method"]["name"], record["spec"]["dataset"])
        assert np.array_equal(loaded.predictions(run_id), np.load(filled.folder(run_id) / "predictions.npy"))
    history = loaded.history([run_id])
    assert list(history["epoch"]) == [1, 2]
    assert list(history["loss"]) == [1.5, 0.5]


def test_the_index_is_derived(filled):
    first = results.load(filled.root).frame
    (filled.root / "index.parquet").write_bytes(b"damaged")
    pd.testing.assert_frame_equal(results.load(filled.root).frame, first)
    (filled.root / "index.parquet").unlink()
    pd.testing.assert_frame_equal(results.load(filled.root).frame, first)
    gone = min(filled.done())
    filled.remove(gone)
    frame = results.load(filled.root).frame
    assert set(first["run_id"]) - set(frame["run_id"]) == {gone}


def test_the_index_reads_only_what_is_new(filled, monkeypatch):
    results.load(filled.root)
    read: list[str] = []
    monkeypatch.setattr(Store, "read", lambda self, run_id, usual=Store.read: read.append(run_id) or usual(self, run_id))
    results.load(filled.root)
    assert set(read) == filled.failures()


@pytest.mark.parametrize("text", ["{", "{}", ""])
def test_a_damaged_record_is_named(filled, text):
    run_id = min(filled.done())
    (filled.runs / run_id / "record.json").write_text(text)
    loaded = results.load(filled.root)
    assert len(loaded.frame) == 17
    assert len(loaded.passed_over) == 1
    assert run_id in loaded.passed_over[0]


def test_an_export_is_two_files_that_load_alike_and_the_same_twice(filled, tmp_path):
    (filled.root / "grids").mkdir()
    (filled.root / "grids" / "small.json").write_text(
        json.dumps({"command": "bench run small.toml", "grid": {"name": "small"}, "run_ids": [], "unavailable": {}})
    )
    manifest = export_results(filled.root, tmp_path / "one")
    export_results(filled.root, tmp_path / "two")
    assert (tmp_path / "one" / "results.parquet").read_bytes() == (tmp_path / "two" / "results.parquet").read_bytes()
    assert (manifest["runs"], manifest["failed"], manifest["commands"]) == (18, 1, ["bench run small.toml"])
    stored, exported = (
        results.load(path).frame.sort_values("run_id", ignore_index=True) for path in (filled.root, tmp_path / "one")
    )
    pd.testing.assert_frame_equal(stored, exported)
    run_id = min(filled.done())
    assert np.array_equal(results.load(tmp_path / "one").predictions(run_id), results.load(filled.root).predictions(run_id))


def test_an_export_of_one_grid_holds_its_runs_alone(filled, tmp_path):
    (filled.root / "grids").mkdir()
    some = sorted(filled.done())[:5]
    for name, ids in (("small", some), ("large", sorted(filled.done()))):
        asked = {"command": f"bench run {name}.toml", "grid": {"name": name}, "run_ids": ids, "unavailable": {}}
        (filled.root / "grids" / f"{name}.json").write_text(json.dumps(asked))
    manifest = export_results(filled.root, tmp_path / "one", "small")
    assert sorted(results.load(tmp_path / "one").frame["run_id"]) == some
    assert (manifest["runs"], manifest["commands"], manifest["grids"]) == (5, ["bench run small.toml"], [{"name": "small"}])
    with pytest.raises(BenchError, match=r"no grid 'smal' was run into .*Did you mean 'small'"):
        export_results(filled.root, tmp_path / "two", "smal")
    assert not (tmp_path / "two").exists()


def test_an_altered_export_is_refused(filled, tmp_path):
    export_results(filled.root, tmp_path)
    path = tmp_path / "results.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BenchError, match="is not the file"):
        results.load(tmp_path)


def test_results_of_a_newer_version_are_refused(filled, tmp_path):
    table = results.load(filled.root).table
    newer = table.set_column(table.schema.get_field_index("schema_version"), "schema_version", [[99] * len(table)])
    results.pq.write_table(newer, tmp_path / "new.parquet")
    with pytest.raises(BenchError, match="schema version 99"):
        results.load(tmp_path / "new.parquet")


def test_no_results_are_said(tmp_path):
    with pytest.raises(BenchError, match="no results"):
        results.load(tmp_path)


PUBLISHED = """method,dataset,noise,rate,accuracy,shots,citation
CoOp,dtd,symmetric,0.5,49.5,16,Wu et al. 2023
CoOp,dtd,,0,62.5,16,Zhou et al.
"""


def test_published_numbers_load_beside_runs_and_are_marked(filled, tmp_path):
    file = tmp_path / "papers.csv"
    file.write_text(PUBLISHED)
    assert import_published(file, filled.root) == import_published(file, filled.root) == 2
    frame = results.load(filled.root).frame
    published = frame[frame["source"] == "published"]
    assert len(frame) == 20
    assert list(published["accuracy"]) == [49.5, 62.5]
    assert list(published["noise"]) == ["symmetric", "clean"]
    assert list(published["seed"]) == [0, 0]
    assert frame["seed"].dtype == np.int64
    assert list(published["citation"]) == ["Wu et al. 2023", "Zhou et al."]
    assert set(frame.loc[frame["source"] == "run", "citation"]) == {""}


def test_published_numbers_alone_are_results_too(tmp_path):
    (tmp_path / "papers.csv").write_text(PUBLISHED)
    import_published(tmp_path / "papers.csv", tmp_path / "results")
    assert len(results.load(tmp_path / "results").frame) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("method,dataset,acc,citation\na,b,1,c\n", "unknown column 'acc'. Did you mean 'accuracy'?"),
        ("method,dataset,accuracy\na,b,1\n", "lacks the column 'citation'"),
        ("method,dataset,accuracy,citation\na,dtd,good,c\n", "line 2: 'accuracy' is 'good'"),
        ("method,dataset,accuracy,citation\na,dtd,101,c\n", "accuracy = 101.0 is outside [0, 100]"),
        ("method,dataset,accuracy,citation\na,dtd,,c\n", "'accuracy' is empty"),
        ("method,dataset,accuracy,citation\n", "no numbers"),
        ("method,dataset,accuracy,citation\na,dtd,11,c\na,dtd,12,c\n", "twice"),
        ("method,dataset,noise,rate,accuracy,citation\na,dtd,symetric,0.5,11,c\n", "symmetric"),
        ("method,dataset,accuracy,citation\na,dtd,0.93,c\nb,dtd,0.5,c\n", "look like shares"),
        ("method,dataset,accuracy,citation\na,dtd,49,5,c\n", "line 2 has more fields than the header"),
        ("method,dataset,rate,accuracy,citation\na,dtd,0.5,49.5,c\n", "a noise and its rate (above 0) belong together"),
        ("method,dataset,noise,accuracy,citation\na,dtd,symmetric,49.5,c\n", "a noise and its rate (above 0) belong together"),
        ("method,dataset,noise,rate,accuracy,citation\na,dtd,symmetric,25,49.5,c\n", "rate = 25.0 is outside [0, 1]"),
        ("method,dataset,accuracy,citation\na,dtdd,49.5,c\n", "no dataset is called 'dtdd'. Did you mean 'dtd'?"),
        ("method,dataset,shots,accuracy,citation\na,dtd,-4,49.5,c\n", "shots = -4 is outside"),
        ("method,dataset,accuracy,citation\na,dtd,nan,c\n", "accuracy = nan is outside"),
        ("method,dataset,accuracy,citation\na,dtd,49,5\n", "the citation is '5', a number"),
        ("method,method,dataset,accuracy,citation\na,b,dtd,49.5,c\n", "has the column 'method' twice"),
        ("method,dataset,accuracy,citation\n=1+1,dtd,49.5,c\n", "'method' is '=1+1', which a spreadsheet"),
        ("method,label,dataset,accuracy,citation\na,@x,dtd,49.5,c\n", "'label' is '@x'"),
        ("method,dataset,accuracy,citation\na\x1b[31m,dtd,49.5,c\n", r"'method' holds control characters: 'a\x1b[31m'"),
        ('method,dataset,accuracy,citation\na,dtd,49.5,"c\nd"\n', "'citation' holds control characters"),
        (f"method,dataset,accuracy,citation\n{'a' * 140_000},dtd,49.5,c\n", "is not CSV near line 2"),
        ('method,dataset,accuracy,citation\na,dtd,49.5,"c\n', "is not CSV"),
    ],
)
def test_a_wrong_csv_file_is_one_sentence_and_changes_nothing(tmp_path, text, says):
    (tmp_path / "papers.csv").write_text(text)
    with pytest.raises(BenchError) as caught:
        import_published(tmp_path / "papers.csv", tmp_path / "results")
    assert says in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_a_sound_store_has_no_problems(filled):
    assert upkeep.verify(filled) == []


def test_damage_is_named(filled):
    one, two, three, four = sorted(filled.done())[:4]
    (filled.runs / one / "record.json").write_text("{")
    (filled.runs / two / "predictions.npy").write_bytes(b"short")
    (filled.runs / three / "predictions.npy").unlink()
    path = filled.runs / four / "record.json"
    record = json.loads(path.read_text())
    record["spec"]["seed"] = 7
    path.write_text(json.dumps(record | {"digest": digest_of(record)}))
    problems = upkeep.verify(filled)
    assert len(problems) == 4
    for problem, run_id, says in zip(
        problems, (one, two, three, four), ("not sound", "altered", "missing", "belong to"), strict=True
    ):
        assert run_id in problem
        assert says in problem


def test_only_the_latest_run_of_a_cell_is_kept(filled):
    run_id = min(filled.done())
    record = filled.read(run_id)
    newer = record["cell_id"] + "-ffffffff"
    filled.write({**record, "run_id": newer, "finished": record["finished"] + 1})
    assert upkeep.superseded(filled) == [run_id]


def test_what_crashes_left_is_removed_and_what_is_being_written_is_not(filled):
    old, new = filled.tmp / "old", filled.tmp / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "record.json").write_text("{")
    os.utime(old, (0, 0))
    (failed,) = filled.failures()
    assert upkeep.sweep(filled) == 1
    assert [path.name for path in filled.tmp.iterdir()] == ["new"]
    filled.write({**filled.read(failed), "status": "done"})
    assert upkeep.sweep(filled) == 1
    assert not list(filled.failed.iterdir())


def test_ten_thousand_runs_load_through_the_index(filled, tmp_path):
    """The index alone serves them: nothing is in their folders."""
    ids = [f"{number:016d}-00000000" for number in range(10_000)]
    one = results.pa.Table.from_pylist([results.row(filled.read(min(filled.done())))], results.SCHEMA)
    big = one.take([0] * len(ids)).set_column(0, results.SCHEMA.field("run_id"), [ids])
    (tmp_path / "big" / "runs").mkdir(parents=True)
    for run_id in ids:
        (tmp_path / "big" / "runs" / run_id).mkdir()
    results.write_index(tmp_path / "big" / "index.parquet", big)
    assert list(results.load(tmp_path / "big").frame["run_id"]) == ids
