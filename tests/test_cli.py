"""The command line as a user types it: usage errors, versions, and answers at once."""

import subprocess
import sys

import pytest

from bench import __version__


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


@pytest.mark.parametrize("words", [["--help"], ["methods"], ["datasets"]])
def test_listing_imports_neither_torch_nor_pandas(words):
    code = (
        "import sys, atexit; from bench.cli import main;"
        "atexit.register(lambda: print('heavy:', sorted({'torch', 'pandas', 'open_clip'} & set(sys.modules)))); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize("words", [["status", "nowhere"], ["report", "nowhere"]])
def test_reading_results_does_not_import_torch(words):
    code = (
        "import sys, atexit; from bench.cli import main;"
        "atexit.register(lambda: print('heavy:', sorted({'torch', 'open_clip'} & set(sys.modules)))); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "heavy: []" in done.stdout


def test_a_stack_trace_is_for_debug():
    assert "Traceback" in bench("--debug", "methods", "gcee").stderr
