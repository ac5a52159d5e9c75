"""Cached image features: written once by a backbone, opened by memory map, recognised by what they were made from.

A folder `<features>/<backbone>/<split>/` holds `manifest.json` and blocks `block-0000.npy`: float16 `[rows, 1 + V, D]`,
L2-normalised before the cast, view 0 the clean one. The fingerprint is a hash of the *inputs* (weights, preprocessing, views and
their seeds …), so features of two devices are the same cache although their bytes differ; the blocks' own hashes guard against
damage only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import ENVIRONMENT, BenchError
from bench.files import replacing, sha256, write_text

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """The identity of a cache: a hash of everything its values depend on, in any key order."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _extract_hint(folder: Path) -> str:
    """The command that fills `<features>/<backbone>/<split>`."""
    return f"Extract them with: bench features extract {folder.parent.parent.name} --backbone {folder.parent.name} --grid GRID"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"No features in {folder}.", _extract_hint(folder), ENVIRONMENT) from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} cannot be read: {error}.", f"Remove the folder. {_extract_hint(folder)}", ENVIRONMENT) from None
    found = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if found != SCHEMA_VERSION:
        hint = f"Remove the folder. {_extract_hint(folder)}"
        raise BenchError(f"{path} has schema version {found}, this version reads {SCHEMA_VERSION}.", hint, ENVIRONMENT)
    keys = {"fingerprint", "inputs", "dim", "views", "blocks", "paths"}
    if missing := sorted(keys - manifest.keys()):
        raise BenchError(f"{path} lacks {', '.join(missing)}.", f"Remove the folder. {_extract_hint(folder)}", ENVIRONMENT)
    return dict(manifest)


