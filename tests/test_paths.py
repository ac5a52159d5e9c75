"""Every path that a command takes is spelled in one form before it is looked at."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from bench.cli import app, commands, main
from bench.files import resolved


def taken(group: typer.Typer) -> Iterator[inspect.Parameter]:
    """What all commands of a group take, as their functions declare it."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield from inspect.signature(command.callback).parameters.values()
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from taken(inner.typer_instance)


def test_no_path_reaches_a_command_as_it_was_typed():
    commands.register(app)
    paths = [parameter for parameter in taken(app) if "Path" in str(parameter.annotation)]
    assert len(paths) > 20
    assert [parameter for parameter in paths if parameter.default.parser is not resolved] == []


@pytest.mark.parametrize(
    "words",
    [
        ["status", "~/none"],
        ["store", "verify", "~/none"],
        ["plan", "~/none"],
        ["plan", "x", "--plugin", "~/none"],
        ["report", "~/none"],
        ["compare", "~/none", "x"],
        ["import", "~/none", "x"],
        ["export", "run", "--results=~/none"],
    ],
)
def test_a_home_that_the_shell_leaves_alone_is_spelled_out(words, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert str(tmp_path / "none") in said or "'run'" in said
    assert not Path("~").exists()
