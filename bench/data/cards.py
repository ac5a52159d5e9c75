"""Dataset cards: one TOML file per dataset, shipped in `datasets/`, made by extraction, or anywhere of the user's."""

import re
from functools import cache
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from pydantic import Field, ValidationError, field_validator

from bench.errors import BenchError, invalid, nearest
from bench.files import parse_toml, read_text, resolved
from bench.paths import datasets_root, features_root
from bench.spec import Frozen

Format = Literal["coop", "aircraft", "imagenet", "lists", "folders", "torchvision", "cifar", "animal10n", "food101n", "clothing1m",
                 "webvision", "huggingface", "webdataset", "csv"]  # fmt: skip


class Source(Frozen):
    """How a dataset lies on disk, as its authors or CoOp lay it out. All paths are below the data root, $BENCH_DATA."""

    format: Format  # which reader of `bench.prepare.sources` reads the split
    images: str  # the folder that the split's paths are relative to
    split: str  # the split file, or the folder of its lists; for "torchvision" the name of its class
    download: str = ""  # where `bench data get` fetches it: "hub:OWNER/NAME@REVISION" or "torchvision:CLASS"
    label: str = ""  # for "huggingface": the column of labels, where there are several
    make_test: float = Field(0.0, ge=0, lt=1)  # where there is no test part: the share of each class's training images for it

    @field_validator("images", "split")
    @classmethod
    def _spelled_out(cls, path: str) -> str:
        return str(resolved(path)) if path.startswith(("~", "$")) else path  # else below the data root


class Human(Frozen):
    """Labels people gave to the training images, beside the true ones."""

    file: str  # below the data root: CIFAR-N's .pt, or a .json of label lists in the split's order
    clean: str = "clean_label"  # the true labels in that file; they must be the split's, in order
    sets: dict[str, float] = Field(min_length=1)  # name of each set of labels and its published share of wrong ones, in percent


NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # of a dataset


def prompt_name(name: str) -> str:
    """A class name as prompts read it: "_" is a space, and spaces are one."""
    return " ".join(name.replace("_", " ").split())


class Card(Frozen):
    """What a dataset is: class names in label order, zero-shot templates, where its split and features lie."""

    name: str
    title: str
    classes: tuple[str, ...] = Field(min_length=1)
    templates: tuple[str, ...] = Field(min_length=1)  # the first is the zero-shot prompt; all are the optional ensemble
    split: str = ""  # relative to the card's folder: a shipped split; "" where extraction makes it from `source`
    features: str = ""  # relative to the card's folder: shipped features; "" where the user extracts them
    source: Source | None = None  # where images and split of the user's own copy lie
    human: Human | None = None  # human labels of the training images, for the noise protocol "human"
    train_labels: Literal["true", "human"] = "true"  # "human": the split's training labels are people's, and the truth is unknown
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
        return [prompt_name(name) for name in self.classes]

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only, as it names a folder")
        return name

    @field_validator("classes")
    @classmethod
    def _prompts_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        # Equal names are let through: ImageNet as published has two classes called "missile" and two called "sunglasses".
        seen: dict[str, str] = {}
        for name in classes:
            if name != seen.setdefault(same := normalize("NFC", prompt_name(name)).lower(), name):
                raise ValueError(f"'{seen[same]}' and '{name}' read alike in a prompt")
            if not same:
                raise ValueError(f"'{name}' is empty in a prompt")
        return classes

    @field_validator("templates")
    @classmethod
    def _has_one_gap(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if any(template.count("{}") != 1 or "{" in template.replace("{}", "") for template in templates):
            raise ValueError("a template holds {} once, where the class name goes, and no other brace")
        return templates


def card_paths() -> dict[str, Path]:
    """The files of the shipped cards and of those that extraction made of the user's folders, by name."""
    made = {path.parent.name: path for path in sorted(features_root().glob("*/card.toml"))}
    return made | {path.stem: path for path in sorted(datasets_root().glob("*.toml"))}


def find_card(name: str) -> Path:
    """The file of a card: a known name, or the path of a TOML file."""
    if name.endswith(".toml"):
        path = resolved(name)
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
    """The card of a known name or of a TOML file.

    Raises:
        BenchError: It does not exist, is not TOML, or has unknown, missing or ill-typed keys.
    """
    path = find_card(name)
    return parse_card(read_text(path, "dataset card"), path)


def parse_card(text: str, path: Path) -> Card:
    """The card that a TOML text describes; `path` is where it comes from.

    Raises:
        BenchError: It is not TOML, or has unknown, missing or ill-typed keys.
    """
    try:
        return Card.model_validate(parse_toml(text, f"dataset card {path}"))
    except ValidationError as error:
        raise invalid(f"dataset card {path}", error, Card.model_fields) from error
