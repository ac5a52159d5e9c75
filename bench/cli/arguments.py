"""What the arguments of several commands share: paths in one form, key=value texts, plugin files."""

from pathlib import Path
from typing import Any

import typer

from bench.devices import NAMES
from bench.errors import BenchError
from bench.files import resolved


def path_argument(name: str, help: str) -> Any:  # noqa: A002 - as Typer calls it
    """An argument that is a path, called `name` in the help and given to the command as `bench.files.resolved` spells it."""
    return typer.Argument(help=help, parser=resolved, metavar=name)


def path_option(default: Any, *names: str, help: str) -> Any:  # noqa: A002 - as Typer calls it
    """An option that is a path, likewise; its default too."""
    return typer.Option(default, *names, help=help, parser=resolved, metavar="PATH")


DEVICE = typer.Option("auto", "--device", help=f"{NAMES}.")
JSON = typer.Option(False, "--json", help="Print JSON.")
PLUGIN = path_option([], "--plugin", help="A Python file that registers methods; may be repeated.")


def refuse(context: typer.Context, where: str, *names: str) -> None:
    """Refuse options that were given though nothing would come of them.

    Args:
        context: The command's.
        where: Why they mean nothing, such as "under --on here".
        names: Their parameters' names.

    Raises:
        BenchError: One of them was given.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source is not None and source.name == "COMMANDLINE":
            raise BenchError(f"{option.opts[0]} has no meaning {where}.", "Leave it out.")


def pairs(option: str, texts: list[str]) -> dict[str, list[str]]:
    """`key=value` texts as a mapping from keys to all their values.

    Raises:
        BenchError: A text has no "=".
    """
    values: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise BenchError(f"{option} '{text}' is not of the form key=value.")
        values.setdefault(key, []).append(value)
    return values


def load_plugins(paths: list[Path]) -> None:
    """Load files that register methods.

    Raises:
        BenchError: A file is none or does not exist, has another's name or takes another method's, or its own code fails.
    """
    from methods.registry import MethodNameError, load_plugin

    by_name: dict[str, Path] = {}
    for path in paths:  # a module is known by its file's name: two of one name would be taken for one another
        if (other := by_name.setdefault(path.stem, path)).resolve() != path.resolve():
            raise BenchError(f"plugins {other} and {path} have the same name.", "Rename one of them.")
    for path in paths:
        if not path.is_file():
            raise BenchError(f"plugin {path} {'is not a file' if path.exists() else 'does not exist'}.", "Name a Python file.")
        try:
            load_plugin(path)
        except MethodNameError as error:
            raise BenchError(f"plugin {path}: {error}.") from error
        except (Exception, SystemExit) as error:
            hint = "Correct the file; `bench --debug …` shows the stack trace."
            raise BenchError(f"plugin {path} cannot be loaded ({type(error).__name__}: {error}).", hint) from error
