"""What a method's class declares, read from its source: a plan of many thousand runs need not import torch and scikit-learn."""

import ast
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_origin, get_type_hints

from methods import kinds

if TYPE_CHECKING:
    from methods.base import Method

# The class variables that a plan reads.
FACTS = ("version", "contexts", "views", "train", "from_shots", "holds_text", "oracle", "nested")


class Declared(NamedTuple):
    """What a plan needs to know of a method."""

    module: str
    facts: dict[str, Any]  # FACTS and their values
    params: dict[str, Any]  # hyper-parameters and their defaults
    later: dict[str, Any]  # those of them that came later (`methods.base.later`)
    kinds: dict[str, Any]  # the values that each may have, as a type for pydantic; None where a class names no range


def of_class(cls: "type[Method]") -> Declared:
    """What a class declares."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    hints: dict[str, Any] = {}
    with contextlib.suppress(NameError):  # an author's type that is imported for the type checker alone
        hints = get_type_hints(cls, include_extras=True)
    return Declared(
        cls.__module__,
        {name: getattr(cls, name) for name in FACTS},
        {field.name: field.default for field in fields},
        {field.name: field.default for field in fields if "later" in field.metadata},
        {field.name: _range(hints.get(field.name)) for field in fields},
    )


def _range(kind: Any) -> Any:
    """An annotation that says which values there are."""
    return kind if get_origin(kind) in (Annotated, Literal) else None


@functools.cache
def of_source(path: Path, name: str) -> Declared | None:
    """What the class registered as `name` in a file of this folder declares; None where only running it tells."""
    try:
        node = next(node for node in tree(path, path.stat().st_mtime_ns).body if registered_as(node) == name)
        return _read(path, node)
    except (StopIteration, ValueError):
        return None


@functools.lru_cache(maxsize=1024)
def tree(path: Path, changed: int) -> ast.Module:  # noqa: ARG001 - `changed` (ns) makes an edited file another one
    """A source file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def registered_as(node: ast.stmt) -> str | None:
    """The name that a class is registered under; None where a statement registers none."""
    for mark in getattr(node, "decorator_list", ()):
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", getattr(mark.func, "attr", "")) == "register":
            return str(ast.literal_eval(mark.args[0]))
    return None


def _read(path: Path, node: ast.stmt) -> Declared:
    """What a class and those it inherits from declare.

    Raises:
        ValueError: It says so otherwise than by annotated literals, so only running it tells.
    """
    if not isinstance(node, ast.ClassDef) or len(node.bases) > 1 or len(node.decorator_list) > 1:
        raise ValueError("not a method with one base")
    above = _read(*_base(path, node.bases[0])) if node.bases else Declared("", {}, {}, {}, {})
    facts, params, later, known = (dict(found) for found in above[1:])
    for item in node.body:
        if isinstance(item, ast.Assign):
            raise ValueError("an attribute without a type")  # noqa: TRY004 - not the caller's fault: the class is to be run
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name) or item.value is None:
            continue
        name, value, annotation = item.target.id, item.value, ast.unparse(item.annotation)
        if annotation.startswith("ClassVar"):
            facts |= {name: ast.literal_eval(value)} if name in FACTS else {}
            continue
        later.pop(name, None)
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "later":
            later[name] = params[name] = ast.literal_eval(value.args[0])
        elif not ast.unparse(value).startswith("field(init=False"):
            params[name] = ast.literal_eval(value)
        if name in params:
            known[name] = _range(vars(kinds).get(annotation))
    return Declared(f"methods.{path.stem}", facts, params, later, known)


def _base(path: Path, base: ast.expr) -> tuple[Path, ast.stmt]:
    """Where a base class stands: in the same file, or in one of this folder that it is imported from."""
    wanted = ast.unparse(base)
    body = tree(path, path.stat().st_mtime_ns).body
    for node in body:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if module.startswith("methods.") and wanted in {alias.name for alias in getattr(node, "names", ())}:
            path = path.parent / f"{module.removeprefix('methods.')}.py"
            body = tree(path, path.stat().st_mtime_ns).body
            break
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return path, node
    raise ValueError(f"{wanted} is defined elsewhere")
