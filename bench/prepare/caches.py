"""All cached features on this machine, and whether they are sound."""

from pathlib import Path
from typing import NamedTuple

from bench.backbones.description import describe
from bench.data.cards import card_paths, find_card, load_card
from bench.data.features import MANIFEST, open_features, verify_features
from bench.data.splits import Split, read_split
from bench.data.task import cached_split
from bench.errors import BenchError
from bench.paths import features_root
from bench.prepare.images import image_reader, remembered


class Cache(NamedTuple):
    """One folder of features."""

    dataset: str
    backbone: str  # slug
    part: str  # "train", "val" or "test"
    folder: Path
    split: Path  # the split file it belongs to


def _below(dataset: str, root: Path, split: Path) -> list[Cache]:
    folders = [manifest.parent for manifest in sorted(root.glob(f"*/*/{MANIFEST}"))]
    return [Cache(dataset, f.parent.name, f.name, f, split) for f in folders if f.name in Split._fields]


def caches(dataset: str = "") -> list[Cache]:
    """The caches of a dataset, or all: shipped, extracted and imported ones."""
    found = []
    for name in [dataset] if dataset else card_paths():
        card, folder = load_card(name), find_card(name).parent
        if card.features:
            found += _below(name, folder / card.features, folder / card.split)
        elif dataset:
            found += _below(name, features_root() / card.name, cached_split(card))
    if not dataset:
        for root in sorted(features_root().glob("*")):
            found += _below(root.name, root, root / "split.json")
    return found


def problems(cache: Cache) -> list[str]:
    """Everything that is wrong with a cache, read in full; empty where it is sound.

    Beside damage that is weights other than its backbone's and images that its dataset's split does not have.
    """
    wrong = verify_features(cache.folder)
    if wrong:
        return wrong
    if not cache.split.is_file():
        return [f"{cache.folder}: its extraction did not come to its end; start it again, or remove the folder"]
    try:
        odd = describe(cache.backbone).contradicts(open_features(cache.folder).inputs)
        known = {item.path for item in getattr(read_split(cache.split), cache.part)}
        changed = _changed(cache)
        strange = [path for path in open_features(cache.folder).paths if path not in known]
    except BenchError as error:
        return [f"{cache.folder}: {error.message}"]
    if odd:
        wrong.append(f"{cache.folder}: not made with what backbone '{cache.backbone}' is now ({', '.join(odd)} differ)")
    if changed:
        wrong.append(f"{cache.folder}: {len(changed)} images have changed since, such as '{changed[0]}': extract again")
    if strange:
        wrong.append(f"{cache.folder}: holds {len(strange)} images that the split does not have, such as '{strange[0]}'")
    return wrong


def _changed(cache: Cache) -> list[str]:
    """The images of a cache that are no longer those it was made from, where they still lie where extraction found them."""
    noted = remembered(cache.split.parent)
    root = Path(noted.get("images", ""))
    contents = {path: content for path, content in open_features(cache.folder).contents.items() if content}
    if not contents or not root.is_absolute() or not root.is_dir():
        return []
    read = image_reader(noted["format"], root)
    gone = set(read.missing(list(contents)))
    return [path for path, content in contents.items() if path not in gone and read.content(path) != content]
