import json
import shutil

import numpy as np
import pytest

from bench.data.features import FeatureWriter, fingerprint, open_features, verify_features
from bench.errors import BenchError

INPUTS = {"weights": "abc", "views": 2}


def unit(n, views=2, dim=4, seed=0):
    array = np.random.default_rng(seed).normal(size=(n, 1 + views, dim))
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """A cache of two blocks."""
    folder = tmp_path / "digits" / "tiny" / "train"
    writer = FeatureWriter(folder, INPUTS, dim=4, views=2)
    writer.append(["a", "b", "c"], unit(3))
    writer.append(["d", "e"], unit(2, seed=1))
    writer.commit()
    return folder


def test_rows_come_in_the_order_asked_for_across_blocks(folder):
    features = open_features(folder)
    assert (features.paths, features.views, features.dim) == (("a", "b", "c", "d", "e"), 2, 4)
    rows = features.rows(["e", "a", "e"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.stack([unit(2, seed=1)[1], unit(3)[0], unit(2, seed=1)[1]]), atol=1e-3)
    assert features.rows([]).shape == (0, 3, 4)


def test_a_sound_cache_has_no_problems(folder):
    assert verify_features(folder) == []


def test_values_are_normalised_before_the_cast(tmp_path):
    writer = FeatureWriter(tmp_path, INPUTS, dim=4, views=2)
    writer.append(["a"], unit(1) * 70000)
    writer.commit()
    np.testing.assert_allclose(np.linalg.norm(open_features(tmp_path).rows(["a"]), axis=-1), 1, atol=1e-3)


def test_a_missing_image_is_named_with_the_command(folder):
    with pytest.raises(BenchError, match=r"No features of x and 1 more .*bench features extract digits --backbone tiny"):
        open_features(folder).rows(["a", "x", "y"])


def test_the_same_inputs_extend_and_others_are_refused(folder):
    writer = FeatureWriter(folder, dict(reversed(INPUTS.items())), dim=4, views=2)
    assert set(writer.contents) == set("abcde")
    writer.append(["f"], unit(1))
    assert len(open_features(folder).paths) == 5  # nothing counts before commit
    writer.commit()
    assert open_features(folder).paths[-1] == "f"
    with pytest.raises(BenchError, match=r"other inputs .weights differ"):
        FeatureWriter(folder, {**INPUTS, "weights": "xyz"}, dim=4, views=2)


@pytest.mark.parametrize(
    ("paths", "array", "words"),
    [
        (["f"], unit(2), "shape"),
        (["a"], unit(1), "already"),
        (["f", "f"], unit(2), "already"),
        (["f"], unit(1) * np.nan, "finite"),
        (["f"], unit(1) * 0, "zero"),
    ],
)
def test_bad_blocks_are_refused(folder, paths, array, words):
    with pytest.raises(BenchError, match=words):
        FeatureWriter(folder, INPUTS, dim=4, views=2).append(paths, array)


def test_a_missing_folder_and_another_schema_are_clear_errors(folder):
    with pytest.raises(BenchError, match=r"No features in .*bench features extract"):
        open_features(folder.parent / "test")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(BenchError, match="schema version 99"):
        open_features(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BenchError, match="cannot be read"):
        open_features(folder)


def change_byte(folder):
    block = folder / "block-0001.npy"
    data = bytearray(block.read_bytes())
    data[-1] ^= 1
    block.write_bytes(data)


def truncate(folder):
    block = folder / "block-0001.npy"
    block.write_bytes(block.read_bytes()[:-8])


def put_nan(folder):
    array = np.load(folder / "block-0000.npy")
    array[0, 0, 0] = np.nan
    np.save(folder / "block-0000.npy", array)


def wrong_dtype(folder):
    np.save(folder / "block-0000.npy", np.load(folder / "block-0000.npy").astype(np.float32))


def edit_manifest(**changes):
    def damage(folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_byte, "altered"),
        (truncate, "altered or truncated"),
        (put_nan, "not finite"),
        (wrong_dtype, "float32"),
        (lambda folder: (folder / "block-0000.npy").unlink(), "missing"),
        (edit_manifest(inputs={}), "fingerprint"),
        (edit_manifest(paths=["a", "b"]), "2 images but 5 rows"),
        (edit_manifest(paths=["a", "a", "b", "c", "d"]), "twice"),
        (lambda folder: (folder / "block-0000.npy").write_bytes(b""), "altered or truncated"),
        (shutil.rmtree, "No features"),
    ],
)
def test_damage_is_found_and_named(folder, damage, words):
    damage(folder)
    assert any(words in problem for problem in verify_features(folder))


def test_an_empty_block_cannot_be_opened(folder):
    (folder / "block-0000.npy").write_bytes(b"")
    with pytest.raises(BenchError, match="cannot be opened"):
        open_features(folder)


def test_the_fingerprint_is_of_the_inputs_in_any_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
