"""From a user's images to cached features: find the files, check split and labels, encode what a grid needs.

What a run needs later lies in `<features>/<card>/`: `split.json` (checked, in CoOp's format), `human.json` (where people's labels
exist), `prepared.json` (where the images lay, what was left out and why) and one folder of features per backbone. Neither images
nor split files are needed again.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.backbones.description import EMBEDDED, Description, save_description
from bench.data.cards import Card, load_card
from bench.data.features import FeatureWriter
from bench.data.splits import Item, Split, read_split, write_split
from bench.data.task import cached_human, cached_split
from bench.errors import ENVIRONMENT, BenchError
from bench.files import read_json, resolved, write_json, write_text
from bench.paths import data_root, features_root
from bench.prepare.archives import imagenet_tars
from bench.prepare.human import read_human
from bench.prepare.images import PREPARED, image_reader, remembered
from bench.prepare.layouts import left_out
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
    left_out: dict[str, str]  # files and whole folders below the image root that are in no part, and why
    human: dict[str, dict[str, int]]  # the label that people gave to each training image, by path, of each set
    text: str = ""  # the card's, where extraction makes it

    @property
    def split(self) -> Split:
        """The split that runs use."""
        return Split(*([item for item in part if item.path not in self.skipped] for part in self.whole))

    @property
    def digest(self) -> str:
        """Identifies the split as its file has it."""
        return digest([[list(item) for item in part] for part in self.whole])

    @property
    def format(self) -> str:
        """How its images lie; every card that `locate` takes has a source."""
        return self.card.source.format if self.card.source else ""

    @property
    def folder(self) -> Path:
        """Where its split and features are kept."""
        return features_root() / self.card.name


# Formats whose split is read without looking at images.
SPLIT_FILES = ("coop", "aircraft", "lists", "clothing1m", "webvision", "csv")
NO_SPLIT_FILE = ("folders", "torchvision", "huggingface", "webdataset")


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
    found = images or root / card.source.images
    wants_images, wants_split = encode or form not in SPLIT_FILES, form not in NO_SPLIT_FILE and not imagenet_tars(found)
    known = data_root() is not None or Path(card.source.images).is_absolute()
    if not known and ((wants_images and images is None) or (wants_split and split is None)):
        raise BenchError(
            f"where are the images and the split of '{card.name}'?",
            f"Give --images DIR and --split FILE, or set BENCH_DATA to a folder that holds {card.source.images} and "
            f"{card.source.split}. {card.how_to_get}",
        )
    lists = split or (Path(card.source.split) if form == "torchvision" else root / card.source.split)
    if wants_images and not found.is_dir():
        raise BenchError(f"the image folder {found} of '{card.name}' does not exist.", card.how_to_get)
    if wants_split and not lists.exists():
        raise BenchError(f"the split {lists} of '{card.name}' does not exist.", card.how_to_get)
    return found, lists


def prepare(
    card: Card,
    text: str = "",
    images: Path | None = None,
    split: Path | None = None,
    labels: Path | None = None,
    *,
    encode: bool = True,
) -> Prepared:
    """Read and check a dataset's split and human labels; nothing is written before `register`.

    Args:
        card: The dataset's card.
        text: The card's text, where it is not kept yet.
        images: The image root; by default where CoOp has it below $BENCH_DATA.
        split: The split file or folder of lists; likewise.
        labels: The file of human labels; likewise.
        encode: Whether images will be read.

    Raises:
        BenchError: A file is missing or wrong, a class has no training image, or something else is kept under the card's name.
    """
    root, lists = locate(card, images and resolved(images), split and resolved(split), encode=encode)
    whole = read_source(card, root, lists)
    extra = left_out(root, whole, card.source.format) if card.source else {}
    made = Prepared(card, root, whole, remembered(features_root() / card.name).get("skipped", {}), extra, {}, text)
    first = [item.path for part in made.split for item in part[:PROBED]]
    if encode and len(missing := image_reader(made.format, root).missing(first)) == len(first):
        hint = f"Is it the right folder? The card means '{card.source.images if card.source else ''}'. {card.how_to_get}"
        raise BenchError(f"the images of '{card.name}', such as {missing[0]}, are not below {root}.", hint)
    _check_classes(made)
    made = replace(made, human=_human_labels(made, labels and resolved(labels)))
    _check_kept(made)
    return made


def lacking(made: Prepared, part: str) -> list[str]:
    """The classes without an image in a part; none where a whole validation or test part is empty."""
    there = {item.label for item in getattr(made.split, part)}
    return [name for label, name in enumerate(made.card.classes) if label not in there] if there or part == "train" else []


def _check_classes(made: Prepared) -> None:
    if names := lacking(made, "train"):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise BenchError(
            f"class '{names[0]}'{more} of '{made.card.name}' has no training image.",
            "Give it images, or take the class out of the card and the split.",
        )


def _human_labels(made: Prepared, labels: Path | None) -> dict[str, dict[str, int]]:
    human, root = made.card.human, data_root()
    if human is None:
        if labels is not None:
            hint = "Describe the labels in the card."
            raise BenchError(f"card '{made.card.name}' has no [human], so --labels has no meaning.", hint)
        return {}
    path = labels or (root / human.file if root else None)
    if path is None or (labels is None and not path.is_file()):
        return {}
    items = made.whole.train
    sets = read_human(path, human, np.array([item.label for item in items], dtype=np.int64), len(made.card.classes))
    return {name: {item.path: int(label) for item, label in zip(items, values, strict=True)} for name, values in sets.items()}


def _check_kept(made: Prepared) -> None:
    """Whether what is kept under the dataset's name is the same."""
    path, kept = cached_split(made.card), cached_human(made.card)
    again = "Give the same, or remove that folder and extract anew; runs before and after would not compare."
    if path.is_file() and read_split(path) != made.split:
        raise BenchError(f"{made.folder} holds another split of '{made.card.name}' than the one given.", again)
    if made.human and kept.is_file() and read_json(kept) != made.human:
        raise BenchError(f"{kept} holds other human labels of '{made.card.name}' than those given.", again)


