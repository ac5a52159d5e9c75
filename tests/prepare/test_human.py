"""Human labels: CIFAR-N's files, their order and rates, and pickles that must not run."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from bench.data.cards import Human, load_card
from bench.data.task import check_noise
from bench.errors import BenchError
from bench.prepare.human import read_arrays, read_human
from bench.spec import NoiseSpec

FILES = {"cifar10n": "CIFAR-10_human.pt", "cifar100n": "CIFAR-100_human.pt"}


RATES = {
    "cifar10n": {"aggre_label": 9.01, "random_label1": 17.23, "random_label2": 18.12, "random_label3": 17.64, "worse_label": 40.21},
    "cifar100n": {"noisy_label": 40.20},
}


@pytest.mark.parametrize("name", FILES)
def test_cifar_n_has_the_published_rates_and_the_true_class_leads(published, name):
    card = load_card(name)
    true = read_arrays(published / FILES[name])["clean_label"]
    sets = read_human(published / FILES[name], card.human, true, len(card.classes))
    assert {key: round(100 * float((labels != true).mean()), 2) for key, labels in sets.items()} == RATES[name]
    leads = []
    for labels in sets.values():
        counted = np.zeros((len(card.classes),) * 2, dtype=int)
        np.add.at(counted, (true, labels), 1)
        leads.append(int((counted.argmax(1) == np.arange(len(counted))).sum()))
    assert leads == ([10] * 5 if name == "cifar10n" else [97])


def test_another_order_is_refused(published):
    card = load_card("cifar10n")
    path = published / FILES["cifar10n"]
    true = read_arrays(path)["clean_label"].copy()
    true[[7, 8]] = true[[8, 7]]
    with pytest.raises(BenchError, match="another order than the images: image 7 "):
        read_human(path, card.human, true, 10)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/evil-ran",)


@pytest.mark.parametrize(
    "content",
    [Evil(), {"clean_label": [Evil()]}, {"clean_label": np.array([Evil(), 1], dtype=object)}, {"x": os.path.join}, {"x": np.load}],
)
def test_a_pickle_that_wants_more_than_arrays_is_refused(tmp_path, monkeypatch, content):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    data = pickle.dumps(content)
    (tmp_path / "plain.pt").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "zipped.pt", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(BenchError, match=r"not a plain pickle of arrays \(it asks for"):
            read_arrays(tmp_path / name)
    assert not ran


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"garbage", pickle.dumps([1, 2])])
def test_broken_label_files_are_told(tmp_path, content):
    (tmp_path / "labels.pt").write_bytes(content)
    with pytest.raises(BenchError, match="labels"):
        read_arrays(tmp_path / "labels.pt")
    with pytest.raises(BenchError, match="does not exist"):
        read_arrays(tmp_path / "none.pt")


def test_arrays_of_every_pickle_protocol_are_read(tmp_path):
    labels = {"clean_label": np.arange(5), "mine": [0, 1, 2, 3, 4], "n": 3}
    for protocol in (2, 3, 4):
        (tmp_path / "labels.pt").write_bytes(pickle.dumps(labels, protocol=protocol))
        found = read_arrays(tmp_path / "labels.pt")
        assert np.array_equal(found["clean_label"], np.arange(5))
        assert found["mine"] == [0, 1, 2, 3, 4]


def test_label_files_of_ones_own(tmp_path):
    path, true = tmp_path / "labels.json", np.array([0, 1, 2, 0])
    human = Human(file="labels.json", sets={"mine": 25.0})

    def read(**content):
        path.write_text(json.dumps(content))
        return read_human(path, human, true, 3)

    assert read(clean_label=[0, 1, 2, 0], mine=[0, 1, 2, 1])["mine"].tolist() == [0, 1, 2, 1]
    with pytest.raises(BenchError, match=r"no labels 'mine'.* It has: clean_label"):
        read(clean_label=[0, 1, 2, 0])
    with pytest.raises(BenchError, match=r"50\.00 % wrong; published are 25\.0 %"):
        read(clean_label=[0, 1, 2, 0], mine=[0, 1, 1, 1])
    for wrong in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, -1]):
        with pytest.raises(BenchError, match="not one of 3 classes for each of 4 images"):
            read(clean_label=[0, 1, 2, 0], mine=wrong)
    path.write_text("{")
    with pytest.raises(BenchError, match="is not valid JSON"):
        read_human(path, human, true, 3)


@pytest.mark.parametrize(("protocol", "rate"), [("clean", 0.0), ("symmetric", 0.5), ("human", 0.5), ("human:x", 1.0)])
def test_a_dataset_of_human_labels_only_takes_no_other_noise(protocol, rate):
    with pytest.raises(BenchError, match=r"Ask for \[noise\] human = \[1.0\]"):
        check_noise(load_card("clothing1m"), NoiseSpec(protocol=protocol, rate=rate))
    check_noise(load_card("clothing1m"), NoiseSpec(protocol="human", rate=1.0))
    with pytest.raises(BenchError, match="no labels for 'human'"):
        check_noise(load_card("dtd"), NoiseSpec(protocol="human", rate=1.0))
