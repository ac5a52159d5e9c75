"""`bench check-method` as users call it."""

import json

import pytest
import typer

from bench.cli import commands
from bench.errors import BenchError


def run(capsys, *arguments):
    app = typer.Typer()
    commands.register(app)
    code = app(list(arguments), standalone_mode=False) or 0
    return code, capsys.readouterr().out


def test_the_command_checks_a_plugin(tmp_path, capsys, own_registry):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        'from methods import Method, register\n\n\n@register("mine")\nclass Mine(Method):\n    """Mine."""\n\n'
        "    def loss(self, batch):\n        return -batch.p_y.log()\n"
    )
    code, out = run(capsys, "check-method", "mine", "--plugin", str(plugin), "--json")
    states = {finding["check"]: finding["state"] for finding in json.loads(out)}
    assert code == 1
    assert states["extreme logits"] == states["documented"] == "failed"
    assert states["class permutation"] == "ok"


def test_the_command_suggests_a_name(capsys):
    with pytest.raises(BenchError, match=r"no method is called 'gec'\. Did you mean 'gce'"):
        run(capsys, "check-method", "gec")
