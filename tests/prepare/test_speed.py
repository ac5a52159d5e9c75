"""Extraction is compared with what computes the same."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from bench.errors import BenchError
from bench.prepare import speed
from bench.prepare.extract import Encoder, Views, encode, stretches
from bench.prepare.images import FolderImages
from bench.prepare.speed import NONE, Case, draw, encoder_of, ours, plain, time_extraction


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [48, (40, 56)])
def test_what_the_tower_gets_is_bit_by_bit_what_open_clip_gives_it(tmp_path, resize_mode, size):
    config = PreprocessCfg(size=size, resize_mode=resize_mode, mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.1))
    encoder = Encoder(encoder_of(NONE).backbone, None, config, torch.device("cpu"))
    names = draw(tmp_path, 3)
    read = FolderImages(tmp_path)
    for name, made in zip(names, (Views(names, read, encoder, 0)[i] for i in range(3)), strict=True):
        expected = image_transform_v2(config, is_train=False)(read(name)[0])
        assert torch.equal(encoder.normalised(torch.from_numpy(made.views))[0], expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_both_loops_make_the_same_features(tmp_path, workers):
    encoder, names = encoder_of(NONE), draw(tmp_path, 5)
    found = ours(encoder, tmp_path, names, 2, workers)
    expected = plain(encoder, tmp_path, names, 2, 0, 1)
    assert found.shape == (5, 3, 192)
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(expected - expected[:, :1]).max(axis=(0, 2))[1:].min() > 0.01  # views differ from the clean one


def test_times_and_ratios_are_told_and_other_features_refused(monkeypatch):
    found = time_extraction(Case(NONE, 4, 1), 1, 1)
    rates = found["images_per_second"]
    assert found["ratios"] == {f"ours / {name}": rates["ours"] / rates[name] for name in ("plain", "plain, one thread")}
    assert {name for name, value in found["cpu_milliseconds_per_image"].items() if value > 0} == set(rates)
    monkeypatch.setattr(speed, "ours", lambda *words: plain(*words, 1)[:, ::-1])
    with pytest.raises(BenchError, match="features of none differ by"):
        time_extraction(Case(NONE, 4, 1), 1, 1)


def test_the_cpu_time_of_processes_is_counted():
    spent = []
    busy = "import time\nwhile time.process_time() < .3: pass"
    speed._counted(lambda: subprocess.run([sys.executable, "-c", busy], check=True), spent)()
    assert spent[0] > 0.25  # user and system time tick in hundredths of a second, each cut at both ends


def test_a_process_that_is_killed_is_one_sentence(tmp_path):
    class Deadly(FolderImages):
        def __call__(self, path):
            return os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(BenchError, match="a process that decoded images was killed") as caught:
        list(encode(encoder_of(NONE), draw(tmp_path, 2), Deadly(tmp_path), 0, None, 1))
    assert caught.value.code == 3


@pytest.mark.parametrize(("number", "size", "workers"), [(100, 7, 3), (5, 2, 4), (64, 64, 1), (1, 3, 2), (33, 4, 8)])
def test_every_worker_reads_a_stretch_of_its_own_and_all_images_are_read(number, size, workers):
    batches = stretches(number, size, workers)
    assert sorted(i for batch in batches for i in batch) == list(range(number))
    assert max(len(batch) for batch in batches) <= size
    of_worker = [[i for batch in batches[worker::workers] for i in batch] for worker in range(workers)]
    assert all(own == list(range(own[0], own[0] + len(own))) for own in of_worker if own)
