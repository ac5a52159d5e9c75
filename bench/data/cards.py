"""Dataset cards: one TOML file per dataset, shipped in `datasets/` or anywhere of the user's."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench.errors import BenchError, nearest
from bench.paths import datasets_root
from bench.spec import Frozen


class Card(Frozen):
    """What a dataset is: class names in label order, zero-shot templates, where its split and features lie."""

    name: str
    title: str
    classes: tuple[str, ...] = Field(min_length=1)
    templates: tuple[str, ...] = Field(min_length=1)  # the first is the zero-shot prompt
    split: str  # relative to the card's folder
    features: str = ""  # relative to the card's folder: shipped features; "" where the user extracts them
    counts: dict[Literal["train", "val", "test"], int] = Field(default_factory=dict)
    domain: Literal["in", "out"] | None = None  # of the embedded model's pretraining
    licence: str = ""
    citation: str = ""
    how_to_get: str = ""

    @property
    def prompts(self) -> list[str]:
        """The zero-shot prompt of every class."""
        return [self.templates[0].format(name) for name in self.class_names]

    @property
    def class_names(self) -> list[str]:
        """Class names as prompts read them: "_" is a space."""
        return [name.replace("_", " ") for name in self.classes]


def card_paths() -> dict[str, Path]:
    """The shipped cards' files, by name."""
    return {path.stem: path for path in sorted(datasets_root().glob("*.toml"))}


def find_card(name: str) -> Path:
    """The file of a card: a shipped name, or the path of a TOML file."""
    if name.endswith(".toml"):
        path = Path(name).expanduser().resolve()
        if path.is_file():
            return path
        raise BenchError(
            f"dataset card '{name}' does not exist.",
            "Name a shipped dataset (bench datasets) or an existing TOML file.",
        )
    known = card_paths()
    if name not in known:
        raise BenchError(f"no dataset is called '{name}'.", nearest(name, known))
    return known[name]


@cache
def load_card(name: str) -> Card:
    """The card of a shipped name or of a TOML file.

    Raises:
        BenchError: It does not exist, is no TOML, or has unknown, missing or ill-typed keys.
    """
    path = find_card(name)
    try:
        return Card.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"dataset card {path} is no valid TOML: {error}.", "Correct the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BenchError(f"dataset card {path}: '{where}': {first['msg']}.", nearest(where, Card.model_fields)) from error
