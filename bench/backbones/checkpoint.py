"""Weights files of every form that people have, read as named tensors; nothing is unpickled but tensors, arrays and numbers."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import BenchError

OPENAIS = {"input_resolution", "context_length", "vocab_size"}  # what OpenAI's own checkpoints hold beside the weights
WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights
PREFIXES = ("module.", "model.")  # what DataParallel and wrapping modules put before every name
COMPILED = "_orig_mod."  # what torch.compile puts before the names of a module
_core: Any = np._core  # type: ignore[attr-defined]  # where numpy keeps the constructors of its pickles
# Numbers, arrays and command-line options that lie beside the weights. None of them runs anything when it is rebuilt.
BESIDE: list[Any] = [
    *((getattr(_core.multiarray, name), f"numpy.{core}.multiarray.{name}")
      for name in ("scalar", "_reconstruct") for core in ("core", "_core")),
    np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdS"}, argparse.Namespace,
]  # fmt: skip


class Checkpoint(NamedTuple):
    """The weights in a file."""

    weights: dict[str, Tensor]
    openai: bool  # in the form in which OpenAI published CLIP, whose activation is quick GELU


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights of a safetensors file, a TorchScript archive or a file of torch.save, which its content tells, not its name.

    Wrappers ({"state_dict": …}, {"model": …}) and prefixes (`module.`, `model.`, `_orig_mod.`) are taken off.

    Raises:
        BenchError: It is damaged, holds objects that only running code could rebuild, or no weights, or several sets of them.
    """
    archive = _is_torchscript(path)
    found = _unwrapped(path, _torchscript(path) if archive else _safetensors(path) if _is_safetensors(path) else _torch(path))
    weights = _renamed(path, {name: value for name, value in found.items() if isinstance(value, Tensor)})
    openai = archive or found.keys() | weights.keys() >= OPENAIS
    if openai:
        weights = {name: value for name, value in weights.items() if name not in {*OPENAIS, "attn_mask"}}
    if not weights:
        held = f", only {', '.join(map(repr, list(found)[:5]))}" if found else ""
        raise BenchError(f"{path} holds no weights by name{held}.", "Save model.state_dict() alone.")
    return Checkpoint(weights, openai)


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which is how OpenAI published CLIP."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with the length of a JSON header, and the header."""
    with path.open("rb") as file:
        return len(start := file.read(9)) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000


def _torchscript(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # torch has no other reader of these files, and says it is old
            return torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError) as error:
        raise BenchError(f"{path} is a damaged TorchScript archive.", "Fetch it again.") from error


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BenchError(f"{path} is a damaged or truncated safetensors file.", "Fetch it again.") from error


def _torch(path: Path) -> Any:
    try:
        with path.open("rb") as file, torch.serialization.safe_globals(BESIDE):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file leads to
        # Torch's own words advise to load without care, in colours; only the name of what the file asks for is of use.
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise BenchError(
                f"{path} holds more than weights ({asked[1]}): rebuilding that would run code from the file, so it is not loaded.",
                "Where you trust it, save its weights alone: torch.save(model.state_dict(), FILE), or a .safetensors file.",
            ) from error
        raise BenchError(
            f"{path} is damaged, or not a checkpoint of torch or safetensors.", "Give the weights file, whole."
        ) from error


def _unwrapped(path: Path, found: Any) -> dict[str, Any]:
    """The dictionary that holds the weights."""
    if not isinstance(found, Mapping):
        raise BenchError(f"{path} holds a {type(found).__name__}, not named weights.", "Save model.state_dict().")
    inside = [name for name in WRAPPERS if isinstance(found.get(name), Mapping) and found[name]]
    if inside:  # a moving average of the weights beside them has their names
        first = found[inside[0]].keys()
        inside += [
            name for name in found if name not in inside and isinstance(found[name], Mapping) and found[name].keys() == first
        ]
    if len(inside) > 1:
        raise BenchError(f"{path} holds several sets of weights: {', '.join(inside)}.", "Save the one that is meant alone.")
    return _unwrapped(path, found[inside[0]]) if inside else {str(name): value for name, value in found.items()}


def _renamed(path: Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that the model gives them."""
    names = [name.replace(COMPILED, "") for name in weights]
    while prefix := next((p for p in PREFIXES if names and all(name.startswith(p) for name in names)), ""):
        names = [name.removeprefix(prefix) for name in names]
    if len(set(names)) < len(names):
        raise BenchError(f"{path} holds the same weights twice, with and without a prefix.", "Save one of them alone.")
    return dict(zip(names, weights.values(), strict=True))
