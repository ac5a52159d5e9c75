"""Extractions that are refused or fail: what is said, and that nothing is lost or written."""

import fcntl
import json
import shutil

import open_clip
import pytest
import torch

from bench.data.cards import load_card
from bench.errors import BenchError
from tests.prepare.extracting import bench, extract


def test_a_folder_must_hold_classes_and_a_name_stays_one_dataset(home, class_folders, tiny_model):
    with pytest.raises(BenchError, match="holds 0 class folders"):
        extract(class_folders / "red_fox", tiny_model)
    with pytest.raises(BenchError, match="a shipped dataset is called 'dtd'"):
        extract(class_folders, tiny_model, "--name", "dtd")
    with pytest.raises(BenchError, match="cannot name a dataset"):
        extract(class_folders, tiny_model, "--name", "../up")
    with pytest.raises(BenchError, match="a template holds"):
        extract(class_folders, tiny_model, "--template", "a photo.")
    assert not (home / "features").exists()
    extract(class_folders, tiny_model, "--shots", 1, "--template", "art of a {}.")
    assert load_card("animals").prompts[0] == "art of a blue whale."
    with pytest.raises(BenchError, match="another dataset is called 'animals'"):
        extract(class_folders, tiny_model, "--shots", 1)


def test_nothing_is_written_where_what_was_asked_makes_no_sense(home, class_folders, tiny_model, monkeypatch):
    monkeypatch.setattr("bench.backbones.weights.try_to_load_from_cache", lambda repo, file: None)
    monkeypatch.setenv("HOME", str(home))
    good = ("--backbone", f"local-dir:{tiny_model}")
    for words, message in (
        ((), "name either a dataset or --folder DIR"),
        (("dtd", "--folder", class_folders), "name either a dataset or --folder DIR"),
        (("nope", *good), "no dataset is called 'nope'"),
        (("digits", *good), "has no .source.: its features ship with it"),
        (("--folder", class_folders), "'ViT-B-16' names no weights"),
        (("--folder", class_folders, "--backbone", "ViT-B-16@openai"), "are not on this machine"),
        (("--folder", class_folders, *good, "--noise", "symetric=0.5"), "Did you mean 'symmetric'"),
        (("--folder", class_folders, *good, "--noise", "fp_symmetric=half"), "a rate that is not a number"),
        (("--folder", class_folders, *good, "--noise", "fp_symmetric=2"), "outside"),
        (("--folder", class_folders, *good, "--noise", "fp_symmetric"), "not of the form key=value"),
        (("--folder", class_folders, *good, "--grid", home / "no.toml"), "does not exist"),
        (("--folder", class_folders, *good, "--device", "nonsense"), "device 'nonsense' is unknown"),
        (("--folder", home / "nowhere", *good), "does not exist"),
    ):
        with pytest.raises(BenchError, match=message):
            bench("extract", *words)
    assert not (home / "features").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mean": "x"}, "the image settings of 'odd' cannot be used"),
        ({"std": [0.0, 0.0, 0.0]}, "the features that 'odd' gives are not finite"),
    ],
)
def test_image_settings_that_cannot_be_are_found_before_the_first_image(home, class_folders, tiny_model, settings, says):
    folder = shutil.copytree(tiny_model, home / "odd")
    config = json.loads((folder / "open_clip_config.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps(config | {"preprocess_cfg": settings}))
    with pytest.raises(BenchError, match=says):
        extract(class_folders, folder, "--shots", 1)
    assert not (home / "features" / "animals").exists()


def test_two_extractions_at_once_too_little_memory_and_a_full_disk_are_told(home, class_folders, tiny_model, monkeypatch):
    extract(class_folders, tiny_model, "--shots", 1)
    with (home / "features" / "animals" / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BenchError, match="another process is extracting 'animals' with 'tiny'"):
            extract(class_folders, tiny_model, "--shots", 2)

    def full(self, images, normalize):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(open_clip.CLIP, "encode_image", full)
        with pytest.raises(BenchError, match="Give a smaller --batch-size"):
            extract(class_folders, tiny_model, "--shots", 2)

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.data.features.np.save", no_space)
    with pytest.raises(BenchError, match=r"No space left on device.*what is finished is kept"):
        extract(class_folders, tiny_model, "--shots", 4)
    bench("verify", "animals")
