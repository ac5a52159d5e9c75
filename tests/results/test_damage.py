"""What is damaged, edited or stray in a store is named by verify, and keeps nothing else from being read."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.errors import BenchError
from bench.results import frame as results
from bench.results import upkeep
from bench.results.exchange import export_results, import_published
from bench.results.store import OWN, Store, digest_of
from bench.runner.claims import Claims, running
from bench.runner.schedulers import noted_jobs
from bench.runner.status import read_status
from bench.spec import run_id_of

SPEC = {"method": {"name": "gce", "params": {}}, "dataset": "dtd", "task": "t", "backbone": "b", "views": 0, "shots": 1,
        "noise": {"protocol": "clean", "rate": 0.0}, "train": None}  # fmt: skip
VERSIONS = {"method": 1, "engine": 1, "features": "f"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four finished runs and a failed one."""
    store = Store(tmp_path / "results")
    store.prepare()
    for seed in range(5):
        spec = SPEC | {"seed": seed}
        run_id = run_id_of(spec, VERSIONS)
        shared = {"run_id": run_id, "spec": spec, "versions": VERSIONS, "source": "run", "title": "x", "error": "", "log": ""}
        status = "failed" if seed == 4 else "done"
        store.write({**shared, "status": status, "metrics": {"accuracy": 50.0 + seed}}, {"predictions.npy": NPY})
    return store


NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }" + b" " * 60 + b"\n" + bytes(2)


def edit(store: Store, run_id: str, accuracy, *, signed: bool) -> None:
    path = store.runs / run_id / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["accuracy"] = accuracy
    path.write_text(json.dumps(record | ({"digest": digest_of(record)} if signed else {})))


@pytest.mark.parametrize(
    ("accuracy", "signed", "says"),
    [(99.9, False, "edited"), ("high", True, "not of type float"), (101.0, True, "outside [0, 100]"), (True, True, "not of type")],
)
def test_an_edited_metric_is_found_and_its_run_passed_over(store, accuracy, signed, says):
    run_id = min(store.done())
    edit(store, run_id, accuracy, signed=signed)
    (problem,) = upkeep.verify(store)
    assert run_id in problem
    assert says in problem
    loaded = results.load(store.root)
    assert run_id not in set(loaded.frame["run_id"])
    assert len(loaded.frame) == 4


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", NPY[:-1]])
def test_predictions_cut_short_are_named_and_stop_nothing(store, content):
    run_id = min(store.done())
    (store.runs / run_id / "predictions.npy").write_bytes(content)
    loaded = results.load(store.root)
    assert len(loaded.frame) == 4
    assert "altered or truncated" in loaded.passed_over[0]
    assert run_id in upkeep.verify(store)[0]


def test_an_altered_index_is_named_and_not_believed(store):
    path, usual = store.root / "index.parquet", results.load(store.root).frame
    assert upkeep.verify(store) == []
    table = pq.read_table(path)
    doubled = results.pa.concat_tables([table, table.slice(0, 1)])
    raised = table.set_column(table.schema.get_field_index("accuracy"), "accuracy", [[99.9] * len(table)])
    for altered in (doubled, raised):
        pq.write_table(altered, path)
        assert "index.sha256" in upkeep.verify(store)[0]
        results.pd.testing.assert_frame_equal(results.load(store.root).frame, usual)
        assert upkeep.verify(store) == []
    edit(store, min(store.done()), 51.5, signed=True)  # sound in itself, but not what the index was made from
    assert "made from another record" in upkeep.verify(store)[0]


def test_stray_files_stop_no_command_and_are_named(store):
    for folder in ("runs", "failed", "grids", "published", "claims", "slurm"):
        (store.root / folder).mkdir(exist_ok=True)
        (store.root / folder / ".DS_Store").write_bytes(b"\0\xff")
        (store.root / folder / ".ipynb_checkpoints").mkdir()
    (store.runs / "new folder").mkdir()
    (store.runs / "0000000000000000-00000000").mkdir()
    (store.root / "grids" / "bad.json").write_text("[1]")
    (store.root / "published" / "bad.parquet").write_bytes(b"PAR1")
    (store.root / "slurm" / "jobs.jsonl").write_text('{"jobs": ["7"]}\n{"jobs": \n[]\n')
    loaded = results.load(store.root)
    assert len(loaded.frame) == 5
    assert len(loaded.passed_over) == 2
    assert "0000000000000000-00000000" in store.listed() - store.done()  # so a plan makes that run
    assert noted_jobs(store.root, "slurm") == ["7"]
    status = read_status(store.root)
    assert (status["failed"], status["grids"], status["running"]) == (1, [], 0)
    Claims(store.root).close()
    assert running(store.root) == []
    assert upkeep.superseded(store) == []
    problems = "\n".join(upkeep.verify(store))
    for name in (
        "runs/.DS_Store",
        "new folder",
        "0000000000000000-00000000",
        "bad.json",
        "bad.parquet",
        "failed/.ipynb_checkpoints",
        "claims/.DS_Store",
        "slurm/.DS_Store",
        "published/.DS_Store",
        "published/.ipynb_checkpoints",
    ):
        assert name in problems
    assert "jobs.jsonl: line 1" not in problems
    assert "jobs.jsonl: line 2 names no job" in problems
    assert "jobs.jsonl: line 3" in problems


