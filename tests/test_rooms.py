"""Who may import whom, as CONTRIBUTING.md has it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPEN = ("methods", "methods.base", "methods.registry", "methods.declared")  # of the methods' folder, what others may import
READ = ("bench", "bench.errors", "bench.files", "bench.output", "bench.spec")  # beside bench.results, what reports read


def imports(folder: str):
    """(module, what it imports) of all modules below a folder, wherever in them."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                yield module, node.module
            elif isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)


@pytest.mark.parametrize(
    ("folder", "fits"),
    [
        ("methods", lambda name: not name.startswith(("bench", "reports"))),
        ("reports", lambda name: name in READ or not name.startswith(("bench", "methods", "torch")) or "bench.results" in name),
        ("bench", lambda name: name in OPEN or not name.startswith("methods")),
        ("bench/results", lambda name: not name.startswith(("torch", "reports", "bench.engine", "bench.runner", "bench.cli"))),
    ],
)
def test_nobody_imports_what_is_not_for_them(folder, fits):
    found = list(imports(folder))
    assert len(found) > 20
    assert [pair for pair in found if not fits(pair[1])] == []


def test_only_the_command_line_imports_reports():
    assert {module.rpartition(".")[0] for module, name in imports("bench") if name.startswith("reports")} == {"bench.cli"}


def test_no_two_rooms_import_each_other():
    rooms = {path.name for path in (ROOT / "bench").iterdir() if path.is_dir()}
    into: dict[str, set[str]] = {room: set() for room in rooms}
    for module, name in imports("bench"):
        here, there = (dotted.split(".")[1] if dotted.startswith("bench.") else "" for dotted in (module, name))
        if here != there and {here, there} <= rooms:
            into[here].add(there)
    assert [(here, there) for here in into for there in into[here] if here in into[there]] == []
