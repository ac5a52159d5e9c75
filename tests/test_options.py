"""An option that nothing would come of is refused: what is ignored without a word is taken for done."""

import sys

import pytest

from bench import cli

GRID = 'methods = ["coop_ce"]\ndatasets = ["digits"]\nseeds = [1]\n[noise]\nsymmetric = [0.5]\n'
EXTRACT = "features extract dtd --images . --split ."


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (f"{EXTRACT} --backbone embedded --slug mine", "--slug has no meaning beside 'embedded', which is a slug already"),
        (f"{EXTRACT} --backbone embedded --download", "--download has no meaning beside 'embedded'"),
        (f"{EXTRACT} --backbone RN50 --weights w.pt --download", "--download has no meaning where the weights are a file"),
        (f"{EXTRACT} --backbone local-dir:x --download", "--download has no meaning where the weights are a file"),
        (f"{EXTRACT} --name x", "--name has no meaning beside a dataset"),
        (f"{EXTRACT} --template x", "--template has no meaning beside a dataset"),
        (f"{EXTRACT} --make-test 0.0", "--make-test has no meaning beside a dataset"),
        (f"{EXTRACT} --grid g.toml --shots 16", "--shots has no meaning beside --grid"),
        (f"{EXTRACT} --grid g.toml --seeds 1", "--seeds has no meaning beside --grid"),
        (f"{EXTRACT} --all --noise fp_symmetric", "--noise has no meaning beside --all"),
        ("features import dtd --train a.npz --test b.npz --backbone embedded --slug x", "--slug has no meaning beside 'embedded'"),
        ("run g.toml --shards 4", "--shards has no meaning under --on here"),
        ("run g.toml --wait", "--wait has no meaning under --on here"),
        ("run g.toml --option partition=gpu", "--option has no meaning under --on here"),
        ("run g.toml --on slurm --workers 2", "--workers has no meaning under --on slurm"),
        ("run g.toml --on slurm --stack 2", "--stack has no meaning under --on slurm"),
        ("run g.toml --on slurm --stall 20", "--stall has no meaning under --on slurm"),
        ("run g.toml --on slurm --shard 1/1", "--shard has no meaning under --on slurm"),
        ("run g.toml --on slurm --json", "--json has no meaning under --on slurm"),
        ("run g.toml --dry-run --wait", "--wait has no meaning under --on here"),
        ("backbones --json --table", "--json has no meaning beside --table"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(words, says, tmp_path, monkeypatch, capsys):
    (tmp_path / "g.toml").write_text(GRID)
    (tmp_path / "w.pt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, says in (said := capsys.readouterr().err)) == (2, True), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.toml", "w.pt"]
