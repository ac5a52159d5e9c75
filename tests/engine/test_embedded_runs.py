"""The engine on the embedded model: whole runs through the public function, and a learned prompt that open_clip users can load."""

import json
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from bench.data.cards import load_card
from bench.data.task import features_of, split_of
from bench.engine import prompt_files
from bench.engine.prompt_files import write_prompt
from bench.errors import BenchError
from bench.grid import Grid
from bench.paths import datasets_root
from bench.results.store import Store
from bench.runner.run import run_grid

GRID = Grid(
    methods=["zero_shot", "coop_ce", "dspt"], datasets=["digits"], noise={"symmetric": [0.5]}, seeds=[1], train={"epochs": 2}
)


def run(folder, **options):
    """The grid's runs in a store: the store, and records by method."""
    run_grid(GRID, folder, device="cpu", workers=1, style="quiet", **options)
    store = Store(folder)
    records = [store.read(run_id) for run_id in store.done()]
    return store, {record["spec"]["method"]["name"]: record for record in records}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return run(tmp_path_factory.mktemp("kept"), keep_context=True)


def predictions(store, record):
    return np.load(store.folder(record["run_id"]) / "predictions.npy")


def test_zero_shot_is_open_clips_own_classifier(kept):
    store, records = kept
    folder = datasets_root() / "embedded" / "model"
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(next(folder.glob("bpe*.gz"))), context_length=32)
    card = load_card("digits")
    with torch.no_grad():
        text = model.encode_text(tokenizer([card.templates[0].format(name) for name in card.classes]), normalize=True)
    test = split_of("digits").test
    images = features_of("digits", "embedded", "test").rows([item.path for item in test])[:, 0]
    predicted = (torch.from_numpy(images) @ text.T).argmax(dim=1).numpy()
    assert np.array_equal(predicted, predictions(store, records["zero_shot"]))
    expected = 100 * float(np.mean([guess == item.label for guess, item in zip(predicted, test, strict=True)]))
    assert records["zero_shot"]["metrics"]["accuracy"] == pytest.approx(expected)
    assert all(record["metrics"]["zero_shot"] == pytest.approx(expected) for record in records.values())


def test_an_exported_prompt_classifies_as_its_run_did(kept, tmp_path):
    store, records = kept
    files = write_prompt(store, records["dspt"]["run_id"], tmp_path / "prompt")
    assert [path.name for path in files] == ["classifier.safetensors", "classes.json", "prompts.json", "README.md"]
    made = load_file(files[0])
    images = features_of("digits", "embedded", "test").rows([item.path for item in split_of("digits").test])[:, 0]
    predicted = (torch.from_numpy(images) @ made["text_features"].T).argmax(dim=1).numpy()
    assert np.array_equal(predicted, predictions(store, records["dspt"]))
    assert json.loads(files[1].read_text()) == load_card("digits").class_names
    assert json.loads(files[2].read_text())[0].count(-1) == 16 == made["context"].shape[0]
    assert "dspt on digits, symmetric noise at rate 0.5" in files[3].read_text()


def test_what_cannot_be_exported_is_said(kept, tmp_path, monkeypatch):
    store, records = run(tmp_path / "store")
    with pytest.raises(BenchError, match="kept no context"):
        write_prompt(store, records["dspt"]["run_id"], tmp_path / "prompt")
    with pytest.raises(BenchError, match="no run 'nothing'"):
        write_prompt(store, "nothing", tmp_path / "prompt")
    with pytest.raises(BenchError, match=r"no run '\.\./runs'"):
        write_prompt(store, "../runs", tmp_path / "prompt")
    store, records = kept
    monkeypatch.setattr(prompt_files, "task_digest", lambda dataset: "another")
    with pytest.raises(BenchError, match="'digits' has other classes, templates or images than run"):
        write_prompt(store, records["dspt"]["run_id"], tmp_path / "prompt")
    assert not (tmp_path / "prompt").exists()


STEP = """
import resource, torch
from bench.data.cards import load_card
from bench.perf import random_backbone
from bench.engine.prompts import initial_contexts
from bench.engine.text import TextFeatures
from bench.spec import TrainSpec
backbone = random_backbone()
features = TextFeatures(backbone, load_card("imagenet").class_names, TrainSpec(), "shared")
context = initial_contexts(backbone, TrainSpec(), 1, 1, 1000).requires_grad_()
text = features(context)
torch.autograd.grad(text.square().sum() + text.sum(), context)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.long
def test_a_step_over_imagenets_names_stays_under_3_gib():
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    peak = float(done.stdout.split()[-1])
    print(f"peak {peak:.2f} GiB")
    assert peak < 3.0
