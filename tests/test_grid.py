"""Grid files and the runs they ask for."""

import itertools
import json
import tomllib
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.grid import Grid, expand, expand_methods, expand_train, fill_nested, read_grid, split_cells
from bench.naming import method_label
from methods import registry


@pytest.fixture
def card(tmp_path: Path) -> str:
    split = {part: [[f"{part}{c}.png", c, "ab"[c]] for c in range(2)] for part in ("train", "val", "test")}
    (tmp_path / "split.json").write_text(json.dumps(split))
    card = tmp_path / "alpha.toml"
    card.write_text(
        'name = "alpha"\ntitle = "A"\nclasses = ["a", "b"]\ntemplates = ["a {}."]\nsplit = "split.json"\nfeatures = "features"\n'
    )
    return str(card)


GOOD = 'methods = ["coop_ce"]\ndatasets = ["digits"]\nnoise = {clean = [0.0]}\n'


def grid(card: str, **changes) -> Grid:
    return Grid(**{"methods": ["coop_ce"], "datasets": [card], "noise": {"symmetric": [0.5]}, **changes})


def test_every_list_multiplies_and_every_cell_is_there_once(card):
    cells = expand(grid(card, methods=["coop_ce", {"name": "gce", "q": [0.5, 0.7]}, "gce"], seeds=[1, 2], shots=[4, 8],
                        noise={"symmetric": [0.0, 0.5], "pairflip": [0.0, 0.25]}))  # fmt: skip
    found = {(c.method.name, c.method.params.get("q"), c.seed, c.shots, c.noise.protocol, c.noise.rate) for c in cells}
    methods = [("coop_ce", None), ("gce", 0.5), ("gce", 0.7)]
    noises = [("clean", 0.0), ("symmetric", 0.5), ("pairflip", 0.25)]
    assert found == {(*m, seed, shots, *n) for m, seed, shots, n in itertools.product(methods, [1, 2], [4, 8], noises)}
    assert len(cells) == len(found)


def test_a_method_without_training_is_one_cell_per_dataset_and_backbone(card):
    cells = expand(grid(card, methods=["zero_shot"], seeds=[1, 2, 3], backbones=["embedded", "RN50@openai"]))
    assert [cell.backbone for cell in cells] == ["embedded", "RN50@openai"]
    assert all(cell.train is None and cell.noise.protocol == "clean" for cell in cells)


def test_globs_find_registered_methods(card):
    cells = expand(grid(card, methods=["nce_*"], seeds=[1]))
    assert {cell.method.name for cell in cells} == {name for name in registry.names() if name.startswith("nce_")} != set()


def test_whole_and_real_numbers_are_one_cell(card):
    one, two = (expand(grid(card, methods=[{"name": "gce", "q": q}], seeds=[1])) for q in (1, 1.0))
    assert one[0].cell_id == two[0].cell_id


def test_a_composed_method_is_filled_in_with_its_own_defaults(card):
    q = registry.defaults("gce")["q"]
    assert fill_nested("gce", {}) == {"name": "gce", "q": q}
    short, long = (
        expand(grid(card, methods=[{"name": "clipcleaner", "base": base}], seeds=[1]))[0] for base in ("gce", {"name": "gce"})
    )
    assert short.cell_id == long.cell_id
    assert short.method.params["base"] == {"name": "gce", "q": q}
    other = expand(grid(card, methods=[{"name": "clipcleaner", "base": {"name": "gce", "q": 0.5}}], seeds=[1]))[0]
    assert other.cell_id != short.cell_id


