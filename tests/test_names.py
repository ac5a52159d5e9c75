"""A user's own module called `bench`, `methods` or `reports` is named in one sentence."""

import os
import subprocess
import sys

import pytest

from bench import names

HOME = names.Path(names.__file__).parents[1]
COMMAND = ("-P", names.__file__, "datasets", "--json")  # -P: as the installed script, which stands in another folder


def bench_with(*folders, command=COMMAND):
    """What the command says where these folders come first on Python's search path."""
    path = os.pathsep.join(map(str, [*folders, HOME]))
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": path},
        cwd=folders[0],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["bench.py", "bench/__init__.py", "methods.py", "reports/__init__.py"])
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


def test_a_notebook_beside_a_module_of_that_name_is_told(tmp_path):
    (tmp_path / "bench.py").touch()
    found = bench_with(tmp_path, command=("-c", "from reports import load"))
    assert f"Python takes {tmp_path / 'bench.py'} for this project's package 'bench'" in found.stderr.splitlines()[-1]
