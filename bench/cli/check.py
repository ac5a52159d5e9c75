"""`bench check-method` and `bench curves`: what a contributor of a method needs."""

import json
from pathlib import Path

import typer

from bench.cli.arguments import JSON, PLUGIN, load_plugins
from bench.errors import SOME_FAILED, BenchError, nearest
from bench.output import say


def check_method(
    name: str = typer.Argument(help="The method to check."),
    plugin: list[Path] = PLUGIN,
    as_json: bool = JSON,
) -> None:
    """Check that a method conforms. Each failure is explained."""
    import torch

    from bench.check import check_method as findings_of
    from methods.registry import names

    load_plugins(plugin)
    if name not in names():
        raise BenchError(f"no method is called '{name}'.", nearest(name, names()))
    torch.set_num_threads(1)  # the made-up tasks are tiny
    findings = []
    for finding in findings_of(name):
        findings.append(finding)
        if not as_json:
            say(f"{finding.state:8} {finding.check:18} {finding.reason}")
    if as_json:
        say(json.dumps([finding._asdict() for finding in findings]))
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(SOME_FAILED)


def curves(
    plugin: list[Path] = PLUGIN,
    classes: list[int] = typer.Option([10, 100], "--classes", help="Number of classes; may be repeated."),
) -> None:
    """Print each plain loss against p_y, as CSV. With the norm of its gradient at the logits.

    One sample; the given label has probability p_y and the rest lies on one other class (rest = "one", a model confident of
    something else) or equally on all others (rest = "all").
    """
    from bench.curves import write_curves

    load_plugins(plugin)
    for count in classes:
        if count < 3:
            raise BenchError(f"--classes {count} is too few.", "Curves need at least 3 classes.")
    write_curves(classes, typer.get_text_stream("stdout"))
