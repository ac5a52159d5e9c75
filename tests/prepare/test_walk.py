"""The walk of datasets/README.md, word for word, on small datasets drawn here; a tiny model stands in for OpenAI's weights."""

import re
import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from bench.cli import commands
from bench.results.frame import load
from tests.conftest import draw
from tests.prepare.drawing import CLASSES, draw_parquet, draw_webdataset
from tests.prepare.test_sources import write

README = (Path(__file__).parents[2] / "datasets" / "README.md").read_text(encoding="utf-8")


def block(language, word):
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if word in text)


def test_the_walk(home, tiny_model, monkeypatch):
    monkeypatch.chdir(home)
    draw_webdataset(home / "wds_animals", parts=(("train", 15), ("test", 6)))
    draw_parquet(home / "animals-hf", parts=(("train", 24),))
    rows = []
    for c, name in enumerate(CLASSES):
        for i in range(10):
            draw(home / "animals" / name / f"{i}.png", 100 * c + i)
            draw(home / "pictures" / f"{name}{i}.png", 900 + 100 * c + i)
            rows.append(f"{name}{i}.png,{name},{'test' if i < 4 else 'train'}")
    write(home / "labels.csv", "path,label,split", *rows)
    grid = block("toml", 'name = "walk"').replace('"coop50"', '"coop50"\ntrain = { epochs = 2 }')  # a few steps are enough here
    (home / "walk.toml").write_text(grid)
    app = typer.Typer()
    commands.register(app)
    ours = f"--backbone local-dir:{tiny_model} --slug ViT-B-32@openai --workers 0"
    lines = block("sh", "bench run walk.toml").strip().split("\n")
    assert len(lines) == 8
    for line in lines:
        words = shlex.split(line.replace("--download ", "").replace("--backbone ViT-B-32 --pretrained openai", ours))[1:]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (line, result.output, result.exception)
    finished = load(home / "results" / "walk").frame
    assert len(finished) == 4 * (1 + 2 * 2)
    assert set(finished["dataset"]) == {"wds_animals", "animals-hf", "animals", "pictures"}
    assert "animals-hf" in (home / "report" / "report.html").read_text(encoding="utf-8")
