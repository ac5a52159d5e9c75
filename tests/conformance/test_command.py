"""`bench check-method` as users call it."""

import json

import pytest
import typer

from bench.check import check
from bench.cli import commands
from bench.errors import BenchError
from methods import registry


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
    code, out = run(capsys, "methods", "mine", "--plugin", str(plugin))
    assert (code, out) == (0, "mine\n\nMine.\n\nHyper-parameters: none\n")
    assert "\nmine " in run(capsys, "methods", "--plugin", str(plugin))[1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('no such luck')", "it raises RuntimeError: no such luck"),
        ("return None", "loss() gives NoneType"),
        ("raise SystemExit(0)", "it raises SystemExit: 0"),
    ],
)
def test_whatever_a_loss_does_is_a_finding(tmp_path, own_registry, body, says):
    plugin = tmp_path / "worse.py"
    plugin.write_text(
        'from methods import Method, register\n\n\n@register("worse")\nclass Worse(Method):\n    """Worse."""\n\n'
        f"    def loss(self, batch):\n        {body}\n"
    )
    registry.load_plugin(plugin)
    for name in ("extreme logits", "inputs untouched"):
        finding = check("worse", name)
        assert finding.state == "failed", finding
        assert says in finding.reason
    assert check("worse", "same seed").state == "failed"


def test_the_command_suggests_a_name(capsys):
    with pytest.raises(BenchError, match=r"no method is called 'gec'\. Did you mean 'gce'"):
        run(capsys, "check-method", "gec")
