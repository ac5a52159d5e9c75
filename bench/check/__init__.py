"""Conformance: what a method must do so that its results can stand beside the others'. `bench check-method` runs it."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from bench.check.cases import NotConforming
from bench.check.losses import ALWAYS, LOSSES
from bench.check.training import OF_SHOTS, TRAINING
from methods import registry

__all__ = ["CHECKS", "Finding", "check", "check_method"]

CHECKS: dict[str, Callable[[str], str]] = ALWAYS | LOSSES | TRAINING


class Finding(NamedTuple):
    """The outcome of one check."""

    check: str
    state: Literal["ok", "failed", "skipped"]
    reason: str  # what was looked at; where it failed, what is wrong and what to do


def check(method: str, name: str) -> Finding:
    """One check of one method."""
    try:
        found = registry.load(method)
        if not (found.train or name in ALWAYS or (found.from_shots and name in OF_SHOTS)):
            return Finding(name, "skipped", "the method trains nothing")
        return Finding(name, "ok", CHECKS[name](method))
    except NotConforming as error:
        return Finding(name, "failed", str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the method's code does is a finding about it
        return Finding(name, "failed", f"it raises {type(error).__name__}: {error}")


def check_method(method: str) -> Iterator[Finding]:
    """All checks of a registered method, one after the other."""
    for name in CHECKS:
        yield check(method, name)
