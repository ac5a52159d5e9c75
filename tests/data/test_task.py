"""A run's data, put together: shots, wrong labels and features, as every method gets them."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.backbones.description import describe, save_description
from bench.cli.features import app
from bench.data.cards import load_card
from bench.data.load import load_run
from bench.data.noise import make_noise
from bench.data.task import check_ready, draw_images, features_of, features_version, split_of
from bench.errors import BenchError
from bench.seeds import derive
from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec


@pytest.fixture
def animals(home, class_folders, tiny_model):
    """Features of all images of three classes: 36 train, 15 val, 21 test."""
    words = ["extract", "--folder", class_folders, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--views", 2, "--all"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return home


def spec(protocol="clean", rate=0.0, seed=1, shots=4, views=2, method="x", train=TrainSpec()):  # noqa: B008 - frozen
    noise = NoiseSpec(protocol=protocol, rate=rate)
    return RunSpec(method=MethodSpec(name=method), dataset="animals", task="", backbone="tiny", views=views, shots=shots,
                   noise=noise, seed=seed, train=train)  # fmt: skip


def logits(images):
    """A zero-shot model of three classes."""
    return 30 * images @ np.random.default_rng(2).normal(size=(16, 3)).astype(np.float32)


def test_methods_share_shots_and_wrong_labels_and_seeds_do_not(animals):
    one, other = load_run(spec("symmetric", 0.5)), load_run(spec("symmetric", 0.5, method="y", views=0))
    assert one.noise_digest == other.noise_digest
    assert np.array_equal(one.given, other.given)
    assert np.array_equal(one.train[0], other.train[0])
    assert load_run(spec("symmetric", 0.5, seed=2)).noise_digest != one.noise_digest
    assert replace(one, paths=(*one.paths[1:], "another.png")).noise_digest != one.noise_digest  # other shots, labelled alike
    assert len(one.paths) == len(one.given)
    assert one.realised_rate == 0.5
    assert one.train.shape == (3, 12, 16)
    assert other.train.shape == (1, 12, 16)


def test_shots_are_the_same_at_every_rate_and_validation_is_as_noisy(animals):
    low, high = load_run(spec("symmetric", 0.25)), load_run(spec("symmetric", 0.75))
    assert low.paths == high.paths
    wrong = low.given != low.true
    assert np.array_equal(low.given[wrong], high.given[wrong])
    assert (low.val_given != low.val_true).sum() == 3  # of 4 × 3
    assert (high.val_given != high.val_true).sum() == 9


def test_replacing_noise_keeps_given_labels_balanced_and_shows_other_images(animals):
    shots, noisy = load_run(spec("fp_pairflip", 0.1)), load_run(spec("fp_pairflip", 0.5))
    assert Counter(noisy.given.tolist()) == {0: 4, 1: 4, 2: 4}
    assert np.array_equal(shots.true, shots.given)  # a tenth of four rounds to none
    assert np.array_equal(noisy.given, shots.given)
    changed = noisy.given != noisy.true
    assert np.array_equal(noisy.true[changed], (noisy.given[changed] + 1) % 3)
    assert changed.sum() == 6
    assert not {path for path, new in zip(noisy.paths, changed, strict=True) if new} & set(shots.paths)
    assert [path for path, new in zip(noisy.paths, changed, strict=True) if not new] == [
        path for path, new in zip(shots.paths, changed, strict=True) if not new
    ]
    expected = features_of("animals", "tiny", "train").rows(list(noisy.paths))
    assert np.array_equal(noisy.train.swapaxes(0, 1), expected)
    assert noisy.noise_digest != load_run(spec("fp_pairflip", 0.25)).noise_digest
    assert ((noisy.val_given - noisy.val_true) % 3 == np.where(noisy.val_given != noisy.val_true, 1, 0)).all()


def test_noise_that_depends_on_images_gets_the_clean_view(animals):
    data = load_run(spec("instance", 0.5))
    seed = derive(1, "animals")
    assert np.array_equal(data.given, make_noise("instance", data.true, 3, 0.5, seed, features=data.train[0]))
    data = load_run(spec("confusion", 0.5), logits)
    assert np.array_equal(data.given, make_noise("confusion", data.true, 3, 0.5, seed, zero_shot=logits(data.train[0])))
    expected = make_noise("confusion", data.val_true, 3, 0.5, seed, "val", zero_shot=logits(data.val))
    assert np.array_equal(data.val_given, expected)
    with pytest.raises(BenchError, match="needs the zero-shot model's logits"):
        load_run(spec("confusion", 0.5))


def test_what_trains_nothing_needs_the_test_part_only(animals, tmp_path):
    folder = animals / "features" / "animals" / "tiny"
    (folder / "train").rename(tmp_path / "away")
    (folder / "val").rename(tmp_path / "away2")
    data = load_run(spec(train=None, views=0, shots=0))
    assert data.train.shape == (1, 0, 16)
    assert data.val.shape == (0, 16)
    assert data.test.shape == (21, 16)
    assert len(split_of("animals").train) == 36


def test_whether_a_run_could_start_is_known_without_starting_it(home, class_folders, tiny_model):
    words = ["extract", "--folder", class_folders, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--views", 1,
             "--shots", 4, "--seeds", 1, "--noise", "fp_symmetric=0.5"]  # fmt: skip
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    for ready in (spec(views=1), spec("symmetric", 0.9, views=0), spec("fp_symmetric", 0.25, views=1), spec(train=None)):
        check_ready(ready)
    for lacking, message in (
        (spec(views=1, seed=2), "No features of "),
        (spec(views=1, shots=8), "bench features extract animals --backbone tiny"),
        (spec("fp_symmetric", 1.0, views=1), "No features of "),
        (spec(views=2), "wants 2 augmented views, the features of 'animals' by 'tiny' have 1"),
        (spec("human", 1.0, views=1), "no labels for 'human'"),
    ):
        with pytest.raises(BenchError, match=message):
            check_ready(lacking)


def test_training_labels_that_nobody_knows_are_not_called_true(animals, class_folders):
    card = animals / "features" / "animals" / "card.toml"
    card.write_text(card.read_text().replace("[source]", 'train_labels = "human"\n[source]'))
    load_card.cache_clear()
    data = load_run(spec("human", 1.0))
    assert not data.true_known
    assert np.isnan(data.realised_rate)
    assert np.array_equal(data.given, data.true)
    assert data.val.shape == (0, 16)  # nobody labelled them so
    with pytest.raises(BenchError, match="the true ones are unknown"):
        load_run(spec("symmetric", 0.5))
    untrained = spec(train=None, views=0, shots=0)
    check_ready(untrained)
    assert load_run(untrained).test.shape == (21, 16)


def test_features_of_other_weights_than_the_backbones_are_refused(animals):
    version = features_version("animals", "tiny")
    assert version == features_version("animals", "tiny")
    described = describe("tiny")
    for change, name in (({"sha256": "1" * 64}, "weights"), ({"quick_gelu": True}, "quick_gelu"), ({"config": "2" * 64}, "config")):
        (animals / "features" / "backbones" / "tiny.json").unlink()
        save_description(described.model_copy(update=change))
        with pytest.raises(BenchError, match=rf"are of another backbone than 'tiny' is now \({name} differ\)"):
            features_version("animals", "tiny")


def test_the_noise_command_shows_what_runs_get(animals, capsys):
    from bench.cli import noise as command

    out = animals / "labels.json"
    command.noise("animals", "fp_symmetric", 0.5, seed=1, shots=4, backbone="tiny", out=out)
    data, shown = load_run(spec("fp_symmetric", 0.5)), json.loads(out.read_text())
    assert capsys.readouterr().out == f"12 images, 50.00 % wrong labels, hash {data.noise_digest}\n"
    assert shown["hash"] == data.noise_digest
    classes = load_card("animals").classes
    assert [(row["path"], row["true"], row["given"]) for row in shown["images"]] == [
        (path, classes[t], classes[g]) for path, t, g in zip(data.paths, data.true, data.given, strict=True)
    ]
    command.noise("animals", "confusion", 0.5, seed=1, shots=4, backbone="tiny", out=None)
    assert "no method can tell" in capsys.readouterr().out
    with pytest.raises(BenchError, match="outside"):
        command.noise("animals", "pairflip", 2.0, seed=1, shots=4, backbone="tiny", out=None)
    with pytest.raises(BenchError, match="no noise protocol"):
        command.noise("animals", "symetric", 0.5, seed=1, shots=4, backbone="tiny", out=None)


def test_the_images_of_a_run_are_known_before_any_feature(animals):
    split, card = split_of("animals"), load_card("animals")
    images = draw_images(card, split, 4, 1, NoiseSpec(protocol="fp_symmetric", rate=0.5))
    assert tuple(item.path for item in images.train) == load_run(spec("fp_symmetric", 0.5)).paths
