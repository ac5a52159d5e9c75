"""The command `bench`. In the wheel this file lies beside the packages, too, as `noisy_prompt_bench.py`.

`bench`, `methods` and `reports` are plain names, and a user's own module that is called so must not be taken for the project's. So
the command starts here, under a name that nobody else's module has and without an import of the project's.
"""

import importlib.util
import sys
from pathlib import Path

HOLDS = {"bench": "cli/commands.py", "methods": "registry.py", "reports": "board.py"}  # what tells the project's packages


def mistaken() -> str:
    """What keeps Python from finding the project's own packages under their names, in a sentence; "" where nothing does."""
    for name, part in HOLDS.items():
        found = importlib.util.find_spec(name)
        if found is None:
            return f"the package '{name}' of this project is missing. Install the project again: pip install noisy-prompt-bench."
        folders = found.submodule_search_locations or ()
        if not any(Path(folder, part).is_file() for folder in folders):
            taken = f"Python takes {found.origin or ', '.join(folders)} for this project's package '{name}'."
            return f"{taken} Rename that module, or take its folder out of PYTHONPATH (or start from another folder)."
    return ""


def main() -> None:
    """The command line, where Python finds it; exit code 3 otherwise."""
    if said := mistaken():
        print(f"error: {said}", file=sys.stderr)
        sys.exit(3)
    from bench.cli import main as command  # noqa: PLC0415 - not before its name is known to be the project's

    command()


if __name__ == "__main__":
    main()
