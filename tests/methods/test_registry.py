"""How methods are found: in this folder, in another package, in a plugin file; and what happens to wrong names."""

import ast
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import methods
from bench.check.cases import play, usual_case
from methods import declared, registry

FOLDER = Path(methods.__file__).parent
PLUGIN = '''
from torch import Tensor
from methods import Batch, Method, register


@register("{name}")
class Squared(Method):
    """Squared error of p_y."""

    power: float = 2.0

    def loss(self, batch: Batch) -> Tensor:
        """(1 - p_y)^power, [B]."""
        return (1 - batch.p_y) ** self.power
'''


@pytest.fixture(autouse=True)
def _forget_what_a_test_registers(monkeypatch):
    for name in registry.names():
        registry.load(name)  # before the copy is made: a module registers only once
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))


def write_plugin(folder, name, module="my_method"):
    path = folder / f"{module}.py"
    path.write_text(PLUGIN.format(name=name))
    return path


def test_every_method_of_the_issue_is_registered():
    wanted = """zero_shot coop_ce label_smoothing bootstrap_soft mae gce rce sce nce_rce nce_mae agce phuber_ce taylor_ce js gjs elr
        mixup co_teaching co_teaching_oracle joapr nlprompt deft_text clipcleaner dspt mae_lse dspt_t clean_only"""
    assert set(registry.names()) >= set(wanted.split())


def test_oracles_are_declared():
    oracles = {name: registry.load(name).oracle for name in registry.names()}
    assert {name: oracle for name, oracle in oracles.items() if oracle} == {"clean_only": "labels", "co_teaching_oracle": "rate"}


def test_a_plugin_file_is_a_method_like_any_other(tmp_path):
    registry.load_plugin(write_plugin(tmp_path, "squared"))
    assert registry.listings()["squared"].summary == "Squared error of p_y."
    assert registry.defaults("squared") == {"power": 2.0}
    assert registry.create("squared", power=1.0) == registry.create("squared", power=1.0)
    assert "squared" in registry.names()


def test_every_method_has_a_display_name_of_its_own_as_papers_write_it(tmp_path):
    titles = {name: registry.load(name).title for name in registry.names()}
    assert len(set(titles.values())) == len(titles)
    assert {"CoOp", "GCE", "JoAPR", "NLPrompt", "DSPT", "PromptMAE"} <= set(titles.values())
    registry.load_plugin(write_plugin(tmp_path, "squared"))
    assert registry.load("squared").title == "squared"  # it says none, so its registered name

    class Child(registry.load("gce")):
        """A variant that says no title: it must not appear under its parent's."""

    assert registry.register("gce_child")(Child).title == "gce_child"


def test_a_plugin_cannot_take_a_shipped_name(tmp_path):
    with pytest.raises(ValueError, match=r"'gce' is taken by methods\.gce"):
        registry.load_plugin(write_plugin(tmp_path, "gce"))


def test_a_plugin_cannot_take_a_shipped_name_that_is_not_loaded_yet(tmp_path):
    registry._classes.pop("gce")
    with pytest.raises(registry.MethodNameError, match=r"'gce' is taken by methods\.gce"):
        registry.load_plugin(write_plugin(tmp_path, "gce"))
    assert "gce" not in registry._classes


def test_a_plugin_cannot_take_the_name_of_another_package(tmp_path, package):
    package("squared = somebodys_methods:Squared")
    with pytest.raises(registry.MethodNameError, match="'squared' is taken by somebodys_methods"):
        registry.load_plugin(write_plugin(tmp_path, "squared"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("def x(:", r"cannot be loaded \(SyntaxError"),
        ("1 / 0", r"cannot be loaded \(ZeroDivisionError: division by zero\)"),
        (PLUGIN.format(name="gce"), r"'gce' is taken by methods\.gce"),
    ],
    ids=["missing", "syntax", "raises", "name"],
)
def test_a_wrong_plugin_is_one_sentence(tmp_path, text, message):
    from bench.cli.arguments import load_plugins
    from bench.errors import BenchError

    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchError, match=message):
        load_plugins([path])