def test_whatever_is_not_the_stores_own_is_named(store, tmp_path):
    """Links, files where folders belong and the reverse, what lies beside: the store is read all the same."""
    one, two, three = sorted(store.done())[:3]
    for name in ("record.json", "predictions.npy"):  # the very bytes, but elsewhere
        (store.runs / one / name).rename(tmp_path / name)
        (store.runs / one / name).symlink_to(tmp_path / name)
    (store.runs / two / "notes.txt").write_text("mine")
    (store.root / "todo.txt").write_text("mine")
    (store.root / "claims").write_text("a file")
    (store.root / "published" / "numbers.parquet").mkdir(parents=True)
    store.tmp.rmdir()
    store.tmp.write_text("a file")
    found = "\n".join(upkeep.verify(store))
    for name in (f"{one}/record.json: a link", f"{one}/predictions.npy: a link", f"{two}/notes.txt", "todo.txt", "claims", "tmp:"):
        assert name in found
    assert "numbers.parquet: not the store's own" in found
    assert three not in found
    assert len(results.load(store.root).frame) == 5


def test_what_a_kill_leaves_of_a_file_being_written_goes_with_gc(store):
    (store.root / "grids").mkdir()
    names = [store.root / "grids" / f".{'0' * 32}.tmp", store.root / f".{'1' * 32}.tmp", store.root / ".mine.tmp"]
    for path in names:
        path.touch()
        os.utime(path, (0, 0))
    assert upkeep.sweep(store) == 2
    assert [path.exists() for path in names] == [False, False, True]


def test_a_store_of_damaged_runs_alone_says_so_and_how_to_find_them(store):
    for folder in [*store.runs.iterdir(), *store.failed.iterdir()]:
        (folder / "record.json").write_text("{")
    with pytest.raises(BenchError, match=r"all results in .* are damaged: .*record\.json is damaged.*`bench store verify"):
        results.load(store.root)


def test_imported_numbers_are_seen_beside_an_export_and_an_export_never_hides_a_store(store, tmp_path):
    out = tmp_path / "out"
    export_results(store.root, out)
    (tmp_path / "printed.csv").write_text("method,dataset,accuracy,citation\nGCE,digits,93,somebody\n")
    import_published(tmp_path / "printed.csv", out)
    assert sorted(set(results.load(out).frame["source"])) == ["published", "run"]
    with pytest.raises(BenchError, match="results folder itself"):
        export_results(store.root, store.root)
    (out / "results.parquet").rename(store.root / "results.parquet")
    (store.runs / min(store.done()) / "record.json").write_text("{")
    (store.root / "index.parquet").unlink()
    assert len(results.load(store.root).passed_over) == 1  # of the store, not of the export


def test_a_damaged_failure_is_listed_all_the_same(store):
    (run_id,) = store.failures()
    (store.folder(run_id) / "record.json").write_text("{")
    assert "damaged" in read_status(store.root)["failures"][0]["error"]
    (store.failed / f"{run_id}.1").rename(store.failed / f"{run_id}.3")  # the first attempts were removed by hand
    assert store.attempts(run_id) == 3
    assert len(results.load(store.root).frame) == 4


@pytest.mark.parametrize("name", OWN)
def test_a_store_whose_own_folders_are_links_is_refused(store, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").write_text("kept")
    path = store.root / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match="is a link to"):
        Store(store.root)
    assert (tmp_path / "elsewhere" / "mine.txt").read_text() == "kept"


def test_links_inside_are_never_followed(store, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "record.json").write_text("{}")
    for link in (store.tmp / "old", store.runs / "0000000000000000-00000000", store.failed / f"{min(store.done())}.1"):
        link.symlink_to(mine)
        os.utime(link, (0, 0), follow_symlinks=False)
    assert len(store.done()) == 4
    assert upkeep.sweep(store) == 1  # the link in tmp itself
    assert (mine / "record.json").read_text() == "{}"
    assert len(upkeep.verify(store)) == 2
