"""`RunSpec`: all that defines a run, and its two identities.

`cell_id` hashes what was asked; `run_id` is the cell and a hash of the versions of what computed it (method, engine, features).
Equal cells under other versions are "stale", and a report refuses to mix them. Paths, device and workers are in neither.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodSpec(Frozen):
    """A method and all its hyper-parameters, defaults filled in."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class NoiseSpec(Frozen):
    """A noise protocol (`bench.data.noise`) and its rate; rate 0 is always the protocol "clean"."""

    protocol: str = "clean"
    rate: float = Field(default=0.0, ge=0.0, le=1.0)


class TrainSpec(Frozen):
    """The training protocol. The defaults are CoOp's; `bench.presets` names whole protocols."""

    epochs: int = Field(default=50, ge=1)
    lr: float = Field(default=0.002, gt=0)
    warmup_epochs: int = Field(default=1, ge=0)  # epochs at the constant `warmup_lr`, before the cosine
    warmup_lr: float = Field(default=1e-5, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=32, ge=1)
    drop_last: bool = True  # drop the last incomplete batch where there are at least `batch_size` samples
    n_ctx: int = Field(default=16, ge=1)  # context tokens, from N(0, .02)
    ctx_init: str = ""  # words to initialise the context with instead; their tokens replace `n_ctx`
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False  # CSC: a context of its own for every class
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class RunSpec(Frozen):
    """One run of a grid."""

    method: MethodSpec
    dataset: str
    task: str  # digest of the card's class names, templates and split: another split is another cell
    backbone: str
    views: int = Field(ge=0)  # V augmented views of each training image
    shots: int = Field(ge=0)  # per class; 0: all
    noise: NoiseSpec
    seed: int
    train: TrainSpec | None  # None: nothing is trained

    @cached_property
    def cell_id(self) -> str:
        """What was asked, as 16 hexadecimal digits. Where a card's file lies is no part of it; `task` says what the card says."""
        asked = self.model_dump(mode="json")
        return digest(asked | {"dataset": PurePath(self.dataset).name.removesuffix(".toml")})

    def run_id(self, versions: Mapping[str, Any]) -> str:
        """What was asked and what computed it: the cell, "-" and 8 digits of `versions` ("method", "engine", "features")."""
        return f"{self.cell_id}-{digest(dict(versions))[:8]}"


def cell_of(run_id: str) -> str:
    """The cell of a run, read from its id."""
    return run_id.partition("-")[0]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