@pytest.mark.parametrize("name", ["", "=1+1", "../x", "a b", "gc*", "\x1b[31m"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(registry.MethodNameError, match="cannot name a method"):
        registry.register(name)(type("Mine", (), {}))


def test_two_plugins_cannot_share_a_name(tmp_path):
    registry.load_plugin(write_plugin(tmp_path, "squared", "one"))
    with pytest.raises(ValueError, match=r"'squared' is taken by bench_plugin_one\.Squared"):
        registry.load_plugin(write_plugin(tmp_path, "squared", "two"))


def test_loading_one_plugin_twice_is_no_collision(tmp_path):
    path = write_plugin(tmp_path, "squared")
    registry.load_plugin(path)
    registry.load_plugin(path)
    assert registry.create("squared").power == 2.0


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package, as pip leaves it, with one method and its entry point."""

    def install(entry: str, name: str = "squared") -> None:
        write_plugin(tmp_path, name, "somebodys_methods")
        info = tmp_path / "somebodys-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{entry}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "somebodys_methods", raising=False)

    return install


def test_an_entry_point_adds_a_method(package):
    package("squared = somebodys_methods:Squared")
    assert registry.listings()["squared"].summary == "from somebodys_methods:Squared"
    assert "somebodys_methods" not in sys.modules  # listing runs nothing of it
    assert registry.create("squared", power=3.0).power == 3.0


def test_an_entry_point_cannot_take_a_shipped_name(package):
    package("gce = somebodys_methods:Squared")
    with pytest.raises(ValueError, match=r"'gce' of somebodys_methods:Squared is taken by methods\.gce"):
        registry.listings()


def test_an_entry_point_that_registers_another_name_says_so(package):
    package("cubed = somebodys_methods:Squared")
    with pytest.raises(registry.UnknownMethodError, match="registers no method 'cubed'"):
        registry.load("cubed")


@pytest.mark.parametrize(("wrong", "right"), [("gec", "gce"), ("jopr", "joapr"), ("coop", "coop_ce"), ("NLPrompt", "nlprompt")])
def test_an_unknown_name_suggests_the_nearest(wrong, right):
    with pytest.raises(registry.UnknownMethodError, match=f"did you mean '{right}'"):
        registry.load(wrong)


def test_a_name_like_none_lists_all():
    with pytest.raises(registry.UnknownMethodError, match=r"known: .*agce.*zero_shot"):
        registry.load("xyz12345")


def test_an_unknown_hyper_parameter_is_an_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'p'"):
        registry.create("gce", p=1)


def test_listing_imports_neither_torch_nor_a_method():
    code = "import sys, methods; names = methods.names(); print(len(names), 'torch' in sys.modules, 'methods.gce' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(found[0]) >= 27
    assert found[1:] == ["False", "False"]


def test_what_a_source_declares_is_what_its_class_does():
    for name in registry.names():
        cls = registry.load(name)
        path = FOLDER / f"{cls.__module__.removeprefix('methods.')}.py"
        read = declared.of_source(path, name)
        assert read == declared.of_class(cls), name
        assert list(read.params) == list(declared.of_class(cls).params), name


def test_every_number_of_a_method_has_a_range_with_its_default_in_it():
    for name in registry.names():
        found = registry.declared(name)
        for key, default in found.params.items():
            assert key in found.facts["nested"] or found.kinds[key], (name, key)
            assert registry.out_of_range(name, key, default) == ""


def ends(kind) -> list[float]:
    """The ends of a range; of an open one, a number just inside."""
    inside = {"Ge": 0.0, "Le": 0.0, "Gt": 1e-6, "Lt": -1e-6}
    found = [(limit, type(limit).__name__) for limit in kind.__metadata__[0].metadata]
    return [kind.__origin__(getattr(limit, name.lower()) + inside[name]) for limit, name in found]


def test_losses_are_finite_at_the_ends_of_every_range():
    for name in registry.names():
        for key, kind in registry.declared(name).kinds.items():
            for value in ends(kind) if kind and registry.load(name).train else ():
                assert registry.out_of_range(name, key, value) == ""
                play(partial(registry.create, name, **{key: value}), usual_case(3, 13))  # raises where a loss or gradient is not


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
def test_a_plugin_says_ranges_by_our_names_and_by_its_own(tmp_path, first):
    text = PLUGIN.replace("power: float = 2.0", 'power: Positive = 2.0\n    how: Literal["a", "b"] = "a"')
    path = tmp_path / "ranged.py"
    path.write_text(f"{first}from typing import Literal\nfrom methods.kinds import Positive\n{text.format(name='ranged')}")
    registry.load_plugin(path)
    assert registry.out_of_range("ranged", "power", 0.0) == "should be greater than 0"
    assert registry.out_of_range("ranged", "how", "b") == ""
    assert registry.out_of_range("ranged", "how", "c") == "should be 'a' or 'b'"


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ("a: float = 1.0\n    b: float = later(0.5)\n    views: ClassVar[int] = 2", {"a": 1.0, "b": 0.5}),
        ("a: float = math.pi", None),
        ("a = 1.0", None),
        ("a: list[int] = field(default_factory=list)", None),
    ],
)
def test_a_class_that_is_not_plain_to_read_is_run_instead(tmp_path, body, params):
    for module in ("base", "gce"):
        (tmp_path / f"{module}.py").write_text((FOLDER / f"{module}.py").read_text())
    path = tmp_path / "new.py"
    path.write_text(f"from methods.gce import GCE\n\n@register('new')\nclass New(GCE):\n    {body}\n")
    read = declared.of_source(path, "new")
    assert (read and read.params) == (params and {"q": 0.7, **params})
    assert read is None or (read.later, read.facts["views"], read.facts["version"]) == ({"b": 0.5}, 2, 1)


def statements(path: Path) -> int:
    """Lines of code, without imports, docstrings, comments, blank lines and declared facts (title, version, oracle, …)."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:]
        if isinstance(node, (ast.Module, ast.FunctionDef)):
            node.body = [line for line in node.body if not isinstance(line, (ast.Import, ast.ImportFrom))]
    return sum(bool(line.strip()) and ": ClassVar[" not in line for line in ast.unparse(tree).splitlines())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_method_stays_small(path):
    """A stranger's new loss is about five lines, a partitioning method at most 60: so are ours."""
    if path.stem in {"__init__", "base", "declared", "kinds", "registry"}:
        return
    assert 0 < statements(path) <= 60
