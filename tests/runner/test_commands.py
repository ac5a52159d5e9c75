"""The commands as a user types them: what they print, where, and their exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli
from bench.grid import Grid
from bench.progress import clock
from bench.results.store import Store
from bench.runner.progress import Events, Reporter, Tally


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path):
    """Runs a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, error = capsys.readouterr()
        return int(ended.value.code or 0), out, error

    return run


@pytest.fixture
def file(grid: Grid, tmp_path: Path) -> str:
    """The small grid as a file."""
    path = tmp_path / "small.toml"
    datasets = ", ".join(f'"{card}"' for card in grid.datasets)
    path.write_text(
        f'name = "small"\npreset = "demo"\nmethods = ["coop_ce", "gce", "zero_shot"]\ndatasets = [{datasets}]\n'
        "views = 2\nshots = [2]\nseeds = [1, 2]\nnoise = { symmetric = [0.0, 0.5] }\n"
    )
    return str(path)


def test_plan_says_what_is_to_run_and_writes_nothing(bench, file, tmp_path):
    code, out, _ = bench("plan", file)
    assert code == 0
    assert "18 runs: 0 done, 0 failed, 18 to run" in out
    assert "unknown before the first runs" in out
    assert not (tmp_path / "results").exists()
    assert bench("run", file, "--dry-run")[1] == out
    smaller = json.loads(bench("run", file, "--dry-run", "--json", "--stack", "1")[1])  # of the run as it would be
    assert {shard["runs"] for shard in smaller["shards"]} == {1}


def test_plan_for_scripts_on_a_store_with_a_failure(bench, file, filled):
    code, out, _ = bench("plan", file, "--json", "--out", str(filled.root))
    counts = json.loads(out)["counts"]
    assert (code, counts["done"], counts["failed"], counts["to_run"]) == (0, 17, 1, 0)
    code, out, _ = bench("plan", file, "--out", str(filled.root), "--retry-failed")
    assert "1 to run" in out


def test_status_shows_what_failed_and_where(bench, filled):
    code, out, _ = bench("status", str(filled.root))
    assert code == 0
    assert "17 runs done, 1 failed, 0 in flight" in out
    (failed,) = filled.failures()
    assert f"record: {filled.folder(failed)}/record.json" in out
    assert f"log: {filled.root}/logs/a.log" in out
    found = json.loads(bench("status", str(filled.root), "--json")[1])
    assert (found["done"], found["failed"], found["failures"][0]["error"]) == (17, 1, "NaN loss")


def test_a_run_that_is_done_is_done(bench, file, filled):
    """Nothing is left to run, one run has failed before: exit 1, and no worker starts."""
    code, _, error = bench("run", file, "--out", str(filled.root))
    assert code == 1
    assert "0 runs done now, 17 before, 1 failed" in error
    status = json.loads(bench("status", str(filled.root), "--json")[1])
    assert status["grids"] == [{"name": "small", "total": 18, "done": 17, "failed": 1, "missing": 0, "unavailable": {}}]


