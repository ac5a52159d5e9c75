"""`methods` and `reports` are plain names: a module of the user's own that is called so must not be taken for the project's."""

import importlib.util
from pathlib import Path

from bench.errors import ENVIRONMENT, BenchError

HOME = Path(__file__).resolve().parents[1]


def check_names() -> None:
    """Whether Python finds the project's own packages under their names.

    Raises:
        BenchError: Something else comes first on the search path, or a package is missing; names it.
    """
    for name in ("methods", "reports"):
        found = importlib.util.find_spec(name)
        if found is None:
            hint = "Install the project again: pip install noisy-prompt-bench."
            raise BenchError(f"the package '{name}' of this project is missing.", hint, ENVIRONMENT)
        folders = [Path(place).resolve() for place in found.submodule_search_locations or ()]
        if HOME / name not in folders:
            raise BenchError(
                f"Python takes {found.origin or ', '.join(map(str, folders))} for this project's package '{name}'.",
                "Rename that module, or take its folder out of PYTHONPATH (or start from another folder).",
                ENVIRONMENT,
            )
