"""Fetching images and weights, only ever when asked: from Hugging Face's hub (or what HF_ENDPOINT names), or by torchvision.

A file that is whole stays, so a broken fetch goes on with the next; every file is checked against the hub's size and hash.
"""

import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.hf_api import RepoFile

from bench.errors import ENVIRONMENT, BenchError
from bench.files import sha256
from bench.hub import AGAIN, endpoint, told


class Place(NamedTuple):
    """Where a card's images can be fetched."""

    kind: str  # "hub" or "torchvision"
    name: str  # OWNER/NAME, or a class of torchvision.datasets
    revision: str = "main"


def place_of(download: str, what: str, hint: str) -> Place:
    """The place that "hub:OWNER/NAME@REVISION" or "torchvision:CLASS" names.

    Args:
        download: Its name.
        what: What errors call its owner.
        hint: How it is named.

    Raises:
        BenchError: It names none.
    """
    found = re.fullmatch(r"(hub):(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?|(torchvision):(\w+)", download)
    if found is None:
        raise BenchError(f"{what} names no place to fetch it from{f' ({download!r})' if download else ''}.", hint)
    return Place(found[1], found[2], found[3] or "main") if found[1] else Place(found[4], found[5])


def fetch(place: Place, folder: Path) -> str:
    """Fetch a place's files into a folder. Returns what exactly was fetched: the commit, or torchvision's class.

    Raises:
        BenchError: There is no such thing, it may not be fetched, or the transfer broke.
    """
    return _hub(place, folder) if place.kind == "hub" else _torchvision(place, folder)


def _hub(place: Place, folder: Path) -> str:
    api = HfApi(endpoint=endpoint())
    with told(f"dataset {place.name}@{place.revision}"):
        commit = str(api.dataset_info(place.name, revision=place.revision).sha)
        tree = api.list_repo_tree(place.name, recursive=True, revision=commit, repo_type="dataset")
        files = [entry for entry in tree if isinstance(entry, RepoFile)]
        snapshot_download(place.name, repo_type="dataset", revision=commit, local_dir=folder, endpoint=endpoint())
    for file in files:
        there = folder / file.path
        wrong = not there.is_file() or there.stat().st_size != file.size
        if wrong or (file.lfs is not None and sha256(there) != file.lfs.sha256):
            there.unlink(missing_ok=True)
            raise BenchError(f"{there} is not what {place.name} holds: its transfer broke.", AGAIN, ENVIRONMENT)
    return commit


def _torchvision(place: Place, folder: Path) -> str:
    import torchvision  # noqa: PLC0415 - only these datasets need it

    known = getattr(torchvision.datasets, place.name, None)
    if known is None:
        raise BenchError(f"torchvision has no dataset '{place.name}'.", "Correct the card.")
    with told(f"torchvision's {place.name}"):
        try:
            known(folder, download=True)
        except RuntimeError as error:  # its word for a file that is missing or has another hash
            raise BenchError(f"torchvision could not fetch {place.name} ({error}).", AGAIN, ENVIRONMENT) from error
    return f"torchvision {torchvision.__version__}, {place.name}"