def test_verify_gc_export_and_import(bench, filled, tmp_path):
    root = str(filled.root)
    assert bench("store", "verify", root)[0] == 0
    run_id = min(filled.done())
    (filled.runs / run_id / "predictions.npy").write_bytes(b"")
    code, out, _ = bench("store", "verify", root)
    assert code == 1
    assert run_id in out
    filled.write({**filled.read(run_id), "run_id": run_id[:17] + "ffffffff", "finished": 9e9})
    assert "1 superseded runs removed" in bench("store", "gc", root, "--yes")[1]
    assert run_id not in filled.done()
    assert "18 runs (1 failed)" in bench("store", "export", root, "--out", "exported")[1]
    assert (tmp_path / "exported" / "manifest.json").is_file()
    (tmp_path / "p.csv").write_text("method,dataset,accuracy,citation\nCoOp,dtd,62.5,Zhou et al.\n")
    assert "1 published numbers added" in bench("import", "p.csv", root)[1]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["plan", "none.toml"], 2, "does not exist"),
        (["plan", "{file}", "--shard", "3/2"], 2, "--shard 3/2"),
        (["run", "{file}", "--plugin", "none.py"], 2, "none.py does not exist"),
        (["run", "{file}", "--plugin", "."], 2, "is not a file"),
        (["run", "{file}", "--plugin", "one/mine.py", "--plugin", "two/mine.py"], 2, "two/mine.py have the same name"),
        (["run", "{file}", "--device", "tpu"], 2, "'tpu'"),
        (["run", "{file}", "--on", "pbs"], 2, "--on pbs"),
        (["run", "{file}", "--on", "slurm", "--option", "account"], 2, "'account' is not of the form key=value"),
        (["run", "{file}", "--on", "slurm", "--option", "time=2:00"], 2, "--option time=2:00"),
        (["run", "{file}", "--on", "slurm", "--option", "time=3"], 2, "too short"),
        (["run", "{file}", "--on", "slurm", "--device", "tpu"], 2, "'tpu'"),
        (["run", "{file}", "--option", "partition=gpu"], 2, "--on here"),
        (["run", "{file}", "--out", "{file}"], 2, "is a file, not a results folder"),
        (["status", "nowhere"], 2, "/nowhere. Name a results folder"),
        (["store", "verify", "nowhere"], 2, "/nowhere. Name a results folder"),
        (["import", "none.csv", "here"], 2, "does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(bench, file, words, code, says):
    found, out, error = bench(*[word.format(file=file) for word in words])
    assert found == code
    assert says in error
    assert "Traceback" not in error
    assert out == ""


def test_stderr_lines_without_a_terminal(capsys):
    tally = Tally(total=4, total_steps=400)
    lines = Reporter(tally)
    lines.steps(100)
    lines.run("a", "done", "gce · dtd", "", "results/runs/a")
    lines.run("b", "failed", "mae · dtd", "NaN loss", "results/failed/b.1")
    lines.tick()
    error = capsys.readouterr().err
    assert error == "failed: mae · dtd: NaN loss\n        record: results/failed/b.1/record.json\n"
    tally.started -= 50
    lines.close()
    assert "2/4 runs · 1 done · 1 failed · 2 run-steps/s" in capsys.readouterr().err


def test_events_are_json_lines_on_stdout(capsys):
    events = Events(Tally(total=2, total_steps=10))
    events.run("a", "failed", "gce · dtd", "NaN loss", "results/failed/a.1")
    events.note("a note")
    events.steps(10)
    events.close()
    run, note, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert (run["event"], run["status"], run["folder"]) == ("run", "failed", "results/failed/a.1")
    assert note == {"event": "note", "text": "a note"}
    assert (end["event"], end["failed"], end["steps"]) == ("end", 1, 10)


def test_the_bar_of_a_terminal_ends_full_and_leaves_failures_above(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = Reporter(Tally(total=2, total_steps=10))
    bar.run("a", "failed", "gce · dtd", "NaN loss", "results/failed/a.1")
    bar.run("b", "done", "mae · dtd", "", "results/runs/b")
    bar.close()
    error = capsys.readouterr().err
    assert "NaN loss" in error
    assert "━" in error
    assert "2/2" in error


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_read_by_people(seconds, text):
    assert clock(seconds) == text


def test_an_empty_folder_is_no_store(bench, tmp_path):
    Store(tmp_path / "results").prepare()
    assert "0 runs done" in bench("status", "results")[1]


@pytest.mark.parametrize(("module", "without"), [("bench.runner.status", "torch pandas"), ("bench.cli.commands", "torch pandas"),
                                                 ("bench.results", "torch"), ("bench.results.exchange", "torch")])  # fmt: skip
def test_what_answers_at_once_does_not_import_what_is_heavy(module, without):
    code = f"import sys, {module}; print([name for name in {without!r}.split() if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
