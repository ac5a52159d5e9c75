"""What the tests of extraction call: the command, a run's specification, the features it needs."""

from typer.testing import CliRunner

from bench.cli.features import app
from bench.data.features import open_features
from bench.errors import BenchError
from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec


def bench(*words):
    """`bench features …`; a BenchError comes through."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def extract(folder, model, *words):
    return bench("extract", "--folder", folder, "--backbone", f"local-dir:{model}", "--workers", 0, "--views", 2, *words)


def run_spec(dataset="animals", protocol="clean", rate=0.0, shots=4, seed=1, views=2):
    noise = NoiseSpec(protocol=protocol, rate=rate)
    return RunSpec(method=MethodSpec(name="x"), dataset=dataset, task="", backbone="tiny", views=views, shots=shots,
                   noise=noise, seed=seed, train=TrainSpec())  # fmt: skip


def features(home, part="train", name="animals"):
    return open_features(home / "features" / name / "tiny" / part)
