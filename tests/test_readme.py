"""What the README tells a newcomer is true: its method conforms, its grid expands, its commands exist."""

import re
import shlex
import tomllib
from pathlib import Path

import typer

from bench.cli import commands
from bench.grid import Grid, expand
from bench.results.frame import load
from methods import registry
from reports.analysis import Choices, analyse

ROOT = Path(__file__).parent.parent
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "results"
MAIN = ["zero_shot", "sce", "gce", "dspt", "mae", "coop_ce"]


def block(language, word):
    """The first code block in a language that holds a word."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if word in text)


def test_the_method_in_15_lines(tmp_path):
    from bench.check import check_method

    source = block("python", "@register")
    assert len(source[source.index("@register") :].strip().splitlines()) <= 15
    path = tmp_path / "my_method.py"
    path.write_text(source, encoding="utf-8")
    registry.load_plugin(path)
    try:
        findings = list(check_method("poly1"))
        assert len(findings) > 8
        assert {finding.state for finding in findings} == {"ok"}, findings
    finally:
        registry._classes.pop("poly1")


def test_the_grid():
    assert expand(Grid.model_validate(tomllib.loads(block("toml", "preset"))))


def test_the_commands_exist():
    app = typer.Typer()
    commands.register(app)
    group = typer.main.get_command(app)
    called = [shlex.split(line.split("#")[0]) for line in re.findall(r"^ {4}(bench .*?)\\?$", README, re.MULTILINE)]
    assert len(called) >= 8
    for _, name, *words in called:
        command = group.commands[name]
        command = command.commands[words[0]] if hasattr(command, "commands") else command
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_the_table_of_the_reference_results():
    """Mean accuracy under symmetric noise of the main methods, at CoOp's learning rate and at chosen ones."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    text = text[text.index("## What the reference results say") :]
    rows = [line.replace("\\", "").strip("| ").split(" | ") for line in text.splitlines() if line.count("|") == 8]
    shown = {row[0]: [float(number) for number in row[1:]] for row in rows if row[0] in MAIN}
    assert set(shown) == set(MAIN)
    at = 0
    for folder, select in (("reference", ""), ("learning-rates", "noisy_val")):
        frame = load(RESULTS / folder).frame
        for domain in ({}, {"domain": ["in"]}, {"domain": ["out"]}):
            scores = analyse(frame, Choices(select=select, where={"method": MAIN} | domain)).scores.mean()
            assert {method: numbers[at] for method, numbers in shown.items()} == {m: round(scores[m], 1) for m in MAIN}
            at += 1
