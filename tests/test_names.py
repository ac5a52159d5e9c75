"""A user's own module called `methods` or `reports` is named in one sentence."""

import os
import subprocess
import sys

import pytest

from bench.names import HOME

COMMAND = "import sys; sys.argv = ['bench', 'datasets', '--json']; from bench.cli import main; main()"


def bench_with(*folders):
    """What the command says where these folders come first on Python's search path."""
    path = os.pathsep.join(map(str, [*folders, HOME]))
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=os.environ | {"PYTHONPATH": path},
        cwd=folders[0],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["methods.py", "reports/__init__.py"])
def test_another_module_of_that_name_is_one_sentence(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('this must not be run')\n")
    found = bench_with(tmp_path)
    assert found.returncode == 3
    assert found.stdout == ""
    assert f"error: Python takes {tmp_path / name} for this project's package" in found.stderr
    assert "Rename that module" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_folder_of_that_name_without_code_is_in_nobodys_way(tmp_path):
    (tmp_path / "methods").mkdir()
    assert bench_with(tmp_path).returncode == 0