def register(made: Prepared, backbone: Description, *, anew: bool = False) -> None:
    """Keep a dataset for the runs (card, split, human labels, what was left out), and what its features' backbone is.

    Args:
        made: The dataset.
        backbone: What its features were made with.
        anew: Whether its split is another one on purpose, as images were skipped.

    Raises:
        BenchError: Another process has kept something else under one of the names meanwhile.
    """
    if not anew:
        _check_kept(made)
    if backbone.slug != EMBEDDED:
        save_description(backbone)
    if made.text:
        write_text(made.folder / "card.toml", made.text)
        load_card.cache_clear()
    if made.human:
        write_json(cached_human(made.card), made.human)
    noted = {"images": str(made.images), "format": made.format, "skipped": made.skipped, "left_out": made.left_out}
    write_json(made.folder / PREPARED, noted)
    write_split(cached_split(made.card), made.split, made.card.classes)


def extract(
    made: Prepared,
    encoder: "Encoder",
    needed: Callable[[Split], Split],
    views: int,
    *,
    batch_size: int | None,
    workers: int,
    skip_bad: bool,
    progress: Callable[[str, int, int], None],
    notice: Callable[[str], None],
) -> Prepared:
    """Encode the images that `needed` picks of the split and that are not cached yet; then keep dataset and backbone for the runs.

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
        notice: Called with a sentence where images have changed since they were encoded.

    Returns:
        The dataset, its unreadable images left out.

    Raises:
        BenchError: Images are missing or unreadable; all that are needed have been tried, the good ones are kept.
    """
    from bench.prepare.extract import encode_images  # noqa: PLC0415 - torch waits until something is encoded

    read, slug, known = image_reader(made.format, made.images), encoder.backbone.slug, made.skipped
    with _alone(made, slug):
        caches = {part: (made.folder / slug / part, views if part == "train" else 0) for part in Split._fields}
        writers = {part: partial(FeatureWriter, folder, encoder.inputs(v), encoder.dim, v) for part, (folder, v) in caches.items()}
        for writer in writers.values():
            writer()  # refused here, before anything is encoded, where something else made the cache
        while True:
            wanted = needed(made.split)
            paths = {part: [item.path for item in items] for part, items in wanted._asdict().items()}
            bad = dict.fromkeys(read.missing([path for part in paths.values() for path in part]), "no such file")
            total = sum(len(part) for part in paths.values())
            for part, names in paths.items() if len(bad) < total else ():
                folder, v = caches[part]
                here = [path for path in names if path not in bad]
                bad |= encode_images(encoder, folder, here, read, v, batch_size, workers, partial(progress, part), notice)
            if not bad:
                break
            if not skip_bad or len(bad) == total:
                raise BenchError(_bad_sentence(made, bad, total), BAD_HINT)
            made = replace(made, skipped=made.skipped | bad)
            _check_classes(made)
        for part, writer in writers.items():
            _forget_others(writer(), getattr(made.split, part))
        register(made, encoder.backbone, anew=made.skipped != known)
        return made


def _forget_others(writer: FeatureWriter, items: list[Item]) -> None:
    """Rows of images that are not in the split: of extractions that failed before it was put right."""
    if others := writer.contents.keys() - {item.path for item in items}:
        writer.drop(others)
        writer.commit()


@contextmanager
def _alone(made: Prepared, slug: str) -> Iterator[None]:
    """Keeps a second extraction of the same features out."""
    made.folder.mkdir(parents=True, exist_ok=True)
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
