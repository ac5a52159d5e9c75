"""Devices: what a name means on a machine that has, or lacks, what it asks for."""

import pytest
import torch

from bench.devices import devices
from bench.errors import ENVIRONMENT, USAGE, BenchError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """A machine with so many CUDA GPUs, and with or without Apple's."""

    def is_one(gpus: int, *, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return is_one


@pytest.mark.parametrize(
    ("name", "gpus", "mps", "meant"),
    [
        ("auto", 0, False, ["cpu"]),
        ("auto", 2, False, ["cuda:0", "cuda:1"]),
        ("auto", 0, True, ["cpu"]),  # some methods need float64, which Apple's GPU lacks: it is for those who name it
        ("cuda", 2, False, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, False, ["cuda:1"]),
        ("cpu", 2, True, ["cpu"]),
        ("mps", 0, True, ["mps"]),
    ],
)
def test_a_name_means_what_is_there(machine, name, gpus, mps, meant):
    machine(gpus, mps=mps)
    assert devices(name) == meant


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:9", "cuda:99999999999999999999", "mps"])
def test_what_is_not_there_is_said(machine, name):
    machine(0)
    with pytest.raises(BenchError, match=f"'{name}' is not there") as caught:
        devices(name)
    assert caught.value.code == ENVIRONMENT


@pytest.mark.parametrize("name", ["", "tpu", "cuda:", "cuda:-1", "cuda:1:1", "CPU", "cuda:٣", "cpu\n", "meta"])
def test_nonsense_is_bad_usage(name):
    with pytest.raises(BenchError, match="is unknown") as caught:
        devices(name)
    assert caught.value.code == USAGE
