"""What the engine gives back for every run of a stack."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.spec import RunSpec


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


def stack_key(spec: RunSpec) -> tuple[Any, ...]:
    """Runs with equal keys share backbone, class names, prompt layout and number of epochs, so they can train as one stack."""
    if spec.train is None:
        return (spec.backbone, spec.dataset, spec.task, None)
    train = spec.train
    layout = (train.n_ctx, train.ctx_init, train.class_position, train.class_specific, train.precision, train.epochs)
    return (spec.backbone, spec.dataset, spec.task, layout)
