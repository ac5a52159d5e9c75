"""The command line as a user types it: usage errors, versions, and answers at once."""

import signal
import subprocess
import sys

import pytest

from bench import __version__, cli
from bench.cli import as_told
from bench.output import csv_cell
from bench.spec import RunSpec


def bench(*words):
    return subprocess.run(
        [sys.executable, "-c", "from bench.cli import main; main()", *words], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("words", "said"), [
    (["run"], "Missing argument"), (["nosuch"], "No such command 'nosuch'"), (["run", "x", "--nosuch"], "No such option"),
    (["perf", "--repeats", "many"], "Invalid value for '--repeats'"), (["methods", "gcee"], "Did you mean 'gce'?"),
])  # fmt: skip
def test_bad_usage_is_said_in_words_with_exit_code_2(words, said):
    done = bench(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_version():
    assert bench("--version").stdout.strip() == __version__


@pytest.mark.parametrize("words", [["--help"], ["methods"], ["datasets"], ["plan", "grid.toml"]], ids=lambda words: words[0])
def test_listing_and_planning_import_nothing_heavy(words, tmp_path):
    (tmp_path / "grid.toml").write_text('methods = ["*"]\ndatasets = ["icons_arrows"]\nnoise = {symmetric = [0.0, 0.5]}')
    code = (
        "import sys, atexit; from bench.cli import main; heavy = {'torch', 'pandas', 'open_clip', 'scipy', 'sklearn'};"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules)))); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "heavy: []" in done.stdout


def test_reading_results_does_not_import_torch_and_reports_no_method():
    code = (
        "import sys\nfrom bench.cli import main\n"
        "def run(*words):\n"
        "    sys.argv = ['bench', *words]\n"
        "    try:\n        main()\n    except SystemExit as ended:\n        print('code:', ended.code)\n"
        "import reports, reports.report, reports.comparison\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'methods') or m.startswith('bench.engine')])\n"
        "run('report', 'nowhere')\nrun('status', 'nowhere')\n"
        "print({'torch', 'open_clip'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "code: 2", "code: 2", "set()"]


def test_a_stack_trace_is_for_debug():
    assert "Traceback" in bench("--debug", "methods", "gcee").stderr


def test_an_exit_at_a_plugins_import_is_not_success(tmp_path):
    """`sys.exit(0)` made `plan` end with 0 and no word."""
    plugin, grid = tmp_path / "mine.py", tmp_path / "g.toml"
    plugin.write_text("import sys\nsys.exit(0)\n")
    grid.write_text('methods = ["coop_ce"]\ndatasets = ["digits"]\nnoise = {clean = [0.0]}\n')
    done = bench("plan", str(grid), "--plugin", str(plugin))
    assert done.returncode == 2
    assert "cannot be loaded (SystemExit: 0)" in done.stderr


@pytest.mark.parametrize(("name", "code"), [("x" * 300, 2), ("g.toml/below", 2), (".", 2), ("bell\x07\x1b[2J\u202e", 2)])
def test_a_path_that_cannot_be_is_one_sentence_and_no_terminal_escape(tmp_path, name, code):
    (tmp_path / "g.toml").touch()
    done = bench("plan", str(tmp_path / name))
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (code, 1)
    assert done.stderr.startswith("error: ")
    assert not {"\x07", "\x1b", "\u202e"} & set(done.stderr)


def test_a_stream_that_lacks_a_character_shows_an_escape():
    code = "import sys; sys.stderr.reconfigure(encoding='ascii'); from bench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "methods", "Ωmega"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert r"'\u03a9mega'" in done.stderr


def test_a_reader_that_has_enough_is_no_error():
    """As `bench datasets | head -1`, where `head` has gone before the second line."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from bench.cli import main; main()", "datasets"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_as_ctrl_c_does_and_is_named(number):
    code = (
        "import signal, time; from bench import cli; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "for one in (signal.SIGTERM, signal.SIGHUP): signal.signal(one, signal.SIG_DFL)\n"  # however the tests were started
        "cli.app.command('wait')(lambda: (print('waiting', flush=True), time.sleep(100)))\ncli.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert (process.returncode, said) == (130, f"interrupted{by}: finished runs are kept; start again to continue\n")


def test_a_signal_that_python_swallows_comes_again():
    code = (
        "import os, signal, sys, time; from bench import cli; signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "class Closing:\n    def __del__(self): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
        "def wait():\n    Closing()\n    print('goes on', flush=True)\n    time.sleep(100)\n"
        "cli.app.command('wait')(wait)\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "wait"], capture_output=True, text=True, check=False, timeout=90)
    said = "interrupted by SIGTERM: finished runs are kept; start again to continue\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "goes on\n", said)


def unfit() -> Exception:
    """What a number beyond a field's limits raises."""
    with pytest.raises(ValueError, match="seed") as caught:
        RunSpec.model_validate({"seed": -1, "method": {"name": "a"}, "dataset": "a", "task": "", "backbone": "a", "views": 0,
                                "shots": 1, "noise": {}, "train": None})  # fmt: skip
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FileNotFoundError(2, "No such file", "x.csv"), 2, "No such file (x.csv)"),
        (OSError(36, "File name too long", "x"), 2, "too long"),
        (OSError(28, "No space left on device"), 3, "No space left"),
        (ValueError("embedded null byte"), 2, "NUL"),
        (RecursionError("maximum recursion depth exceeded"), 3, "not enough memory"),
        (unfit(), 2, "a value is out of range: 'seed': Input should be"),
        (KeyError("x" * 50_000_000), 3, "not expected: `bench --debug"),
    ],
)
def test_every_error_is_a_sentence_and_a_code(error, code, says):
    told = as_told(error)
    assert told.code == code
    assert says in str(told)
    assert len(str(told)) < 2000


def test_no_cell_of_a_csv_file_is_a_formula():
    assert [csv_cell(text) for text in ("=1+1", "+x", "-x", "@x", "gce", "")] == ["'=1+1", "'+x", "'-x", "'@x", "gce", ""]


def test_commands_are_registered_once_however_often_main_is_called(monkeypatch, capsys):
    """They were added anew at each call, so that every call of a long-lived process took longer than the one before."""
    monkeypatch.setattr(sys, "argv", ["bench", "--version"])
    counts = []
    for _ in range(3):
        with pytest.raises(SystemExit):
            cli.main()
        counts.append((len(cli.app.registered_commands), len(cli.app.registered_groups)))
    assert counts[0] == counts[1] == counts[2] != (0, 0)