def _contents(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The content of each image that a cache holds, by path."""
    contents = manifest.get("contents") or [""] * len(manifest["paths"])
    return {path: content for path, content in zip(manifest["paths"], contents, strict=False) if path}


class FeatureSet:
    """An opened cache. Nothing is read from disk until rows are asked for.

    Attributes:
        fingerprint: What the features were made from, hashed.
        inputs: What they were made from.
        paths: Row keys, in the order of the blocks; rows that a later one has replaced have none.
        contents: Size and hash of each image's file when it was encoded; "" where that is not known.
        views: Number of augmented views beside the clean one (V).
        dim: Length of a feature (D).
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = manifest["fingerprint"]
        self.inputs: dict[str, Any] = manifest["inputs"]
        self.contents = _contents(manifest)
        self.paths: tuple[str, ...] = tuple(self.contents)
        self.views: int = manifest["views"]
        self.dim: int = manifest["dim"]
        self._blocks = [_open_block(folder, block, (1 + self.views, self.dim)) for block in manifest["blocks"]]
        self._starts = np.cumsum([0, *(len(block) for block in self._blocks)])
        if self._starts[-1] != len(manifest["paths"]):
            hint = f"Remove the folder. {_extract_hint(folder)}"
            raise BenchError(
                f"{folder} names {len(manifest['paths'])} images but holds {self._starts[-1]} rows.", hint, ENVIRONMENT
            )
        self._row = {path: row for row, path in enumerate(manifest["paths"]) if path}

    def check(self, paths: Sequence[str]) -> None:
        """Whether all images asked for are there.

        Raises:
            BenchError: One is not; names it and the command that extracts it.
        """
        missing = [path for path in paths if path not in self._row]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise BenchError(f"No features of {missing[0]}{more} in {self.folder}.", _extract_hint(self.folder), ENVIRONMENT)

    def rows(self, paths: Sequence[str]) -> NDArray[np.float32]:
        """Features `[n, 1 + V, D]` of the images asked for, in that order.

        Raises:
            BenchError: An image is not in the cache; names it and the command that extracts it.
        """
        return self.stored(paths, 1 + self.views).astype(np.float32)

    def stored(self, paths: Sequence[str], views: int) -> NDArray[np.float16]:
        """The same as they lie on the disk, `[n, views, D]`: half of the memory, and only the first views (1: the clean one)."""
        self.check(paths)
        wanted = np.array([self._row[path] for path in paths], dtype=np.int64)
        out = np.empty((len(paths), views, self.dim), dtype=np.float16)
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        for number, block in enumerate(self._blocks):
            here = owner == number
            out[here] = block[wanted[here] - self._starts[number], :views]
        return out


def _open_block(folder: Path, block: Mapping[str, Any], tail: tuple[int, int]) -> NDArray[np.float16]:
    """One block by memory map, its shape and type as the manifest says."""
    path = folder / str(block["file"])
    hint = f"Remove the folder. {_extract_hint(folder)}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"The feature file {path} cannot be opened: {error}.", hint, ENVIRONMENT) from None
    expected = (block["rows"], *tail)
    if array.shape != expected or array.dtype != np.float16:
        found = f"{array.dtype} {list(array.shape)}"
        raise BenchError(f"The feature file {path} holds {found}, its manifest says float16 {list(expected)}.", hint, ENVIRONMENT)
    return array  # type: ignore[no-any-return]  # numpy types what it loads as Any


def open_features(folder: Path) -> FeatureSet:
    """Open a cache by memory map.

    Raises:
        BenchError: The folder is missing, of another schema, or a block does not have the shape that the manifest gives.
    """
    return FeatureSet(folder, _read_manifest(folder))


def verify_features(folder: Path) -> list[str]:
    """Everything that is wrong with a cache, read in full; empty where it is sound."""
    try:
        manifest = _read_manifest(folder)
    except BenchError as error:
        return [error.message]
    problems = []
    if fingerprint(manifest["inputs"]) != manifest["fingerprint"]:
        problems.append(f"{folder / MANIFEST}: the fingerprint does not match the inputs")
    if len(set(filter(None, manifest["paths"]))) != sum(map(bool, manifest["paths"])):
        problems.append(f"{folder / MANIFEST}: an image is named twice")
    rows = sum(block["rows"] for block in manifest["blocks"])
    if rows != len(manifest["paths"]):
        problems.append(f"{folder / MANIFEST}: {len(manifest['paths'])} images but {rows} rows")
    for block in manifest["blocks"]:
        problems += _verify_block(folder, block, (1 + manifest["views"], manifest["dim"]))
    return problems


def _verify_block(folder: Path, block: Mapping[str, Any], tail: tuple[int, int]) -> list[str]:
    path = folder / str(block["file"])
    if not path.is_file():
        return [f"{path}: missing"]
    problems = []
    if sha256(path) != block["sha256"]:
        problems.append(f"{path}: altered or truncated (its SHA-256 differs from the manifest's)")
    try:
        array = _open_block(folder, block, tail)
    except BenchError as error:
        return [*problems, error.message]
    if not np.isfinite(array).all():
        problems.append(f"{path}: holds values that are not finite")
    return problems


class FeatureWriter:
    """Writes a cache, or extends one that was made from the same inputs.

    Blocks are written aside and renamed; they count once `commit` has replaced the manifest, so a killed extraction leaves the
    cache as it was.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any], dim: int, views: int) -> None:
        self.folder, self._shape = folder, (1 + views, dim)
        self._manifest: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "fingerprint": fingerprint(inputs),
            "inputs": dict(inputs),
            "dim": dim,
            "views": views,
            "blocks": [],
            "paths": [],
            "contents": [],
        }
        if (folder / MANIFEST).exists():
            self._extend(_read_manifest(folder))

    def _extend(self, existing: dict[str, Any]) -> None:
        same = fingerprint({**existing["inputs"], "replaced": {}}) == fingerprint({**self._manifest["inputs"], "replaced": {}})
        if not same or (1 + existing["views"], existing["dim"]) != self._shape:
            changed = sorted(
                key
                for key in {*existing["inputs"], *self._manifest["inputs"]} - {"replaced"}
                if existing["inputs"].get(key) != self._manifest["inputs"].get(key)
            )
            raise BenchError(
                f"The features in {self.folder} were made from other inputs ({', '.join(changed) or 'views or dim'} differ).",
                "Write to another folder, or remove this one to make them anew.",
                ENVIRONMENT,
            )
        self._manifest = existing
        existing.setdefault("contents", [""] * len(existing["paths"]))

    @property
    def contents(self) -> dict[str, str]:
        """The images that are there already, appended ones included, with the content that each was encoded from."""
        return _contents(self._manifest)

    def drop(self, paths: Collection[str]) -> None:
        """Forget the rows of images."""
        self._manifest["paths"] = ["" if path in paths else path for path in self._manifest["paths"]]

    def replace(self, contents: Mapping[str, str]) -> None:
        """Forget the rows of images that have changed; with their new contents these are other features, of another fingerprint."""
        self.drop(contents)
        inputs = self._manifest["inputs"]
        inputs["replaced"] = {**inputs.get("replaced", {}), **contents}
        self._manifest["fingerprint"] = fingerprint(inputs)

    def append(self, paths: Sequence[str], array: NDArray[np.floating[Any]], contents: Sequence[str] = ()) -> None:
        """Add one block of features `[n, 1 + V, D]`; they are normalised here, so that every cache is.

        Raises:
            BenchError: The shape is wrong, an image is there already, or a value is not finite.
        """
        if array.shape != (len(paths), *self._shape):
            expected = [len(paths), *self._shape]
            raise BenchError(f"Features of shape {list(array.shape)} given, {expected} expected, for {self.folder}.")
        known = self.contents
        if twice := [path for path in paths if path in known] or (list(paths) if len(set(paths)) < len(paths) else []):
            raise BenchError(f"Features of {twice[0]} are in {self.folder} already.")
        norm = np.linalg.norm(array.astype(np.float32), axis=-1, keepdims=True)
        if not (np.isfinite(norm).all() and (norm > 0).all()):
            raise BenchError(f"Features given for {self.folder} are not finite, or zero.")
        name = f"block-{len(self._manifest['blocks']):04d}.npy"
        with replacing(self.folder / name) as aside, aside.open("wb") as file:
            np.save(file, (array / norm).astype(np.float16))
        self._manifest["blocks"].append({"file": name, "rows": len(paths), "sha256": sha256(self.folder / name)})
        self._manifest["paths"] += list(paths)
        self._manifest["contents"] += list(contents) or [""] * len(paths)

    def commit(self) -> None:
        """Make all appended blocks count, at once."""
        write_text(self.folder / MANIFEST, json.dumps(self._manifest, separators=(",", ":")))
