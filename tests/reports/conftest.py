"""The simulated results, and the command line, as fixtures."""

import importlib.util
from pathlib import Path

import pytest

from bench import cli


@pytest.fixture(scope="session")
def sim():
    spec = importlib.util.spec_from_file_location("reports_simulate", Path(__file__).with_name("simulate.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch):
    """What is tested of pictures is not how many dots they have."""
    monkeypatch.setattr("reports.report.DPI", 40)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `bench ARGS`; gives exit code, stdout and stderr."""

    def run(*args):
        monkeypatch.setattr("sys.argv", ["bench", *map(str, args)])
        monkeypatch.setattr(cli, "app", cli.typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None))
        cli.app.callback()(cli.bench)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run
