"""`RunSpec`: all that defines a run, and its two identities.

`cell_id` hashes what was asked; `run_id` is the cell and a hash of the versions of what computed it (method, engine, features).
Equal cells under other versions are "stale", and a report refuses to mix them. Paths, device and workers are in neither.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property, lru_cache
from pathlib import PurePath
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """Immutable; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @cached_property
    def said(self) -> dict[str, Any]:
        """All fields but later ones that are absent. Many runs share a method or a protocol, so it is made once."""
        return _said(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, which has an identity of its own."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():  # what was worked out from the old fields
            del copied.__dict__[name]
        return copied


def later(absent: Any, **checks: Any) -> Any:
    """A field that was added after runs had been stored: at its `absent` value it is left out of what is hashed.

    So a run that does not use it keeps its id, and what was stored before is a run with the absent value.
    """
    return Field(default=absent, json_schema_extra={"later": True}, **checks)


# What is learned: a prompt's context tokens, class weights, or what images pass in feature space (`bench.engine.learners`).
Tunes = Literal["prompt", "linear_probe", "zero_shot_probe", "task_residual", "clip_adapter", "tip_adapter"]


class MethodSpec(Frozen):
    """A method, what it tunes, and its hyper-parameters with defaults filled in; later ones (`methods.base.later`) where used."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    tunes: Tunes = later("prompt")


class NoiseSpec(Frozen):
    """A noise protocol (`bench.data.noise`) and its rate; rate 0 is always the protocol "clean"."""

    protocol: str = "clean"
    rate: float = Field(default=0.0, ge=0.0, le=1.0)


class TrainSpec(Frozen):
    """The training protocol. The defaults are CoOp's; `bench.presets` names whole protocols."""

    epochs: int = Field(default=50, ge=1, le=1_000_000)
    lr: float = Field(default=0.002, gt=0, le=1e6)
    warmup_epochs: int = Field(default=1, ge=0)  # epochs at the constant `warmup_lr`, before the cosine
    warmup_lr: float = Field(default=1e-5, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    drop_last: bool = True  # drop the last incomplete batch where there are at least `batch_size` samples
    ctx_init: Literal["random", "words", "template"] = "random"  # N(0, .02); `ctx_words`; the words of the card's own template
    ctx_words: str = ""  # e.g. "a photo of a", for ctx_init = "words"
    n_ctx: int = Field(default=16, ge=0)  # context tokens; 0: as many as the words have; more: N(0, .02) in front of the words
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False  # CSC: a context of its own for every class
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"  # of the text tower; all but fp32 are for CUDA

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        if (self.ctx_init == "words") != bool(self.ctx_words.strip()):
            raise ValueError('ctx_words goes with ctx_init = "words", e.g. ctx_words = "a photo of a"')
        if self.ctx_init == "random" and self.n_ctx == 0:
            raise ValueError('a random context needs a length: set n_ctx (CoOp: 16), or ctx_init = "template"')
        if self.ctx_init == "template" and self.class_position != "end":
            raise ValueError('ctx_init = "template" puts the class name where the template has it: leave class_position at "end"')
        return self


class RunSpec(Frozen):
    """One run of a grid."""

    method: MethodSpec
    dataset: str
    task: str  # digest of the card's class names, templates and split: another split is another cell
    backbone: str
    views: int = Field(ge=0)  # V augmented views of each training image
    shots: int = Field(ge=0)  # per class; 0: all
    noise: NoiseSpec
    seed: int = Field(ge=0, lt=2**63)
    train: TrainSpec | None  # None: nothing is trained
    from_shots: bool = later(absent=False)  # nothing is trained, but shots and their given labels are seen

    @property
    def sees_shots(self) -> bool:
        """Whether its result depends on shots, noise and seed."""
        return self.train is not None or self.from_shots

    @property
    def asked(self) -> dict[str, Any]:
        """All that is hashed, and stored: every field but later ones that are absent. Where a card's file lies is no part of it."""
        return _said(self) | {"dataset": dataset_name(self.dataset)}

    @cached_property
    def cell_id(self) -> str:
        """What was asked, as 16 hexadecimal digits."""
        return digest(self.asked)

    def run_id(self, versions: Mapping[str, Any]) -> str:
        """What was asked and what computed it: the cell, "-" and 8 digits of `versions` ("method", "engine", "features")."""
        return _run_id(self.cell_id, versions)


@lru_cache(maxsize=1024)
def dataset_name(dataset: str) -> str:
    """A dataset's short name: of a card's path, the file's name without ".toml"."""
    return PurePath(dataset).name.removesuffix(".toml")


@cache
def _fields(spec: type[Frozen]) -> dict[str, tuple[bool, Any]]:
    """The fields of a class: whether each came later, and its default."""
    extras = {name: (field.json_schema_extra, field.default) for name, field in spec.model_fields.items()}
    return {name: (isinstance(extra, dict) and "later" in extra, default) for name, (extra, default) in extras.items()}


def _said(spec: Frozen) -> dict[str, Any]:
    found = {}
    for name, (came_later, absent) in _fields(type(spec)).items():
        value = getattr(spec, name)
        if not came_later or value != absent:
            found[name] = value.said if isinstance(value, Frozen) else value
    return found


def run_id_of(asked: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    """The id of a run as it is stored, whatever fields a specification has today."""
    return _run_id(digest(asked), versions)


def _run_id(cell_id: str, versions: Mapping[str, Any]) -> str:
    return f"{cell_id}-{digest(dict(versions))[:8]}"


def cell_of(run_id: str) -> str:
    """The cell of a run, read from its id."""
    return run_id.partition("-")[0]


_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return _write(value)


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
