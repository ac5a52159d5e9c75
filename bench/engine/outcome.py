"""What the engine gives back for every run of a stack."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec import RunSpec, canonical

# What may differ between the runs of a stack: a run's member and its rows of the optimiser hold their own. Every other field of a
# specification, and every field to come, is the same for all.
OWN = frozenset({"method", "views", "shots", "noise", "seed"})
OWN_TRAIN = frozenset({"lr", "warmup_epochs", "warmup_lr", "momentum", "weight_decay", "batch_size", "drop_last"})


@dataclass
class Outcome:
    """A run that ended: finished, or failed with its traceback."""

    spec: RunSpec
    status: Literal["done", "failed"]
    metrics: dict[str, Any] = field(default_factory=dict)  # the METRICS of bench.results.schema
    history: dict[str, list[Any]] = field(default_factory=dict)  # its HISTORY, per evaluated epoch
    noise_digest: str = ""
    predictions: NDArray[np.uint16] | None = None  # [T] predicted class of every test image
    context: NDArray[np.float32] | None = None  # [K, n_ctx, width] (or [K, C, n_ctx, width]) the learned context tokens
    error: str = ""  # one line
    traceback: str = ""


def stack_key(spec: RunSpec) -> str:
    """Runs with equal keys can train as one stack: all is equal but what every run has for itself (`OWN`, `OWN_TRAIN`)."""
    asked = spec.asked | {"dataset": spec.dataset}
    shared = {name: value for name, value in asked.items() if name not in OWN}
    if spec.train is not None:
        shared["train"] = {name: value for name, value in asked["train"].items() if name not in OWN_TRAIN}
    return canonical(shared)
