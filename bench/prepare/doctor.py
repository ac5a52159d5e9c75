"""What `bench doctor` looks at: the machine, weights, datasets and caches, each with what to do where something is missing."""

import importlib.metadata
import itertools
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from bench.backbones.description import describe, known_backbones
from bench.data.cards import Card, card_paths, load_card
from bench.data.features import MANIFEST
from bench.data.task import cached_human
from bench.errors import BenchError
from bench.files import read_json, sha256
from bench.paths import data_root, datasets_root, features_root
from bench.prepare.caches import caches, problems
from bench.prepare.dataset import locate
from bench.prepare.images import image_reader
from bench.prepare.sources import read_source

USUAL_WEIGHTS = (("ViT-B-16", "openai"), ("ViT-B-32", "openai"), ("RN50", "openai"), ("ViT-L-14", "openai"))
LOOKED_AT = 100_000  # images of a dataset whose files are looked for, at most
LITTLE_SPACE = 5.0  # GB


class Finding(NamedTuple):
    """One thing that was looked at."""

    area: Literal["python", "torch", "disk", "weights", "dataset", "cache", "slurm"]
    name: str
    status: Literal["ok", "absent", "warning", "broken"]  # "absent" is no fault: it is needed by some runs only
    detail: str
    do: str = ""  # what to do about it


def look(dataset: str = "") -> Iterator[Finding]:
    """Everything, one thing after the other; of the datasets only the one that is named, if one is."""
    if dataset:
        load_card(dataset)
    yield from python()
    yield from torch_and_devices()
    yield from disk()
    yield from embedded_files()
    yield from weights()
    yield from [dataset_files(dataset)] if dataset else datasets()
    yield from cached_features(dataset)
    yield from slurm()


def python() -> Iterator[Finding]:
    """The interpreter and the packages that the suite needs."""
    yield Finding("python", "python", "ok", platform.python_version())
    for requirement in importlib.metadata.requires("noisy-prompt-bench") or []:
        name, _, condition = requirement.partition(";")
        package = re.split(r"[<>=!~ \[]", name.strip())[0]
        try:
            found = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            extra = "extra" in condition
            yield Finding("python", package, "absent" if extra else "broken", "not installed", f"pip install '{name.strip()}'")
            continue
        if "extra" not in condition:
            yield Finding("python", package, "ok", found)


