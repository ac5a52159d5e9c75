"""From a user's images to cached features: find the files, check split and labels, encode what a grid needs.

What a run needs later lies in `<features>/<card>/`: `split.json` (checked, in CoOp's format), `human.json` (where people's labels
exist), `skipped.json` (unreadable images left out, with reasons) and one folder of features per backbone. Neither images nor
split files are needed again.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.cards import Card, load_card, parse_card
from bench.data.splits import Split, read_split, write_split
from bench.data.task import cached_human, cached_split
from bench.errors import ENVIRONMENT, BenchError
from bench.files import read_json, resolved, write_json, write_text
from bench.paths import data_root, datasets_root, features_root
from bench.prepare.human import read_human
from bench.prepare.images import image_reader
from bench.prepare.sources import read_source
from bench.spec import digest

if TYPE_CHECKING:
    from bench.prepare.extract import Encoder

SHOWN = 20  # unreadable images that an error lists
BAD_HINT = "Put them right, or leave them out with --skip-bad (the shots then differ from the published ones)."
PROBED = 50  # images per part that are looked for before anything is written


@dataclass(frozen=True)
class Prepared:
    """A dataset whose split is read and checked."""

    card: Card
    images: Path  # the image root
    whole: Split  # as its file has it
    skipped: dict[str, str]  # unreadable images that are left out, and why

    @property
    def split(self) -> Split:
        """The split that runs use."""
        return Split(*([item for item in part if item.path not in self.skipped] for part in self.whole))

    @property
    def digest(self) -> str:
        """Identifies the split as its file has it."""
        return digest([[list(item) for item in part] for part in self.whole])

    @property
    def folder(self) -> Path:
        """Where its split and features are kept."""
        return features_root() / self.card.name


SPLIT_FILES = ("coop", "aircraft", "lists", "clothing1m", "webvision")  # formats whose split is read without looking at images
NO_SPLIT_FILE = ("folders", "torchvision")


def locate(card: Card, images: Path | None, split: Path | None, *, encode: bool = True) -> tuple[Path, Path]:
    """The image root and the split file (or folder of lists) of a card: as given, else below $BENCH_DATA.

    Args:
        card: The card.
        images: The image root, if given.
        split: The split, if given.
        encode: Whether images will be read; where not, a split file is enough.

    Raises:
        BenchError: Neither is known, or one is not there.
    """
    if card.source is None:
        raise BenchError(f"dataset '{card.name}' has no [source]: its features ship with it.", "Nothing needs to be extracted.")
    root, form = data_root() or Path(), card.source.format
    wants_images, wants_split = encode or form not in SPLIT_FILES, form not in NO_SPLIT_FILE
    known = data_root() is not None or Path(card.source.images).is_absolute()
    if not known and ((wants_images and images is None) or (wants_split and split is None)):
        raise BenchError(
            f"where are the images and the split of '{card.name}'?",
            f"Give --images DIR and --split FILE, or set BENCH_DATA to a folder that holds {card.source.images} and "
            f"{card.source.split}. {card.how_to_get}",
        )
    found = images or root / card.source.images
    lists = split or (Path(card.source.split) if form == "torchvision" else root / card.source.split)
    if wants_images and not found.is_dir():
        raise BenchError(f"the image folder {found} of '{card.name}' does not exist.", card.how_to_get)
    if wants_split and not lists.exists():
        raise BenchError(f"the split {lists} of '{card.name}' does not exist.", card.how_to_get)
    return found, lists


def prepare(
    dataset: str, images: Path | None = None, split: Path | None = None, labels: Path | None = None, *, encode: bool = True
) -> Prepared:
    """Read and check a dataset's split and human labels, and keep them for the runs.

    Args:
        dataset: A card's name or path.
        images: The image root; by default where CoOp has it below $BENCH_DATA.
        split: The split file or folder of lists; likewise.
        labels: The file of human labels; likewise.
        encode: Whether images will be read.

    Raises:
        BenchError: A file is missing or wrong, or features of another split are kept under the card's name.
    """
    card = load_card(dataset)
    root, lists = locate(card, images, split, encode=encode)
    made = Prepared(card, root, read_source(card, root, lists), _skipped(card))
    first = [item.path for part in made.split for item in part[:PROBED]]
    if encode and len(missing := image_reader(card, root).missing(first)) == len(first):
        hint = f"Is it the right folder? The card means '{card.source.images if card.source else ''}'. {card.how_to_get}"
        raise BenchError(f"the images of '{card.name}', such as {missing[0]}, are not below {root}.", hint)
    _keep_split(made)
    _keep_human(made, labels)
    return made


def _skipped(card: Card) -> dict[str, str]:
    path = features_root() / card.name / "skipped.json"
    found: dict[str, str] = read_json(path) if path.is_file() else {}
    return found


def _keep_split(made: Prepared) -> None:
    path = cached_split(made.card)
    if not path.is_file():
        write_split(path, made.split, made.card.classes)
    elif read_split(path) != made.split:
        raise BenchError(
            f"{made.folder} holds another split of '{made.card.name}' than the one given.",
            "Give the same split, or remove that folder and extract anew; numbers of two splits do not compare.",
        )


def _keep_human(made: Prepared, labels: Path | None) -> None:
    human = made.card.human
    if human is None:
        if labels is not None:
            raise BenchError(
                f"card '{made.card.name}' has no [human], so --labels has no meaning.", "Describe the labels in the card."
            )
        return
    root = data_root()
    path = labels or (root / human.file if root else None)
    if path is None or (labels is None and not path.is_file()):
        return
    items = made.whole.train
    sets = read_human(path, human, np.array([item.label for item in items], dtype=np.int64), len(made.card.classes))
    found = {name: {item.path: int(label) for item, label in zip(items, values, strict=True)} for name, values in sets.items()}
    kept = cached_human(made.card)
    if kept.is_file() and read_json(kept) != found:
        raise BenchError(
            f"{kept} holds other human labels of '{made.card.name}' than {path}.",
            "Give the same file, or remove that folder and extract anew; runs before and after would not compare.",
        )
    write_json(kept, found)


def folder_card(folder: Path, name: str, template: str) -> str:
    """Make the card of a plain folder of class folders, or of one that holds train, val and test.

    Args:
        folder: `<class>/*`, or `{train,val,test}/<class>/*`. Class names are the sorted folder names.
        name: What the dataset is called.
        template: The zero-shot prompt, with {} for the class name.

    Returns:
        The dataset's name.

    Raises:
        BenchError: There are no class folders, or the name is taken by another dataset.
    """
    folder = resolved(folder)
    top = folder / "train" if (folder / "train").is_dir() and (folder / "test").is_dir() else folder
    if not top.is_dir():
        raise BenchError(f"folder {folder} does not exist.", "Give a folder that holds one folder of images per class.")
    classes = sorted(entry.name for entry in top.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise BenchError(f"{top} holds {len(classes)} class folders.", "Put the images of each class into a folder named after it.")
    shipped = datasets_root() / f"{name}.toml"
    if shipped.is_file():
        raise BenchError(f"a shipped dataset is called '{name}' already.", "Give another name with --name.")
    source = {"format": "folders", "images": str(folder), "split": ""}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in source.items()}
    text = (
        f"name = {json.dumps(name)}\ntitle = {json.dumps(f'Images of {folder.name}', ensure_ascii=False)}\n"
        f"templates = [{json.dumps(template, ensure_ascii=False)}]\nclasses = {json.dumps(classes, ensure_ascii=False)}\n\n"
        "[source]\n" + "".join(f"{key} = {value}\n" for key, value in quoted.items())
    )
    parse_card(text, Path(f"of '{name}'"))
    path = features_root() / name / "card.toml"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise BenchError(f"another dataset is called '{name}' already ({path}).", "Give another name with --name.")
    if not path.is_file():
        write_text(path, text)
        load_card.cache_clear()
    return name


def extract(
    made: Prepared,
    encoder: "Encoder",
    needed: Callable[[Split], Split],
    views: int,
    *,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    progress: Callable[[str, int, int], None],
) -> Prepared:
    """Encode the images that `needed` picks of the split and that are not cached yet.

    Args:
        made: The dataset.
        encoder: The image tower.
        needed: Which images of a split to encode.
        views: V, for training images.
        batch_size: Views per forward pass.
        workers: Processes that decode images.
        skip_bad: Leave unreadable images out of the split for good, instead of refusing the dataset. As that changes which shots
            are drawn, what is needed is asked again.
        progress: Called with the part, images encoded and images to encode after every batch.

    Returns:
        The dataset, its unreadable images left out.

    Raises:
        BenchError: Images are missing or unreadable; all that are needed have been tried, the good ones are kept.
    """
    from bench.prepare.extract import encode_images  # noqa: PLC0415 - torch waits until something is encoded

    read = image_reader(made.card, made.images)
    with _alone(made, encoder.backbone.slug):
        while True:
            wanted = needed(made.split)
            paths = {part: [item.path for item in items] for part, items in wanted._asdict().items()}
            bad = dict.fromkeys(read.missing([path for part in paths.values() for path in part]), "no such file")
            total = sum(len(part) for part in paths.values())
            for part, names in paths.items() if len(bad) < total else ():
                folder = made.folder / encoder.backbone.slug / part
                here = [path for path in names if path not in bad]
                shown = partial(progress, part)
                bad |= encode_images(
                    encoder, folder, here, read, made.digest, views if part == "train" else 0, batch_size, workers, shown
                )
            if not bad:
                return made
            if not skip_bad or len(bad) == total:
                raise BenchError(_bad_sentence(made, bad, total), BAD_HINT)
            made = replace(made, skipped=made.skipped | bad)
            write_json(made.folder / "skipped.json", made.skipped)
            write_split(cached_split(made.card), made.split, made.card.classes)


@contextmanager
def _alone(made: Prepared, slug: str) -> Iterator[None]:
    """Keeps a second extraction of the same features out."""
    with (made.folder / f"{slug}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another process is extracting '{made.card.name}' with '{slug}'."
            raise BenchError(message, "Wait for it, and start again.", ENVIRONMENT) from error
        yield


def _bad_sentence(made: Prepared, bad: dict[str, str], total: int) -> str:
    listed = "".join(f"\n  {path}: {why}" for path, why in sorted(bad.items())[:SHOWN])
    more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return f"{len(bad)} of {total} images below {made.images} cannot be read:{listed}{more}\n"
