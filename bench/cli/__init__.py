"""The command line. Each command's module imports what is heavy only when the command runs, so `--help` answers at once."""

import errno
import os
import signal
import sys
import threading
import traceback
from typing import Any

import typer

from bench import __version__
from bench.errors import ENVIRONMENT, INTERRUPTED, OK, USAGE, BenchError, invalid
from bench.output import say, tolerant

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
options = {"debug": False}

WRONG_NAME = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)  # what a path of the user's can cause
AGAIN = 0.05  # seconds after which a signal that was swallowed comes again
LONGEST = 1000  # characters of an unexpected error that are shown

# Typer's own base of usage errors: newer versions bring a click of their own, whose classes are not the package click's.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


class Stopped(BaseException):
    """A signal asks the command to end. Not a KeyboardInterrupt: some versions of Typer end on that without a word."""


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
    """Run the command line. Whatever goes wrong becomes one sentence and an exit code; the stack trace is for --debug."""
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:  # nohup ignores SIGHUP, and that stays so
            signal.signal(number, _stop)
    sys.unraisablehook = _again
    try:
        sys.exit(_run())
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except USAGE_ERROR as error:
        error.show()
        sys.exit(error.exit_code)
    except (Stopped, KeyboardInterrupt, typer.Abort) as error:
        say(f"interrupted{f' by {error}' if str(error) else ''}: finished runs are kept; start again to continue", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - this is where every error ends
        if options["debug"]:
            traceback.print_exc()
        told = as_told(error)
        say(f"error: {told}", err=True)
        sys.exit(told.code)


def _run() -> int:
    """The command. What it loads may not end the program: a plugin's exit would look like success."""
    from bench.cli import commands

    commands.register(app)
    try:
        return int(app(standalone_mode=False) or OK)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # typer exits where the reader of our output has gone
            raise error.__context__ from None
        raise BenchError(f"a method's code has tried to end the program (exit status {error.code}).", "Correct it.") from error


def _stop(number: int, _: object) -> None:
    """A scheduler's or a closing terminal's signal ends a command as Ctrl-C does."""
    raise Stopped("" if number == signal.SIGINT else signal.Signals(number).name)


def _again(swallowed: Any) -> None:
    """Python swallows what a signal raises while an object is being deleted, such as a DataLoader that waits for its processes."""
    if isinstance(swallowed.exc_value, Stopped):
        number = signal.Signals[str(swallowed.exc_value) or "SIGINT"]
        threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(swallowed)


def as_told(error: Exception) -> BenchError:
    """An error as a user is told of it.

    Names of files that cannot be, and files that hold something else than expected, are found by whatever reads them first, in many
    libraries: this is where all of them become a sentence.
    """
    if isinstance(error, BenchError):
        return error
    from methods.registry import MethodNameError, UnknownMethodError

    if type(error).__name__ == "ValidationError" and hasattr(error, "errors"):  # pydantic's, of an option's value
        return invalid("a value is out of range", error, ())  # type: ignore[arg-type]  # it is not imported for that alone
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:LONGEST]
    if isinstance(error, MethodNameError | UnknownMethodError):
        told = BenchError(f"{error}.")
    elif isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        code = USAGE if isinstance(error, WRONG_NAME) or error.errno == errno.ENAMETOOLONG else ENVIRONMENT
        told = BenchError(f"{error.strerror or said}{where}.", "Check the path." if code == USAGE else "", code)
    elif isinstance(error, MemoryError | RecursionError):
        told = BenchError(f"there is not enough memory for this ({said}).", "Ask for less at once.", ENVIRONMENT)
    elif type(error).__module__.startswith("pyarrow"):
        told = BenchError(f"a file is not readable as Parquet ({said}).", "Name another, or make it anew.")
    elif isinstance(error, ValueError) and "null byte" in said:
        told = BenchError(f"a path holds a NUL byte, as no name can ({said}).", "Check it.")
    else:
        hint = "This is not expected: `bench --debug …` shows the stack trace, for a report of it."
        told = BenchError(f"{type(error).__name__}: {said}.", hint, ENVIRONMENT)
    return told
