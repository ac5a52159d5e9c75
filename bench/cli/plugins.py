"""Plugin files on the command line."""

from pathlib import Path

from bench.errors import BenchError


def load_plugins(paths: list[Path]) -> None:
    """Load files that register methods.

    Raises:
        BenchError: A file does not exist, takes another method's name, or its own code fails.
    """
    from methods.registry import MethodNameError, load_plugin

    for path in paths:
        if not path.is_file():
            raise BenchError(f"plugin {path} does not exist.", "Name a Python file.")
        try:
            load_plugin(path)
        except MethodNameError as error:
            raise BenchError(f"plugin {path}: {error}.") from error
        except (Exception, SystemExit) as error:
            hint = "Correct the file; `bench --debug …` shows the stack trace."
            raise BenchError(f"plugin {path} cannot be loaded ({type(error).__name__}: {error}).", hint) from error
