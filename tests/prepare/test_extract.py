"""Extraction on drawn images with a CLIP of random weights: what is encoded, cached, extended and refused."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional
from typer.testing import CliRunner

from bench.backbones.description import describe, save_description
from bench.backbones.weights import resolve
from bench.cli.features import app
from bench.data.cards import card_paths, load_card
from bench.data.features import open_features
from bench.data.load import load_run
from bench.data.task import draw_images, split_of
from bench.errors import BenchError
from bench.prepare.extract import Views, load_encoder
from bench.prepare.images import FolderImages
from bench.spec import NoiseSpec
from tests.prepare.extracting import bench, extract, features, run_spec


def test_what_a_run_needs_is_encoded_and_more_extends_it(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 2, "--seeds", 1)
    first = features(home)
    assert len(first.paths) == 6
    assert len(features(home, "val").paths) == 6
    assert len(features(home, "test").paths) == 21
    data = load_run(run_spec(shots=2))
    assert data.train.shape == (3, 6, 16)
    assert np.allclose(np.linalg.norm(data.train, axis=-1), 1, atol=1e-3)
    before = first.rows(first.paths)

    extract(class_folders, tiny_model, "--shots", 4, "--seeds", 1, "--seeds", 2, "--noise", "fp_symmetric=0.5")
    more = features(home)
    assert more.paths[:6] == first.paths
    assert np.array_equal(more.rows(first.paths), before)
    split, card = split_of("animals"), load_card("animals")
    for seed in (1, 2):
        for noise in (NoiseSpec(), NoiseSpec(protocol="fp_symmetric", rate=0.5)):
            assert {item.path for item in draw_images(card, split, 4, seed, noise).train} <= set(more.paths)
    assert len(more.paths) < len(split.train)
    assert more.fingerprint == first.fingerprint

    extract(class_folders, tiny_model, "--all")
    assert set(features(home).paths) == {item.path for item in split.train}
    bench("verify", "animals")


def test_features_are_those_of_an_independent_preprocessing(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 2)
    model = open_clip.create_model(f"local-dir:{tiny_model}").eval()
    cached = features(home, "test")
    for path in cached.paths[:4]:
        image = Image.open(class_folders / path).convert("RGB")
        image = functional.center_crop(functional.resize(image, 32, functional.InterpolationMode.BICUBIC), 32)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
        pixels = functional.normalize(pixels, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        with torch.no_grad():
            expected = model.encode_image(pixels[None], normalize=True)[0].numpy()
        assert np.allclose(cached.rows([path])[0, 0], expected, atol=1e-3)


def test_a_grid_says_what_is_encoded(home, class_folders, tiny_model):
    grid = home / "grid.toml"
    grid.write_text(
        'methods = ["gce"]\ndatasets = ["animals"]\nviews = 1\nshots = [1, 3]\nseeds = [4, 5]\n'
        "[noise]\nsymmetric = [0.5]\nfp_pairflip = [0.34, 1.0]\n"
    )
    words = ["--folder", class_folders, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--grid", grid]
    bench("extract", *words)
    split, card, expected = split_of("animals"), load_card("animals"), set()
    for shots in (1, 3):
        for seed in (4, 5):
            for noise in (NoiseSpec(), NoiseSpec(protocol="fp_pairflip", rate=1.0)):
                drawn = draw_images(card, split, shots, seed, noise)
                expected |= {item.path for item in drawn.train + drawn.shots}
    assert set(features(home).paths) == expected
    assert features(home).views == 1


def test_views_depend_on_image_and_view_only(class_folders, tiny_model):
    encoder = load_encoder(resolve(f"local-dir:{tiny_model}"), "cpu")
    paths = ["red_fox/03.png", "blue_whale/01.png", "red_fox/00.png"]
    read = FolderImages(class_folders)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = {path: made for path, made, _ in (Views(paths, read, encoder, 3)[i] for i in range(3))}
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    other = {path: made for path, made, _ in (Views(paths[::-1], read, encoder, 5)[i] for i in range(3))}
    for path in paths:
        assert np.array_equal(one[path], other[path][:4])
        assert len({tuple(view.flatten()[:50].tolist()) for view in other[path]}) == 6
    (class_folders / "copy.png").write_bytes((class_folders / paths[0]).read_bytes())
    copied = Views(["copy.png"], read, encoder, 3)[0][1]
    assert np.array_equal(copied[0], one[paths[0]][0])  # the clean view of equal pixels
    assert not any(np.array_equal(mine, theirs) for mine, theirs in zip(copied[1:], one[paths[0]][1:], strict=True))


def test_two_extractions_and_workers_give_the_same_cache(home, class_folders, tiny_model, monkeypatch):
    extract(class_folders, tiny_model, "--shots", 2)
    monkeypatch.setenv("BENCH_FEATURES", str(home / "again"))
    load_card.cache_clear()
    bench("extract", "--folder", class_folders, "--backbone", f"local-dir:{tiny_model}", "--views", 2, "--shots", 2,
          "--workers", 1, "--batch-size", 5)  # fmt: skip
    one, two = (open_features(home / root / "animals" / "tiny" / "train") for root in ("features", "again"))
    assert one.fingerprint == two.fingerprint
    assert np.allclose(one.rows(one.paths), two.rows(one.paths), atol=2e-3)


def test_other_views_or_another_split_are_refused(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 2)
    with pytest.raises(BenchError, match="view"):
        bench("extract", "--folder", class_folders, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--views", 3)
    with pytest.raises(BenchError, match="wants 5 augmented views, the features of 'animals' by 'tiny' have 2"):
        load_run(run_spec(shots=2, views=5))
    (class_folders / "red_fox" / "00.png").rename(class_folders / "red_fox" / "zz.png")
    with pytest.raises(BenchError, match="another split"):
        extract(class_folders, tiny_model, "--shots", 2)


def test_images_not_encoded_name_the_command(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 2)
    with pytest.raises(BenchError, match="bench features extract animals --backbone tiny"):
        load_run(run_spec(shots=8))


def test_unreadable_images_are_listed_refused_and_skipped_on_demand(home, class_folders, tiny_model):
    jpeg = class_folders / "red_fox" / "00.png"
    Image.open(jpeg).convert("RGB").save(class_folders / "cut.jpg", quality=95)
    jpeg.write_bytes((class_folders / "cut.jpg").read_bytes()[:700])  # a truncated JPEG
    (class_folders / "cut.jpg").unlink()
    (class_folders / "blue_whale" / "01.png").write_bytes(b"")
    (class_folders / "green_frog" / "02.png").write_text("not an image")
    with pytest.raises(BenchError, match="3 of 72 images") as caught:
        extract(class_folders, tiny_model, "--all")
    for name in ("red_fox/00.png", "blue_whale/01.png", "green_frog/02.png", "--skip-bad"):
        assert name in str(caught.value)
    assert "animals" not in card_paths()  # nothing is registered before it has succeeded

    split_of.cache_clear()
    extract(class_folders, tiny_model, "--all", "--skip-bad")
    left = split_of("animals")
    paths = {item.path for part in left for item in part}
    assert len(paths) == 69
    assert not paths & {"red_fox/00.png", "blue_whale/01.png", "green_frog/02.png"}
    skipped = json.loads((home / "features" / "animals" / "prepared.json").read_text())["skipped"]
    assert "truncated" in skipped["red_fox/00.png"]
    assert load_run(run_spec(shots=8)).train.shape == (3, 24, 16)
    extract(class_folders, tiny_model, "--all")  # known by now: nothing to refuse
    bench("verify", "animals")


def test_missing_images_and_the_wrong_root_are_told(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 1, "--seeds", 1)
    split_file = home / "features" / "animals" / "split.json"
    card = home / "mine.toml"
    card.write_text(
        'name = "mine"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["blue_whale", "green_frog", "red_fox"]\n'
        '[source]\nformat = "coop"\nimages = "x"\nsplit = "y.json"\n'
    )
    words = ("extract", card, "--split", split_file, "--backbone", f"local-dir:{tiny_model}", "--workers", 0, "--views", 1)
    with pytest.raises(BenchError, match="Give --images DIR and --split FILE, or set BENCH_DATA"):
        bench("extract", card, "--backbone", "embedded")
    with pytest.raises(BenchError, match=r"image folder .* does not exist"):
        bench(*words, "--images", home / "nowhere")
    (home / "empty").mkdir()
    with pytest.raises(BenchError, match=r"Is it the right folder\? The card means 'x'"):
        bench(*words, "--images", home / "empty")
    assert not (home / "features" / "mine").exists()
    (class_folders / "red_fox" / "05.png").unlink()
    with pytest.raises(BenchError, match=r"red_fox/05.png: no such file"):
        bench(*words, "--images", class_folders, "--all")


def test_a_killed_extraction_goes_on(home, class_folders, tiny_model, monkeypatch):
    code = (
        "import sys, time, bench.prepare.extract as e\n"
        "e.BLOCK = 8\n"
        "encode = e.Encoder.encode\n"
        "def slow(self, images):\n"
        "    time.sleep(0.05)\n"
        "    return encode(self, images)\n"
        "e.Encoder.encode = slow\n"
        "from bench.cli import main\n"
        "sys.argv = ['bench', 'features', 'extract', *sys.argv[1:]]\n"
        "main()\n"
    )
    words = ["--folder", str(class_folders), "--backbone", f"local-dir:{tiny_model}", "--workers", "0", "--views", "2",
             "--all", "--batch-size", "3"]  # fmt: skip
    child = subprocess.Popen([sys.executable, "-c", code, *words], env=os.environ | {"OMP_NUM_THREADS": "1"})
    manifest = home / "features" / "animals" / "tiny" / "train" / "manifest.json"
    deadline = time.monotonic() + 120
    while not manifest.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    held = open_features(manifest.parent).paths
    assert 8 <= len(held) < 36
    extract(class_folders, tiny_model, "--all")
    assert open_features(manifest.parent).paths[: len(held)] == held
    assert len(open_features(manifest.parent).paths) == 36
    bench("verify", "animals")


def test_verify_says_what_is_wrong(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--shots", 2)
    extract(class_folders, tiny_model, "--shots", 4)
    folder = home / "features" / "animals" / "tiny" / "train"
    block = folder / "block-0001.npy"
    whole = block.read_bytes()

    def told(*expected):
        result = CliRunner().invoke(app, ["verify", "animals", "--json"])
        wrong = [line for lines in json.loads(result.stdout.splitlines()[0]).values() for line in lines]
        assert isinstance(result.exception, BenchError)
        assert result.exception.code == 3
        assert all(any(text in line for line in wrong) for text in expected), wrong

    block.write_bytes(whole[:-7])
    told("block-0001.npy: altered or truncated")
    block.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told("block-0001.npy: altered or truncated")
    block.unlink()
    told("block-0001.npy: missing")
    block.write_bytes(whole)
    bench("verify", "animals")
    described = home / "features" / "backbones" / "tiny.json"
    original = described.read_text()
    described.write_text(original.replace(describe("tiny").sha256, "0" * 64))
    told("not made with what backbone 'tiny' is now (weights differ)")
    described.write_text(original)
    split = home / "features" / "animals" / "split.json"
    split.write_text(split.read_text().replace("blue_whale/", "blue_shark/"))
    told("images that the split does not have, such as 'blue_whale/")


def test_train_val_test_folders_are_kept_as_they_are(home, class_folders, tiny_model):
    parts = home / "parted"
    for part, numbers in (("train", range(10)), ("test", range(10, 24))):
        for name in ("red_fox", "blue_whale"):
            (parts / part / name).mkdir(parents=True)
            for i in numbers:
                (class_folders / name / f"{i:02d}.png").rename(parts / part / name / f"{i:02d}.png")
    extract(parts, tiny_model, "--shots", 4)
    split = split_of("parted")
    assert [len(part) for part in split] == [20, 0, 28]
    data = load_run(run_spec("parted"))
    assert data.val.shape == (0, 16)
    assert data.test.shape == (28, 16)


def test_a_slug_keeps_its_weights(home, tiny_model, tmp_path):
    backbone = resolve(f"local-dir:{tiny_model}")
    save_description(backbone)
    assert describe("tiny") == backbone
    with pytest.raises(BenchError, match=r"stands for another one already .weights differ"):
        save_description(backbone.model_copy(update={"sha256": "1" * 64}))
    with pytest.raises(BenchError, match=r"no backbone 'tinny' .* Did you mean 'tiny'"):
        describe("tinny")
    with pytest.raises(BenchError, match="cannot name a backbone"):
        resolve(f"local-dir:{tiny_model}", slug="../x")
