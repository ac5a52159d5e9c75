"""The registry of methods.

A method is a class with `@register("name")` in a file of this folder, in another package's entry point, or in a `--plugin` file.
Names and summaries are read from the source, so listing them imports neither torch nor a method.
"""

import ast
import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from methods.declared import Declared, of_class, of_source, registered_as, tree

if TYPE_CHECKING:
    from methods.base import Method

ENTRY_POINTS = "noisy_prompt_bench.methods"
PLUGIN = "bench_plugin_"  # begins the module names of plugin files
_M = TypeVar("_M", bound="Method")
_classes: dict[str, "type[Method]"] = {}


class UnknownMethodError(LookupError):
    """No method of that name; the message suggests the nearest."""


class MethodNameError(ValueError):
    """Two methods claim one name; the message says which."""


class Listing(NamedTuple):
    """What is known of a method without importing it."""

    name: str
    summary: str  # first line of its docstring
    module: str  # what to import, or the path of a plugin file


def register(name: str) -> Callable[[type[_M]], type[_M]]:
    """Class decorator: makes the class a dataclass of its hyper-parameters and registers it under `name`.

    >>> from methods import Method
    >>> @register("margin")
    ... class Margin(Method):
    ...     '''One minus the given label's probability, above a margin.'''
    ...     margin: float = 0.1
    ...     def loss(self, batch):
    ...         return (1 - batch.p_y - self.margin).clamp(min=0)
    >>> create("margin", margin=0.2)
    Margin(margin=0.2)
    >>> del _classes["margin"]

    Raises:
        MethodNameError: It cannot name a method, or another class holds that name already, a method of this folder or an entry
            point, loaded or not.
    """

    def add(cls: type[_M]) -> type[_M]:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise MethodNameError(f"{name!r} cannot name a method; letters, digits, '_', '.', '+' and '-' make a name")
        held = _classes.get(name)
        if held is not None and (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
            raise MethodNameError(f"method name '{name}' is taken by {held.__module__}.{held.__qualname__}; choose another")
        if not cls.__module__.startswith("methods."):
            other = _declared().get(name)
            if other is not None and other.module != cls.__module__:
                raise MethodNameError(f"method name '{name}' is taken by {other.module}; choose another")
        made = dataclasses.dataclass(cls)
        made.name = name
        made.title = cls.__dict__.get("title", name)
        _classes[name] = made
        return made

    return add


@functools.lru_cache(maxsize=1024)
def _scan(path: Path, module: str, changed: int) -> list[Listing]:
    """The registered classes of a source file, without running it."""
    found = []
    for node in tree(path, changed).body:
        name = registered_as(node)
        if isinstance(node, ast.ClassDef) and name is not None:
            found.append(Listing(name, (ast.get_docstring(node) or "").split("\n")[0], module))
    return found


@functools.lru_cache(maxsize=8)
def _entry_points(path: tuple[str, ...]) -> importlib.metadata.EntryPoints:  # noqa: ARG001 - other folders, other packages
    """The methods that installed packages offer."""
    return importlib.metadata.entry_points(group=ENTRY_POINTS)


def _declared() -> dict[str, Listing]:
    """The methods of this folder and of other packages' entry points, loaded or not."""
    found: dict[str, Listing] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        for item in _scan(path, f"methods.{path.stem}", path.stat().st_mtime_ns):
            if item.name in found:
                raise MethodNameError(f"method name '{item.name}' is registered in {found[item.name].module} and {item.module}")
            found[item.name] = item
    for entry in _entry_points(tuple(sys.path)):
        if entry.name in found:
            raise MethodNameError(f"method name '{entry.name}' of {entry.value} is taken by {found[entry.name].module}")
        found[entry.name] = Listing(entry.name, f"from {entry.value}", entry.module)
    return found


def listings() -> dict[str, Listing]:
    """All methods by name: this folder's, other packages' entry points, and loaded plugins."""
    found = _declared()
    for name, cls in _classes.items():
        found.setdefault(name, Listing(name, (cls.__doc__ or "").split("\n")[0], cls.__module__))
    return found


def names() -> list[str]:
    """The names of all methods, sorted.

    >>> "dspt" in names()
    True
    """
    return sorted(listings())


def load(name: str) -> "type[Method]":
    """The class registered under `name`.

    Raises:
        UnknownMethodError: There is none.
    """
    if name not in _classes:
        known = listings()
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
            raise UnknownMethodError(f"no method is called '{name}'; {hint}")
        importlib.import_module(known[name].module)
    if name not in _classes:
        raise UnknownMethodError(
            f"module '{known[name].module}' registers no method '{name}'; its entry point must be named as the method is"
        )
    return _classes[name]


def create(name: str, **params: Any) -> "Method":
    """A new instance of the method `name` with the given hyper-parameters, the others at their defaults.

    >>> create("gce", q=0.5).q
    0.5
    """
    return load(name)(**params)


def declared(name: str) -> Declared:
    """What a method declares; of one that is not loaded, from its source, as long as that is plain to read.

    Raises:
        UnknownMethodError: There is none.
    """
    found = None if name in _classes else _from_source(name)
    return of_class(load(name)) if found is None else found


@functools.cache
def _from_source(name: str) -> Declared | None:
    here = _declared().get(name)
    if here is None or not here.module.startswith("methods."):
        return None
    return of_source(Path(__file__).with_name(f"{here.module.removeprefix('methods.')}.py"), name)


def defaults(name: str) -> dict[str, Any]:
    """The hyper-parameters of a method and their defaults."""
    return dict(declared(name).params)


def out_of_range(name: str, key: str, value: Any) -> str:
    """What a hyper-parameter of a method should be, where its declared range lacks `value`; "" where all is well."""
    try:
        TypeAdapter(declared(name).kinds[key] or Any).validate_python(value, strict=True)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Input ")
    return ""


def used(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters without those that were added later (`methods.base.later`) and are at their defaults."""
    absent = declared(name).later
    return {key: value for key, value in params.items() if key not in absent or value != absent[key]}


def sources(module: str) -> list[Path]:
    """The files of a module that is being worked on and of all of its author's own that it imports, directly or not; sorted.

    What an installed package or this project holds has a version, and is none of them.
    """
    found: dict[str, Path] = {}
    left = [module]
    while left:
        name = left.pop()
        path = _file(name)
        if name not in found and path and (name.startswith(PLUGIN) or _own(name, path)):
            found[name] = Path(path)
            left += _imported(Path(path), name if path.endswith("__init__.py") else name.rpartition(".")[0])
    return [found[name] for name in sorted(found)]


def _file(module: str) -> str | None:
    """The file of a module, loaded or not: one that a loss imports has not been in a plan."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    top, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not rest:
        return spec.origin if spec else None
    places = [Path(folder, *rest.split(".")) for folder in spec.submodule_search_locations or ()]
    files = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((str(file) for file in files if file.is_file()), None)


@functools.cache
def _installed() -> set[str]:
    """Where Python's own modules and installed ones lie."""
    return {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}


def _own(module: str, path: str) -> bool:
    """Whether a module is neither Python's, nor installed, nor this project's."""
    ours = module.partition(".")[0] in ("bench", "methods", "reports")
    return path.endswith(".py") and not ours and not any(Path(path).is_relative_to(folder) for folder in _installed())


def _imported(path: Path, package: str) -> list[str]:
    """The names of what a source file imports, wherever in it, with the packages around them; of one that is no Python, none."""
    try:
        parsed = ast.parse(path.read_bytes())  # in the encoding that it declares
    except (SyntaxError, ValueError):  # an import of it fails, which its importer may expect
        return []
    names = []
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(start, package) if node.level else start
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [".".join(parts[:n]) for parts in (name.split(".") for name in names) for n in range(1, len(parts) + 1)]


def load_plugin(path: Path) -> None:
    """Run a plugin file, which registers its methods under their names."""
    name = f"{PLUGIN}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"plugin '{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
