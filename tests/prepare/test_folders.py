"""Datasets that are folders: nothing is left out without a line, registered before it has succeeded, or changed unnoticed."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench.data.cards import card_paths, load_card
from bench.data.splits import Item, Split
from bench.data.task import split_of
from bench.errors import BenchError
from bench.prepare.folders import parts_of
from bench.prepare.layouts import left_out
from tests.conftest import draw
from tests.prepare.drawing import draw_parquet
from tests.prepare.extracting import bench, extract, features

SHOTS = ("--shots", 1, "--seeds", 1)


def parted(root, *parts, classes=("red_fox", "blue_whale")):
    for i, part in enumerate(parts):
        for j, name in enumerate(classes):
            for k in range(3):
                draw(root / part / name / f"{k}.png", 100 * i + 10 * j + k)
    return root


def test_a_failed_extraction_registers_nothing_and_the_corrected_folder_is_taken(home, class_folders, tiny_model):
    bad = class_folders / "red_fox" / "03.png"
    bad.write_bytes(b"")
    with pytest.raises(BenchError, match="1 of 72 images"):
        extract(class_folders, tiny_model, "--all")
    assert "animals" not in card_paths()
    assert not (home / "features" / "backbones").exists()
    assert len(features(home).paths) + len(features(home, "val").paths) + len(features(home, "test").paths) == 71
    bad.unlink()  # which parts the class in another way
    extract(class_folders, tiny_model, "--all")
    assert {item.path for item in split_of("animals").train} == set(features(home).paths)
    bench("verify", "animals")


def test_a_moved_folder_is_the_same_dataset(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, *SHOTS)
    before = features(home).fingerprint
    moved = home / "elsewhere" / "beasts"
    moved.parent.mkdir()
    shutil.move(class_folders, moved)
    extract(moved, tiny_model, "--name", "animals", "--shots", 2)
    assert load_card("animals").source.images == str(moved)
    assert features(home).fingerprint == before
    bench("verify", "animals")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_part_is_read_under_every_name(home, tiny_model, name):
    root = parted(home / "set", "train", name, "test")
    extract(root, tiny_model, *SHOTS)
    assert [len(part) for part in split_of("set")] == [6, 6, 6]
    assert split_of("set").val[0].path == f"{name}/blue_whale/0.png"


def test_parts_that_are_missing_or_twice_are_told(home, tiny_model):
    with pytest.raises(BenchError, match="has no test part, only 6 train and 6 val images"):
        extract(parted(home / "a", "train", "valid"), tiny_model, *SHOTS)
    extract(home / "a", tiny_model, *SHOTS, "--make-test", 0.3)
    assert [len(part) for part in split_of("a")] == [4, 6, 2]
    with pytest.raises(BenchError, match="holds val and valid, both val"):
        parts_of(parted(home / "b", "train", "test", "val", "valid"))
    with pytest.raises(BenchError, match="holds test but no train"):
        parts_of(parted(home / "c", "test", "other"))
    draw(home / "d" / "train" / "0.png", 0)  # a class of locomotives
    draw(home / "d" / "bus" / "0.png", 1)
    assert parts_of(home / "d") == {}


def test_what_is_left_out_is_named_and_kept(home, class_folders, tiny_model):
    draw(class_folders / "red_fox" / "more" / "x.png", 7)
    (class_folders / "red_fox" / "y.heic").touch()
    (class_folders / "red_fox" / ".hidden.png").touch()
    result = extract(class_folders, tiny_model, *SHOTS)
    assert "2 files or folders below" in result.stderr
    assert "red_fox/more/x.png: not directly in a class folder" in result.stderr
    noted = json.loads((home / "features" / "animals" / "prepared.json").read_text())
    assert set(noted["left_out"]) == {"red_fox/more/x.png", "red_fox/y.heic"}


@pytest.mark.parametrize("form", ["coop", "lists", "csv", "aircraft", "animal10n"])
def test_images_that_a_list_does_not_name_are_told_and_folders_of_others_as_one(tmp_path, form):
    for name in ("a/0.png", "a/1.JPG", "b/0.png", "b/1.png", "lone.png", "c/2.png", "a/notes.txt", "a/.x.png", ".d/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert left_out(tmp_path, Split([Item("a/0.png", 0)], [], []), form) == {
        "a/1.JPG": "not in the split",
        "b/": "2 images, none of them in the split",
        "c/2.png": "not in the split",
        "lone.png": "not in the split",
    }


def test_every_part_is_looked_at_per_class(home, tiny_model):
    root = parted(home / "set", "train", "test")
    for image in (root / "test" / "red_fox").iterdir():
        image.unlink()
    assert "1 classes have no test image: red_fox" in extract(root, tiny_model, *SHOTS).stderr
    for image in (root / "train" / "blue_whale").iterdir():
        image.unlink()
    with pytest.raises(BenchError, match="class 'blue_whale' of 'other' has no training image"):
        extract(root, tiny_model, "--name", "other")


def test_an_image_that_changed_is_noticed_and_encoded_anew(home, class_folders, tiny_model):
    extract(class_folders, tiny_model, "--all")
    first, path = features(home), split_of("animals").train[0].path
    others = [other for other in first.paths if other != path]
    size = (class_folders / path).stat().st_size
    pixels = np.asarray(Image.open(class_folders / path))[::-1]
    Image.fromarray(pixels).save(class_folders / path)
    assert size > 0
    with pytest.raises(BenchError, match=r"1 of 3 caches are unsound"):
        bench("verify", "animals")
    result = extract(class_folders, tiny_model, "--all")
    assert f"1 images have changed since they were encoded and are encoded anew: {path}" in result.stderr
    bench("verify", "animals")
    again = features(home)
    assert again.fingerprint != first.fingerprint
    assert not np.allclose(again.rows([path]), first.rows([path]), atol=1e-2)
    assert np.array_equal(again.rows(others), first.rows(others))


def test_compressed_shards_and_odd_names_of_folders_are_told(home, tiny_model):
    for part in ("train", "test"):
        (home / "wds" / part).mkdir(parents=True)
        (home / "wds" / part / "0.tar.gz").write_bytes(b"x")
    with pytest.raises(BenchError, match=r"the folders test, train in .*wds hold no images.*gunzip"):
        extract(home / "wds", tiny_model, *SHOTS)
    with pytest.raises(BenchError, match=r"'übung' cannot name a dataset.*--name"):
        extract(parted(home / "übung", "train", "test"), tiny_model, *SHOTS)
    extract(home / "übung", tiny_model, *SHOTS, "--name", "exercise")
    assert [item.path for item in split_of("exercise").test][:1] == ["test/blue_whale/0.png"]


def test_a_shard_that_was_damaged_since_is_told(home, tiny_model):
    root = draw_parquet(home / "hf", shards=1)
    shard = root / "data" / "train-00000-of-00001.parquet"
    whole = shard.read_bytes()
    extract(root, tiny_model, *SHOTS)
    for damaged in (whole[:600] + bytes(200) + whole[800:], None):
        if damaged is None:
            pq.write_table(pq.read_table(io.BytesIO(whole)).slice(0, 2), shard)
        else:
            shard.write_bytes(damaged)
        with pytest.raises(BenchError, match="1 of 2 caches are unsound"):
            bench("verify", "hf")
    shard.write_bytes(whole)
    bench("verify", "hf")
    with pytest.raises(BenchError, match="no features of 'hf' with 'RN50'"):
        bench("export", "hf", "--backbone", "RN50", "--out", home / "out")
    assert not (home / "out").exists()