def torch_and_devices() -> Iterator[Finding]:
    """Torch, its threads and the devices it sees."""
    import torch  # noqa: PLC0415 - only when somebody wants to know

    yield Finding("torch", "cpu", "ok", f"torch {torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores")
    if torch.get_num_threads() > 1 and (os.cpu_count() or 1) < torch.get_num_threads():
        yield Finding("torch", "threads", "warning", "more threads than cores", "Set OMP_NUM_THREADS.")
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        yield Finding("torch", f"cuda:{index}", "ok", f"{found.name}, {found.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        yield Finding("torch", "mps", "ok", "Apple GPU")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield Finding("torch", "gpu", "absent", "none; the embedded tasks need none")


def disk() -> Iterator[Finding]:
    """Free space where features and results go."""
    for name, path in (("features", features_root()), ("results", Path.cwd())):
        there = next(folder for folder in (path, *path.resolve().parents) if folder.exists())
        free = shutil.disk_usage(there).free / 1e9
        writable = os.access(there, os.W_OK)
        status: Literal["ok", "warning", "broken"] = "broken" if not writable else "warning" if free < LITTLE_SPACE else "ok"
        do = "Set BENCH_FEATURES to another folder." if name == "features" else "Give results another folder with --out."
        yield Finding(
            "disk", name, status, f"{path}: {free:.0f} GB free{'' if writable else ', not writable'}", "" if status == "ok" else do
        )


def embedded_files() -> Iterator[Finding]:
    """The shipped model's files against their checksums."""
    root = datasets_root() / "embedded"
    checksums = read_json(root / "checksums.json")
    wrong = [name for name, known in checksums.items() if not (root / name).is_file() or sha256(root / name) != known]
    detail = f"missing or altered: {', '.join(wrong)}" if wrong else f"{len(checksums)} files sound"
    yield Finding("weights", "embedded files", "broken" if wrong else "ok", detail, "Install the suite again." if wrong else "")


def weights() -> Iterator[Finding]:
    """The backbones that features were made with and where their settings come from; usual weights that lie on this machine."""
    from bench.backbones.weights import find_weights, settings_from  # noqa: PLC0415 - imports open_clip

    for slug in known_backbones():
        try:
            described = describe(slug)
            path = Path(described.weights)
            if not path.is_file():
                yield Finding("weights", slug, "broken", f"{path} is gone", "Put the file back.")
            elif sha256(path) != described.sha256:
                yield Finding(
                    "weights", slug, "broken", f"{path} is another file than its features were made with", "Put the file back."
                )
            else:
                yield Finding("weights", slug, "ok", f"{path}; {settings_from(described)}")
        except BenchError as error:
            yield Finding("weights", slug, "broken", error.message, error.hint)
    absent = []
    for model, tag in USUAL_WEIGHTS:
        if found := find_weights(model, tag):
            yield Finding("weights", f"{model}@{tag}", "ok", str(found))
        else:
            absent.append((model, tag))
    if absent:
        model, tag = absent[0]
        fetch = f"python -c \"import open_clip; open_clip.create_model('{model}', pretrained='{tag}')\""
        detail = f"not on this machine: {', '.join(f'{model}@{tag}' for model, tag in absent)}"
        yield Finding("weights", "open_clip", "absent", detail, f"Where there is a network: {fetch}, and so on.")


def datasets() -> Iterator[Finding]:
    """All datasets: what ships and what could not even be looked for in one line each, the others one by one."""
    cards = [load_card(name) for name in card_paths()]
    shipped = [card.name for card in cards if card.source is None]
    yield Finding("dataset", "shipped", "ok", f"{len(shipped)} datasets ship with the suite")
    nowhere = [card.name for card in cards if card.source and not _made(card) and _unknown_place(card)]
    for name in card_paths():
        if name not in shipped and name not in nowhere:
            yield dataset_files(name)
    if nowhere:
        detail = f"BENCH_DATA is not set, so no images were looked for: {', '.join(nowhere)}"
        yield Finding("dataset", "images", "absent", detail, "`bench doctor NAME` tells what a dataset needs and how to get it.")


def _made(card: Card) -> list[str]:
    """The backbones that a dataset has features of."""
    return sorted({path.parent.parent.name for path in (features_root() / card.name).glob(f"*/*/{MANIFEST}")})


def _unknown_place(card: Card) -> bool:
    return card.source is not None and data_root() is None and not Path(card.source.images).is_absolute()


def _human_labels(card: Card) -> str:
    if card.human is None:
        return ""
    root = data_root()
    there = cached_human(card).is_file() or (root is not None and (root / card.human.file).is_file())
    return f"; human labels {'there' if there else f'not there: {card.human.file} below $BENCH_DATA'}"


def dataset_files(name: str) -> Finding:
    """A dataset's features, else its images and split: what is there, or exactly what is missing."""
    card = load_card(name)
    if card.source is None:
        return Finding("dataset", name, "ok", "ships with the suite")
    human = _human_labels(card)
    if made := _made(card):
        return Finding("dataset", name, "ok", f"features of {', '.join(made)}{human}")
    if _unknown_place(card):
        where = f"{card.source.images} and {card.source.split} below $BENCH_DATA, which is not set"
        return Finding("dataset", name, "absent", f"no features; its images belong into {where}{human}", card.how_to_get)
    try:
        images, split = locate(card, None, None)
        found = [item.path for part in read_source(card, images, split) for item in part]
    except BenchError as error:
        return Finding("dataset", name, "absent", error.message, error.hint)
    looked = found[:: max(1, len(found) // LOOKED_AT)]
    if missing := image_reader(card.source.format, images).missing(looked):
        detail = f"{len(missing)} of {len(looked)} images are missing below {images}, such as {missing[0]}"
        return Finding("dataset", name, "absent", detail, card.how_to_get)
    extract = f"bench features extract {name} --backbone ViT-B-16 --pretrained openai"
    return Finding("dataset", name, "ok", f"{len(found)} images below {images}{human}; no features yet: {extract}")


def cached_features(dataset: str = "") -> Iterator[Finding]:
    """Every cache, read in full; the parts of a dataset by a backbone are one finding."""
    for (name, slug), parts in itertools.groupby(caches(dataset), lambda cache: (cache.dataset, cache.backbone)):
        wrong = [problem for part in parts for problem in problems(part)]
        shipped = name in card_paths() and load_card(name).features
        again = "Install the suite again." if shipped else f"Remove {features_root() / name / slug} and extract anew."
        yield Finding("cache", f"{name}/{slug}", "broken" if wrong else "ok", "; ".join(wrong) or "sound", again if wrong else "")


def slurm() -> Iterator[Finding]:
    """Whether runs can go to a Slurm cluster."""
    if shutil.which("sbatch") is None:
        yield Finding("slurm", "sbatch", "absent", "no Slurm on this machine", "Runs stay local, or use bench run --shard i/n.")
        return
    try:
        answer = subprocess.run(
            ["sinfo", "--noheader", "--format=%P %a %D"], capture_output=True, text=True, timeout=20, check=True
        )
        yield Finding("slurm", "controller", "ok", "; ".join(answer.stdout.split("\n")).strip("; "))
    except (OSError, subprocess.SubprocessError) as error:
        told = str(getattr(error, "stderr", "") or error).strip().splitlines()[0]
        yield Finding("slurm", "controller", "warning", f"sinfo does not answer ({told})", "Ask the cluster's administrators.")
