"""Labels that people gave, and the files they come in. No file of another's is unpickled but for plain numpy arrays."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bench.data.cards import Human
from bench.data.noise import Labels, realised_rate
from bench.errors import BenchError
from bench.files import read_json


def _latin1(text: str, encoding: str) -> bytes:
    """What numpy's old pickles call `_codecs.encode` for: the bytes of an array."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding '{encoding}'")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Builds numpy arrays, numbers, strings, lists and dictionaries, and refuses whatever else a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        """The few constructors that arrays need."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # where numpy keeps it
        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _latin1}
        if (module, name) in allowed:
            return allowed[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuses references out of the file."""
        raise pickle.UnpicklingError(f"it refers to {pid!r}")


def read_arrays(path: Path) -> dict[str, Any]:
    """The dictionary of arrays in a pickle, or in the zip archive that torch saves.

    Raises:
        BenchError: The file is missing, broken, or holds anything but arrays, numbers and strings.
    """
    try:
        data = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        found = ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except FileNotFoundError as error:
        raise BenchError(f"file {path} does not exist.", "Run `bench doctor` to see which files a dataset needs.") from error
    except Exception as error:
        raise BenchError(f"file {path} is not a plain pickle of arrays ({error}).", "Fetch it again from its authors.") from error
    if not isinstance(found, dict):
        raise BenchError(f"file {path} holds a {type(found).__name__}, not named arrays.", "Fetch it again from its authors.")
    return found


def read_human(path: Path, human: Human, true: Labels, classes: int) -> dict[str, Labels]:
    """The sets of human labels in a file, in the order of the split's training images.

    Args:
        path: CIFAR-N's .pt, or a .json `{"clean_label": […], "<set>": […]}`.
        human: What the card says of it.
        true: The split's true training labels [N].
        classes: C.

    Raises:
        BenchError: The file's order is not the split's, a set is missing, or its rate of wrong labels is not the published one.
    """
    hint = "It holds lists of labels by name."
    found = read_json(path, "label file", hint) if path.suffix == ".json" else read_arrays(path)
    arrays: dict[str, Labels] = {}
    for name in (human.clean, *human.sets):
        if name not in found:
            raise BenchError(f"label file {path} has no labels '{name}'.", f"It has: {', '.join(found)}.")
        arrays[name] = np.asarray(found[name], dtype=np.int64)
        if arrays[name].shape != true.shape or arrays[name].min() < 0 or arrays[name].max() >= classes:
            raise BenchError(f"labels '{name}' of {path} are not one of {classes} classes for each of {len(true)} images.")
    clean = arrays.pop(human.clean)
    if not np.array_equal(clean, true):
        first = int(np.flatnonzero(clean != true)[0])
        raise BenchError(
            f"label file {path} is in another order than the images: "
            f"image {first} is of class {true[first]}, the file says {clean[first]}.",
            "Labels are in the order of the original training files.",
        )
    for name, published in human.sets.items():
        rate = 100 * realised_rate(arrays[name], true)
        if abs(rate - published) > 0.0051:
            raise BenchError(
                f"labels '{name}' of {path} are {rate:.2f} % wrong; published are {published} %.", "Fetch the file again."
            )
    return arrays
