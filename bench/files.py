"""Files: one way to name them, to read text, to write whole or not at all, and to tell one content from another."""

import codecs
import hashlib
import json
import os
import re
import shlex
import shutil
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from bench.errors import ENVIRONMENT, BenchError

# What a text file may begin with, longest first: the first two bytes of UTF-32's mark are UTF-16's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
ASIDE = re.compile(r"\.[0-9a-f]{32}\.tmp")  # what a file is called while it is being written


def resolved(path: str | Path, below: Path | None = None) -> Path:
    """A path in the one form in which it is looked at and used: absolute, `~` and $VARIABLES spelled out, links followed.

    Args:
        path: As a user wrote it.
        below: Where a relative path begins; the working directory by default.

    Raises:
        BenchError: No path can be made of it: an unknown user's home, a NUL byte, links in a circle.
    """
    try:
        return ((below or Path()) / Path(os.path.expandvars(path)).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BenchError(f"'{path!s}' cannot be a path ({error}).", "Give the path in full.") from error


def is_utf8(name: str) -> bool:
    """Whether a name from the disk is text; Python keeps the bytes of other encodings as lone surrogates."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, what: str = "file", hint: str = "") -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with its byte order mark; other encodings are refused, not guessed.

    Args:
        path: The file.
        what: What an error calls it, such as "grid file".
        hint: What to do where it cannot be read.

    Raises:
        BenchError: It is missing, not readable, or in another encoding; names the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BenchError(f"{what} {path} does not exist.", hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BenchError(f"{what} {path} cannot be read ({reason}).", hint) from error
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        plain = encoding == "utf-8"  # what has a mark is damaged, and not Latin 1
        advice = f", for example with: iconv -f latin1 -t utf-8 {shlex.quote(path.name)}" if plain else "."
        wrong = f"line {line} of {what} {path} is not {encoding.removesuffix('-sig').upper()}."
        raise BenchError(wrong, f"Save it as UTF-8{advice}") from error
    if "\0" in text:
        raise BenchError(f"{what} {path} holds NUL bytes: it is binary, or UTF-16 without its mark.", "Save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, what: str = "file", hint: str = "") -> Any:
    """The value in a JSON file.

    Raises:
        BenchError: It cannot be read, or is not JSON.
    """
    text = read_text(path, what, hint)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{what} {path} is not valid JSON ({error}).", hint) from error


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """The table in a TOML text; `what` is where it comes from.

    Raises:
        BenchError: It is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers and dates that Python cannot hold
        raise BenchError(f"{what} is not valid TOML: {error}.", "Correct the file.") from error


def toml_text(table: Mapping[str, Any]) -> str:
    """A table as TOML; what is None is left out, at any depth."""

    def said(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: said(item) for key, item in value.items() if item is not None}
        return [said(item) for item in value] if isinstance(value, list) else value

    return tomli_w.dumps(said(table))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file's path to write to, beside `path`; at the end it takes `path`'s place, so readers see the old or the new whole.

    Its name is its own, so that two processes never write to one file. The folder is made where it is missing.

    Raises:
        BenchError: The disk is full or read-only; what was there is left as it was.
    """
    aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        raise BenchError(
            f"{path} could not be written ({error.strerror or error}).",
            "Free or unlock the disk, or name another folder; what is finished is kept.",
            ENVIRONMENT,
        ) from error
    finally:
        if aside.exists():
            aside.unlink()


def remove(path: Path) -> None:
    """Delete a file, a link, or a folder with all that is in it, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")
