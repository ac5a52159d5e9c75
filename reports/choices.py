"""What a user may choose of a report, and what is said of a wrong choice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np

from bench.errors import BenchError, nearest
from reports.completeness import AllowMissing
from reports.selection import Selector

CONTROL = "coop_ce"  # a registered name


@dataclass(frozen=True)
class Choices:
    """What a user may choose. The defaults are fixed beforehand, so that nobody tunes them on the outcome."""

    control: str = CONTROL
    noise: str = ""  # the protocol that ranks; "" is symmetric, or the only one there is
    margin: float = 0.5  # points: the region of practical equivalence, and what a win on one dataset must exceed
    allow_missing: AllowMissing = ""
    select: Selector = ""
    with_oracles: bool = False
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)  # column -> the values to keep
    names: Mapping[str, str] = field(default_factory=dict)  # method or label -> name to show
    methods: Sequence[str] = ()  # only these, shown in this order; () is all, best first
    mixed: Sequence[str] = ()  # training keys in which methods may differ
    group: str = ""  # a column that is constant on a dataset, e.g. "domain": its values get numbers of their own

    def __post_init__(self) -> None:
        one_of("--allow-missing", self.allow_missing, get_args(AllowMissing))
        one_of("--select", self.select, get_args(Selector))
        number("--margin", self.margin, 0, np.inf, "a number of points from 0 up")
        if not isinstance(self.with_oracles, bool):
            raise BenchError(f"--with-oracles is True or False, not {self.with_oracles!r}.")
        for option in ("control", "noise", "group"):
            if not isinstance(given := getattr(self, option), str):
                raise BenchError(f"--{option} needs a text, not {given!r}.")
        for option in ("methods", "mixed"):
            names(f"--{option}", getattr(self, option))
        if not isinstance(self.where, Mapping) or not all(isinstance(column, str) for column in self.where):
            raise BenchError(f"--where needs a mapping, not {self.where!r}.", "For instance {'domain': ['in']}.")
        if not isinstance(self.names, Mapping) or not all(isinstance(name, str) for pair in self.names.items() for name in pair):
            raise BenchError(f"--name needs a mapping of names, not {self.names!r}.", "For instance {'coop_ce': 'CoOp'}.")
        for name, wanted in self.names.items():
            if not wanted.strip() or not wanted.isprintable():
                what = f"{wanted!r} holds what cannot be printed" if wanted.strip() else " gives no name"
                raise BenchError(f"--name {name}={what}.", f"For instance --name {name}=mine.")


def with_options(choices: Choices | None, options: dict[str, Any]) -> Choices:
    """Choices with some fields replaced.

    Raises:
        BenchError: There is no such field.
    """
    choices = Choices() if choices is None else choices
    if not isinstance(choices, Choices):
        raise BenchError(f"choices cannot be of type {type(choices).__name__}.", "Give `Choices(…)`, or options by name.")
    for name in options:
        if name not in Choices.__dataclass_fields__:
            raise BenchError(f"there is no option '{name}'.", nearest(name, Choices.__dataclass_fields__))
    return replace(choices, **options)


def one_of(option: str, given: Any, known: Iterable[str]) -> None:
    """Refuse what is not one of some words."""
    if given not in known:
        raise BenchError(f"{option} cannot be '{given}'.", nearest(str(given), filter(None, known)))


def number(option: str, given: Any, low: float, high: float, words: str, kind: type = float, hint: str = "") -> None:
    """Refuse what is not a number from `low` to `high` (finite), whole where `kind` is int."""
    kinds = int if kind is int else (int, float)
    if isinstance(given, bool) or not isinstance(given, kinds) or not low <= given <= high or not np.isfinite(given):
        raise BenchError(f"{option} {given} is not {words}.", hint)


def names(option: str, given: object) -> None:
    """Refuse what is not a list of names."""
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(name, str) for name in given):
        raise BenchError(f"{option} needs a list of names, not {given!r}.", "For instance ['coop_ce', 'gce'].")
