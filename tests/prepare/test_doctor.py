"""`bench doctor` on machines that lack this or that."""

import hashlib
import importlib.metadata
import json
import os

import pytest
from typer.testing import CliRunner

from bench.backbones import weights
from bench.cli.features import app as features
from bench.errors import BenchError
from bench.prepare import doctor
from bench.prepare.doctor import Finding, cached_features, dataset_files, disk, look, python, slurm


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_dataset_goes_from_nothing_to_features(home, monkeypatch, class_folders, tiny_model):
    """What doctor says at each step is what makes the next one."""
    assert "$BENCH_DATA, which is not set" in dataset_files("eurosat").detail
    monkeypatch.setenv("BENCH_DATA", str(home))
    missing = dataset_files("eurosat")
    assert missing.status == "absent"
    assert "eurosat/2750 of 'eurosat' does not exist" in missing.detail
    assert "EuroSAT.zip unpacked to eurosat/2750" in missing.do

    card = home / "eurosat2.toml"
    card.write_text(
        'name = "eurosat2"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["blue_whale", "green_frog", "red_fox"]\n'
        '[source]\nformat = "folders"\nimages = "animals"\nsplit = ""\n'
    )
    found = dataset_files(str(card))
    assert found.status == "ok"
    assert "72 images below" in found.detail
    assert "no features yet: bench features extract" in found.detail
    words = ["extract", card, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--views", 1, "--shots", 1]
    assert CliRunner().invoke(features, [str(word) for word in words]).exit_code == 0
    assert dataset_files(str(card)).detail == "features of tiny"


def test_missing_images_are_counted_and_named(home, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(home))
    card = home / "mine.toml"
    card.write_text(
        'name = "mine"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["a", "b"]\nhow_to_get = "Ask Ann."\n'
        '[source]\nformat = "lists"\nimages = "images"\nsplit = "lists"\n'
    )
    for folder in ("images", "lists"):
        (home / folder).mkdir()
    (home / "lists" / "train.txt").write_text("x.png 0\ny.png 1\n")
    (home / "lists" / "test.txt").write_text("z.png 1\n")
    (home / "images" / "y.png").touch()
    found = dataset_files(str(card))
    assert (found.status, found.do) == ("absent", "Ask Ann.")
    assert found.detail == f"2 of 3 images are missing below {home / 'images'}, such as x.png"


def test_human_labels_are_looked_for(home, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(home))
    card = home / "mine.toml"
    card.write_text(
        'name = "mine"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["a", "b"]\n'
        '[source]\nformat = "lists"\nimages = "."\nsplit = "."\n[human]\nfile = "labels.json"\nsets = { mine = 10.0 }\n'
    )
    (home / "train.txt").write_text("x.png 0\n")
    (home / "test.txt").write_text("y.png 1\n")
    for name in ("x.png", "y.png"):
        (home / name).touch()
    assert "human labels not there: labels.json below $BENCH_DATA" in dataset_files(str(card)).detail
    (home / "labels.json").touch()
    assert "human labels there" in dataset_files(str(card)).detail


def test_a_broken_cache_is_told_once_per_dataset(home, class_folders, tiny_model):
    words = [
        "extract",
        "--folder",
        class_folders,
        "--backbone",
        f"local-dir:{tiny_model}",
        "--workers",
        0,
        "--views",
        1,
        "--shots",
        1,
    ]
    assert CliRunner().invoke(features, [str(word) for word in words]).exit_code == 0
    assert list(cached_features("animals")) == [Finding("cache", "animals/tiny", "ok", "sound")]
    (home / "features" / "animals" / "tiny" / "val" / "block-0000.npy").write_bytes(b"short")
    (found,) = cached_features("animals")
    assert found.status == "broken"
    assert "val/block-0000.npy: altered or truncated" in found.detail
    assert "extract anew" in found.do


def test_a_missing_package_is_told(monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name.lower() in ("pot", "submitit"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = {finding.name.lower(): finding for finding in python()}
    assert found["pot"].status == "broken"
    assert "pip install" in found["pot"].do
    assert found["submitit"].status == "absent"
    assert found["torch"].status == "ok"


def test_little_space_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**9}))
    assert [finding.status for finding in disk()] == ["warning", "warning"]


def test_altered_shipped_files_are_named(tmp_path, monkeypatch):
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "a.bin").write_bytes(b"abc")
    known = {"a.bin": hashlib.sha256(b"abc").hexdigest(), "b.bin": "0" * 64}
    (tmp_path / "embedded" / "checksums.json").write_text(json.dumps(known))
    monkeypatch.setattr(doctor, "datasets_root", lambda: tmp_path)
    assert [finding.detail for finding in doctor.embedded_files()] == ["missing or altered: b.bin"]
    (tmp_path / "embedded" / "b.bin").write_bytes(b"x")
    (tmp_path / "embedded" / "a.bin").write_bytes(b"abd")
    assert [finding.detail for finding in doctor.embedded_files()] == ["missing or altered: a.bin, b.bin"]


def test_slurm_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [finding.status for finding in slurm()] == ["absent"]
    for name, text in (("sbatch", "exit 0"), ("sinfo", "echo 'gpu* up 4'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert list(slurm()) == [Finding("slurm", "controller", "ok", "gpu* up 4")]
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (found,) = slurm()
    assert found.status == "warning"
    assert "Unable to contact" in found.detail


@pytest.fixture
def no_slurm(tmp_path, monkeypatch) -> None:
    """No Slurm to be found: a controller that does not answer is waited for 9 seconds."""
    monkeypatch.setenv("PATH", str(tmp_path))


def test_the_command_prints_json_and_fails_where_something_is_broken(home, no_weights, no_slurm, monkeypatch):
    from bench.cli.doctor import doctor as command

    monkeypatch.setattr(doctor, "cached_features", lambda dataset: iter([Finding("cache", "x/y", "broken", "gone", "do it")]))
    monkeypatch.setattr(doctor, "embedded_files", lambda: iter([]))
    printed = []
    monkeypatch.setattr("bench.cli.doctor.say", printed.append)
    with pytest.raises(BenchError, match=r"1 of .* things looked at are broken") as caught:
        command("dtd", as_json=True)
    assert caught.value.code == 3
    found = json.loads(printed[-1])
    assert {"area", "name", "status", "detail", "do"} == set(found[0])
    assert {item["area"] for item in found} == {"python", "torch", "disk", "weights", "dataset", "cache", "slurm"}
    assert all(item["do"] for item in found if item["status"] == "broken")
    with pytest.raises(BenchError, match="no dataset is called"):
        command("nope", as_json=True)


def test_everything_is_looked_at_without_a_data_root(home, no_weights, no_slurm, monkeypatch):
    monkeypatch.setattr(doctor, "cached_features", lambda dataset: iter([]))
    (nowhere,) = [finding for finding in look() if finding.area == "dataset" and finding.name == "images"]
    assert "imagenet" in nowhere.detail
    assert "digits" not in nowhere.detail
    assert os.environ.get("BENCH_DATA") is None
