"""Devices are chosen here: what a name means on this machine, and whether it can be used."""

import os
import re

from bench.errors import ENVIRONMENT, BenchError

NAMES = "auto, cpu, cuda, cuda:1 or mps"


def check_name(name: str) -> None:
    """Whether a name is one of a device, on this machine or another.

    Raises:
        BenchError: It is not.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise BenchError(f"device '{name}' is unknown.", f"Use {NAMES}.")


def devices(name: str) -> list[str]:
    """The devices that a name means here, as torch calls them.

    Args:
        name: "auto" (every CUDA GPU, else the CPU), "cpu", "cuda" (every GPU), "cuda:1" (that one) or "mps".

    Raises:
        BenchError: The name is unknown, or what it asks for is not there.
    """
    check_name(name)
    if name == "cpu":
        return ["cpu"]
    import torch  # noqa: PLC0415 - the command line's help must not wait for it

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    there = {"auto": gpus or ["cpu"], "cpu": ["cpu"], "cuda": gpus, "mps": ["mps"] if torch.backends.mps.is_available() else []}
    found = there[name] if name in there else [gpu for gpu in gpus if gpu == name]
    if not found:
        raise BenchError(f"device '{name}' is not there ({len(gpus)} CUDA GPUs found).", "Use --device auto.", ENVIRONMENT)
    return found


def cores() -> int:
    """The cores this process may use: what the machine, the scheduler and taskset leave it."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, int(os.environ.get("SLURM_CPUS_PER_TASK", here)))