def test_exclusions_say_which_rule_and_match_globs(card):
    asked = grid(card, methods=["coop_ce", "gce"], seeds=[1], noise={"symmetric": [0.25, 0.5]})
    rules = [{"method": "co*", "rate": 0.5}, {"dataset": "alph?", "method": "gce", "noise": "symmetric", "rate": 0.25}]
    left, out = split_cells(asked.model_copy(update={"exclude": rules}))
    assert {(c.method.name, c.noise.rate) for c in left} == {("coop_ce", 0.25), ("gce", 0.5)}
    assert {item.rule for item in out} == {
        "method = co*, rate = 0.5",
        "dataset = alph?, method = gce, noise = symmetric, rate = 0.25",
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["coop_cee"]}, "coop_ce"),
        ({"methods": [{"name": "gce", "p": 1.0}]}, "Known: q"),
        ({"methods": [{"name": "gce", "q": "high"}]}, "not of type float"),
        ({"methods": [{"name": "gce", "q": []}]}, "empty"),
        ({"methods": [{"name": "clipcleaner", "base": "gcee"}]}, "gce"),
        ({"datasets": ["no_such_*"]}, "no_such_"),
        ({"datasets": ["../alpha"]}, "no dataset is called '../alpha'"),
        ({"backbones": ["embedded", "../x"]}, "'../x' cannot name a backbone"),
        ({"noise": {"symetric": [0.5]}}, "symmetric"),
        ({"noise": {"symmetric": [50.0]}}, "[0, 1]"),
        ({"noise": {"symmetric": []}}, "no rate"),
        ({"preset": "coop_50"}, "coop50"),
        ({"train": {"epoch": 5}}, "epochs"),
        ({"train": {"epochs": 0}}, "epochs"),
        ({"train": {"lr": [0.1, 0.2]}}, "select"),
        ({"train": [{"lr": 0.1}, {"lr": 0.2}]}, "select"),
        ({"train": [{"epochs": 2}, {"epoch": 3}]}, "epochs"),
        ({"exclude": [{"methods": "gce"}]}, "method"),
        ({"exclude": [{}]}, "empty"),
        ({"exclude": [{"method": "*"}]}, "no run left"),
        ({"exclude": [{"method": "gce"}]}, "method = gce matches no cell"),
        ({"exclude": [{"rate": True}]}, "rate = True"),
        ({"methods": [{"name": "gce", "q": [0.5, 0]}]}, "method 'gce': q = 0.0 should be greater than 0"),
        ({"methods": [{"name": "gce", "q": -1}]}, "greater than 0"),
        ({"methods": [{"name": "aul", "a": 1}]}, "a = 1.0 should be greater than 1"),
        ({"methods": [{"name": "taylor_ce", "t": 10**6}]}, "less than or equal to 1000"),
        ({"methods": [{"name": "jocor", "ramp": 0}]}, "method 'jocor': ramp = 0"),  # which it inherits
        ({"methods": [{"name": "clipcleaner", "base": {"name": "gce", "q": 1.5}}]}, "method 'gce': q = 1.5"),
        ({"methods": [{"name": "gce", "q": float("nan")}]}, "q = nan is not a finite number"),
        ({"methods": [{"name": "gce", "q": float("inf")}]}, "q = inf"),
        ({"methods": [{"name": "gce", "q": True}]}, "not of type float"),
        ({"methods": [{"name": "clipcleaner", "base": {"name": "gce", "q": float("-inf")}}]}, "q = -inf"),
        ({"methods": [{"name": "clipcleaner", "base": "clipcleaner"}]}, "part of itself"),
        ({"methods": [{"name": "clipcleaner", "base": ["gce", "joapr"]}]}, "clipcleaner cannot train with 'joapr'"),
        ({"methods": [{"name": "clipcleaner", "base": 3}]}, "does not name a method"),
        ({"train": {"lr": float("inf")}}, "'lr'"),
        ({"train": {"lr": True}}, "'lr'"),
        ({"train": {"lr": 1e300}}, "'lr'"),
        ({"train": {"epochs": 10**22}}, "'epochs'"),
        ({"train": {"epochs": 5, "warmup_epochs": 6}}, "longer than the 5 epochs"),
        ({"methods": [{"name": "gce", "q": [(i + 1) / 1000 for i in range(1000)]}], "seeds": list(range(1000))}, "1,000,000 runs"),
        ({"train": {"lr": [0.1] * 1000, "momentum": [0.5] * 10_000}, "select": "noisy_val"}, "at most 200,000"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(card, changes, says):
    with pytest.raises(BenchError) as caught:
        expand(grid(card, **changes))
    assert says in str(caught.value)


def test_a_learning_rate_grid_multiplies_once_its_selector_is_said(card):
    cells = expand(grid(card, train={"lr": [0.1, 0.2]}, select="noisy_val", seeds=[1]))
    assert [cell.train.lr for cell in cells] == [0.1, 0.2]


def test_a_file_is_read_and_its_cards_are_relative_to_it(card, tmp_path, monkeypatch):
    path = tmp_path / "g.toml"
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelling in ("alpha.toml", "./alpha.toml", "~/alpha.toml", "$HOME/alpha.toml", card):
        path.write_text(f'methods = ["coop_ce"]\ndatasets = ["{spelling}"]\nseeds = [1]\n[noise]\nsymmetric = [0.5]\n')
        assert [cell.dataset for cell in expand(read_grid(path))] == [card], spelling


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("methods = [", "is not valid TOML"),
        ('methods = ["coop_ce"]\ndatasets = ["a"]\nnoise = {}\n', "noise"),
        ('metods = ["coop_ce"]\ndatasets = ["a"]\nnoise = {clean = [0.0]}\nmethods = ["x"]\n', "methods"),
        (f"{GOOD}shots = [-2]\n", "'shots.0': Input should be greater than or equal to 0"),
        (f"{GOOD}seeds = [-1]\n", "'seeds.0'"),
        (f"{GOOD}seeds = [{2**63}]\n", "'seeds.0'"),
        (f"{GOOD}seeds = [true]\n", "'seeds.0'"),
        (f"{GOOD}views = {10**30}\n", "'views'"),
        (f"{GOOD}noise.symmetric = [true]\n".replace("noise = {clean = [0.0]}\n", ""), "'noise.symmetric.0'"),
        (f"{GOOD}x = {'[' * 5000}\n", "not valid TOML"),
        ('name = "../x"\nmethods = ["coop_ce"]\ndatasets = ["a"]\nnoise = {clean = [0.0]}\n', "name"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_it(tmp_path, text, says):
    path = tmp_path / "g.toml"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"g\.toml") as caught:
        read_grid(path)
    assert says in str(caught.value)


def test_a_rule_that_another_one_covers_still_matches(card):
    """What is refused is a rule that no cell fits, not one that is said twice in other words."""
    rules = [{"method": "gce"}, {"method": "gce", "seed": 1}]
    cells, out = split_cells(grid(card, methods=["coop_ce", "gce"], exclude=rules))
    assert {cell.method.name for cell in cells} == {"coop_ce"}
    assert {item.rule for item in out} == {"method = gce"}


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(BenchError, match="does not exist"):
        read_grid(tmp_path / "none.toml")


def test_the_grids_that_the_documentation_shows_are_grids():
    text = (Path(__file__).parent.parent / "results" / "README.md").read_text()
    shown = [Grid.model_validate(tomllib.loads(part.split("```")[0])) for part in text.split("```toml\n")[1:]]
    assert [grid.name for grid in shown] == ["rounding", "first"]
    assert len(expand(shown[0])) == 216  # as the text beside it says


def test_an_unknown_key_is_named_before_what_it_leaves_missing(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('methodz = ["gce"]\ndatasets = ["digits"]\n[noise]\nsymmetric = [0.5]\n')
    with pytest.raises(BenchError, match=r"'methodz'.*Did you mean 'methods'"):
        read_grid(path)


def test_several_protocols_in_one_grid():
    starts = [{"ctx_init": "random", "n_ctx": [4, 16]}, {"ctx_init": "words", "ctx_words": "a photo of a", "n_ctx": 0}, {}]
    found = expand_train("embedded", starts)
    assert [(train.ctx_init, train.n_ctx) for train in found] == [("random", 4), ("random", 16), ("words", 0), ("template", 0)]
    assert {train.epochs for train in found} == {30}
    assert expand_train("embedded", [{}, {"epochs": 30}]) == expand_train("embedded", {})


def test_what_is_tuned_is_a_part_of_the_methods_choice():
    entries = [{"name": "gce", "q": 0.5, "tunes": ["prompt", "task_residual"]}, {"name": "zero_s*", "tunes": "linear_probe"}]
    tuned = expand_methods(entries)
    assert [(spec.name, spec.tunes) for spec in tuned] == [("gce", "prompt"), ("gce", "task_residual"), ("zero_shot", "prompt")]
    assert method_label("gce", tuned[1].params, tuned[1].tunes) == "gce(q=0.5)/task_residual"
    with pytest.raises(BenchError, match=r"nothing that can be tuned is called 'task_resid'\. Did you mean 'task_residual'\?"):
        expand_methods([{"name": "gce", "tunes": "task_resid"}])
    with pytest.raises(BenchError, match=r"'zero_shot' trains nothing, so tunes = 'linear_probe' has no meaning"):
        expand_methods([{"name": "zero_shot", "tunes": "linear_probe"}])


def test_a_prompt_keeps_its_cell_and_the_rest_have_cells_of_their_own():
    plain, prompt, probe = (
        expand(Grid(methods=[entry], datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1]))[0]
        for entry in ("gce", {"name": "gce", "tunes": "prompt"}, {"name": "gce", "tunes": "linear_probe"})
    )
    assert plain.cell_id == prompt.cell_id != probe.cell_id
    assert "tunes" not in plain.asked["method"]
    assert probe.asked["method"]["tunes"] == "linear_probe"
