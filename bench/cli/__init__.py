"""The command line. Each command's module imports what is heavy only when the command runs, so `--help` answers at once."""

import sys
import traceback
from typing import Any

import typer
from rich.console import Console

from bench import __version__
from bench.errors import INTERRUPTED, USAGE, BenchError
from methods.registry import MethodNameError, UnknownMethodError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
options = {"debug": False}

# Typer's own base of usage errors: newer versions bring a click of their own, whose classes are not the package click's.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def bench(
    debug: bool = typer.Option(False, "--debug", help="Show the stack trace of an error."),
    version: bool = typer.Option(  # noqa: ARG001 - its callback does the work
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Honest comparison of noise-robust prompt tuning for vision-language models."""
    options["debug"] = debug


def main() -> None:
    """Run the command line; an error a user can act on becomes one sentence and an exit code."""
    from bench.cli import commands

    commands.register(app)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except BenchError as error:
        if options["debug"]:
            traceback.print_exc()
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        sys.exit(error.code)
    except (MethodNameError, UnknownMethodError) as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}.", markup=False, highlight=False)
        sys.exit(USAGE)
    except USAGE_ERROR as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted: finished runs are kept; start again to continue", err=True)
        sys.exit(INTERRUPTED)
