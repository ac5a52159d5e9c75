"""Cards: what a file may say, and where cards are found."""

import re
import tomllib
from pathlib import Path

import pytest

from bench.data.cards import Card, Source, card_paths, find_card, load_card, parse_card
from bench.errors import BenchError
from bench.paths import datasets_root
from bench.prepare.sources import READERS

README = (datasets_root() / "README.md").read_text(encoding="utf-8")
MINIMAL = 'name = "x"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["a", "b_c"]\n'


def test_the_folder_of_a_source_may_be_below_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelling, path in (("~/x", tmp_path / "x"), ("$HOME/x", tmp_path / "x"), ("x", "x")):
        assert Source(format="folders", images=spelling, split="").images == str(path)


def test_the_readmes_card_is_one_and_it_names_every_format():
    card = Card.model_validate(tomllib.loads(re.search(r"```toml\n(.*?)```", README, re.DOTALL).group(1)))
    assert card.prompts[0] == "a photo of a great tit, a type of bird."
    assert card.human.sets == {"volunteers": 12.5}
    assert all(f"`{name}`" in README for name in READERS)


def test_prompts_read_underscores_as_spaces():
    assert parse_card(MINIMAL, Path("x.toml")).prompts == ["a a.", "a b c."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "colour = 3\n", "'colour'"),
        (MINIMAL + '[source]\nformat = "coop"\nimages = "a"\n', r"'source\.split': Field required"),
        (MINIMAL + '[source]\nformat = "zip"\nimages = "a"\nsplit = "b"\n', r"'source\.format'"),
        (MINIMAL + "counts = { dev = 3 }\n", "'counts"),
        (MINIMAL + '[human]\nfile = "a"\nsets = {}\n', r"'human\.sets'"),
        (MINIMAL.replace('"a {}."', '"a photo."'), "a template holds {} once"),
        (MINIMAL.replace('"a {}."', '"{} or {}."'), "a template holds {} once"),
        (MINIMAL.replace('"a {}."', '"a {name}."'), "a template holds {} once"),
        (MINIMAL.replace('"x"', '"a/b"'), "a name has letters"),
        (MINIMAL.replace('["a", "b_c"]', "[]"), "'classes'"),
        (MINIMAL.replace('["a", "b_c"]', '["great tit", "great_tit"]'), "'great tit' and 'great_tit' read alike in a prompt"),
        (MINIMAL.replace('["a", "b_c"]', '["a  b", "A_b"]'), "read alike in a prompt"),
        (MINIMAL.replace('["a", "b_c"]', '["caf\u00e9", "cafe\u0301"]'), "read alike in a prompt"),  # as tokenizers compose them
        (MINIMAL.replace('["a", "b_c"]', '["a", "_"]'), "'_' is empty in a prompt"),
        ("name = ", "is not valid TOML"),
    ],
)
def test_a_wrong_card_is_told_with_its_key(text, message):
    with pytest.raises(BenchError, match=message):
        parse_card(text, Path("x.toml"))


def test_cards_are_found_by_name_path_and_as_made_by_extraction(home):
    assert find_card("dtd") == datasets_root() / "dtd.toml"
    with pytest.raises(BenchError, match=r"Did you mean 'caltech101'"):
        find_card("caltech")
    with pytest.raises(BenchError, match=r"dataset card 'no\.toml' does not exist"):
        find_card("no.toml")
    made = home / "features" / "mine" / "card.toml"
    made.parent.mkdir(parents=True)
    made.write_text(MINIMAL)
    assert card_paths()["mine"] == made
    assert load_card("mine").title == "t"
    (home / "other.toml").write_text(MINIMAL)
    assert load_card(str(home / "other.toml")).name == "x"


def test_every_shipped_card_is_called_as_its_file():
    for name, path in card_paths().items():
        if path.parent == datasets_root():
            assert load_card(name).name == name
