"""`bench features extract`, `verify` and `import`: cached image features."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from bench.cli.arguments import DEVICE, JSON, pairs, path_option, refuse
from bench.devices import cores
from bench.errors import ENVIRONMENT, BenchError
from bench.files import resolved
from bench.output import say

if TYPE_CHECKING:
    from bench.backbones.description import Description
    from bench.data.splits import Split
    from bench.grid import Grid
    from bench.prepare.dataset import Prepared
    from bench.progress import Progress
    from bench.spec import NoiseSpec

app = typer.Typer(no_args_is_help=True, help="Make, check and import cached image features.")

CARD = typer.Argument("", help="A dataset (bench datasets), or the path of a card.")
IMAGES = path_option(None, "--images", help="Image root. Default: where CoOp has it below $BENCH_DATA.")
SPLIT = path_option(None, "--split", help="Split file, or the folder of the split's lists. Default: below $BENCH_DATA.")
LABELS = path_option(None, "--labels", help="File of human labels (CIFAR-N's .pt). Default: below $BENCH_DATA.")
BACKBONE = typer.Option(
    "ViT-B-16", help="open_clip's model name, local-dir:FOLDER, hf-hub:OWNER/NAME, a slug such as ViT-B-16@openai, or embedded."
)
PRETRAINED = typer.Option("", help="open_clip's name of the weights, such as openai: it says which settings belong to them.")
WEIGHTS = path_option(None, "--weights", help="The file that holds them (.safetensors, .pt, .bin); OpenAI's own .pt files too.")
SLUG = typer.Option("", help="What grids call the backbone. Default: MODEL@PRETRAINED, or MODEL@ and the file's name.")
SHOWN = 20  # names that a message lists


def _backbone(
    context: typer.Context, model: str, pretrained: str, weights: Path | None, slug: str, *, download: bool = False
) -> "Description":
    """The backbone that the options name."""
    from bench.backbones.description import check_slug, describe, known_backbones
    from bench.backbones.tokenizers import needs_transformers
    from bench.backbones.weights import assumed, resolve

    if weights is None and not pretrained and not model.startswith(("local-dir:", "hf-hub:")):
        if model in known_backbones():
            refuse(context, f"beside '{model}', which is a slug already", "slug", "download")
            return describe(model)
        model, _, pretrained = model.partition("@")
        if not pretrained:
            raise BenchError(f"'{model}' names no weights.", "Give --pretrained NAME (such as openai) or --weights FILE.")
    if model.startswith(("local-dir:", "hf-hub:")) or (weights is not None and not needs_transformers(model)):
        refuse(context, "where the weights are a file", "download")  # of some models there is a tokenizer to fetch
    chosen = resolve(model, pretrained, weights, slug, download=download)
    if said := assumed(chosen):
        say(said, err=True)
    check_slug(chosen)
    return chosen


class Encoding:
    """Images done of a part, images per second and time left; a part starts when the last update of the one before was."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.started: dict[str, float] = {}
        self.last = time.monotonic()

    def update(self, part: str, done: int, total: int) -> None:
        """After every batch."""
        from bench.progress import clock

        since = time.monotonic() - self.started.setdefault(part, self.last)
        self.last = time.monotonic()
        words = f"{done / since:.1f} images/s · {clock(since / done * (total - done))} left" if since and done else "starting"
        self.progress.show(f"{part} images", done, total, words, last=done == total)


def _asked(grid: Path | None, noise: list[str], views: int | None) -> "tuple[Grid | None, list[NoiseSpec], int]":
    """The grid, the noises that runs have, and the number of views."""
    from bench.grid import expand_noise, read_grid

    if grid is not None:
        asked = read_grid(grid)
        return asked, expand_noise(asked.noise), asked.views if views is None else views
    try:
        rates = {name: list(map(float, texts)) for name, texts in pairs("--noise", noise).items()}
    except ValueError as error:
        raise BenchError(f"--noise has a rate that is not a number ({error}).", "Write --noise fp_symmetric=0.5.") from error
    return None, expand_noise({"clean": [0.0]} | rates), 8 if views is None else views


def _tell(made: "Prepared") -> None:
    """What of a dataset is left out, and which classes a part lacks."""
    from bench.prepare.dataset import lacking

    if not made.split.val:
        say(f"'{made.card.name}' has no validation images", err=True)
    for part in ("val", "test"):
        if names := lacking(made, part):
            say(f"{len(names)} classes have no {part} image: {', '.join(names[:SHOWN])}", err=True)
    if made.left_out:
        listed = "".join(f"\n  {path}: {why}" for path, why in list(made.left_out.items())[:SHOWN])
        more = f"\n  and {len(made.left_out) - SHOWN} more" if len(made.left_out) > SHOWN else ""
        say(f"{len(made.left_out)} files or folders below {made.images} are left out:{listed}{more}", err=True)


@app.command()
def extract(
    context: typer.Context,
    card: str = CARD,
    images: Path | None = IMAGES,
    split: Path | None = SPLIT,
    labels: Path | None = LABELS,
    folder: Path | None = path_option(
        None, "--folder", help="Instead of a card: class folders, parquet, Arrow or tar shards (datasets/README.md)."
    ),
    name: str = typer.Option("", help="With --folder: what to call the dataset. Default: the folder's name."),
    template: str = typer.Option(
        "", help="With --folder: the zero-shot prompt. Default: the folder's own, else 'a photo of a {}.'"
    ),
    make_test: float = typer.Option(
        0.0, min=0, max=0.9, help="With --folder: the share of training images to test on, where no part is there."
    ),
    backbone: str = BACKBONE,
    pretrained: str = PRETRAINED,
    weights: Path | None = WEIGHTS,
    slug: str = SLUG,
    views: int | None = typer.Option(None, min=0, help="Augmented views of a training image. Default: the grid's, else 8."),
    grid: Path | None = path_option(None, "--grid", help="Encode what the runs of this grid use."),
    shots: list[int] = typer.Option([16], min=0, help="Without --grid: shots per class (0: all); may be repeated."),
    seeds: list[int] = typer.Option([1, 2, 3], min=0, max=2**63 - 1, help="Without --grid: seeds; may be repeated."),
    noise: list[str] = typer.Option([], help="Without --grid: replaced images too, as fp_symmetric=0.5."),
    everything: bool = typer.Option(False, "--all", help="Encode all training and validation images."),
    download: bool = typer.Option(False, "--download", help="Fetch the weights of --pretrained where they are not there."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave unreadable images out of the split for good."),
    batch_size: int | None = typer.Option(None, min=1, help="Views per forward pass. Default: 64, on a GPU 256."),
    workers: int = typer.Option(
        min(16, cores()), min=0, help="Processes that decode images, and encode them where there is no GPU."
    ),
    device: str = DEVICE,
) -> None:
    """Encode a dataset's images with a backbone. What is cached is kept, and a killed extraction goes on."""
    if bool(card) == (folder is not None):
        raise BenchError("name either a dataset or --folder DIR.", "bench features extract caltech101 …, or --folder DIR.")
    if card:
        refuse(context, "beside a dataset, only with --folder", "name", "template", "make_test")
    if grid or everything:
        refuse(context, f"beside {'--grid' if grid else '--all'}", "shots", "seeds", "noise")
    asked, noises, views = _asked(grid, noise, views)
    if card:
        from bench.data.cards import load_card

        load_card(card)
    from bench.devices import devices

    first = devices(device)[0]
    chosen = _backbone(context, backbone, pretrained, weights, slug, download=download)

    from bench.data.cards import load_card
    from bench.data.task import needed_images
    from bench.prepare.dataset import extract as encode
    from bench.prepare.dataset import prepare
    from bench.prepare.extract import load_encoder
    from bench.prepare.layouts import folder_card
    from bench.progress import Progress

    if folder is not None:
        table = resolved(split) if split else None
        made = prepare(*folder_card(folder, name or resolved(folder).name, template, table, make_test), images, table, labels)
    else:
        made = prepare(load_card(card), "", images, split, labels)
    _tell(made)
    encoder = load_encoder(chosen, first, made.card.prompts)
    if asked:
        shots, seeds = asked.shots, asked.seeds

    def needed(found: "Split") -> "Split":
        return found if everything else needed_images(made.card, found, shots, seeds, noises)

    say(f"{made.card.name} with {chosen.slug} on {encoder.device}, images below {made.images}", err=True)
    with closing(Progress()) as progress:
        made = encode(made, encoder, needed, views, batch_size=batch_size, workers=workers, skip_bad=skip_bad,
                      progress=Encoding(progress).update, notice=progress.note)  # fmt: skip
    if made.skipped:
        say(f"{len(made.skipped)} unreadable images are left out of the split ({made.folder / 'prepared.json'})", err=True)
    say(f"{made.folder / chosen.slug}")
    say(f'in a grid: datasets = ["{card or made.card.name}"], backbones = ["{chosen.slug}"], views = {views} or fewer', err=True)


@app.command()
def verify(
    card: str = typer.Argument("", help="Only this dataset's."),
    as_json: bool = JSON,
) -> None:
    """Read all cached features and say what is damaged. Also what was made from other weights or images."""
    from bench.prepare.caches import caches, problems

    found = {str(cache.folder): problems(cache) for cache in caches(card)}
    if as_json:
        say(json.dumps(found))
    else:
        for folder, wrong in found.items():
            say("\n".join(wrong) if wrong else f"ok {folder}")
    broken = [folder for folder, wrong in found.items() if wrong]
    if broken:
        raise BenchError(f"{len(broken)} of {len(found)} caches are unsound.", "Remove them and extract anew.", ENVIRONMENT)
    if not found:
        raise BenchError(
            f"there are no cached features{f' of {card}' if card else ''}.", "Make them with `bench features extract`."
        )


@app.command("import")
def import_(
    context: typer.Context,
    card: str = typer.Argument(help="A dataset (bench datasets), or the path of a card."),
    train: Path = path_option(
        ..., "--train", help="Dump of the training images: .npz, .pt, .parquet, or a folder of clip-retrieval."
    ),
    test: Path = path_option(..., "--test", help="Dump of the test images."),
    val: Path | None = path_option(None, "--val", help="Dump of the validation images, where the split has such."),
    images: Path | None = IMAGES,
    split: Path | None = SPLIT,
    labels: Path | None = LABELS,
    backbone: str = BACKBONE,
    pretrained: str = PRETRAINED,
    weights: Path | None = WEIGHTS,
    slug: str = SLUG,
) -> None:
    """Take over features that another project computed. The clean view only, in the split's order or with paths."""
    from bench.data.cards import load_card
    from bench.prepare.dataset import prepare, register
    from bench.prepare.dumps import import_dump, order_rows, read_dump

    chosen = _backbone(context, backbone, pretrained, weights, slug)
    made = prepare(load_card(card), "", images, split, labels, encode=False)
    _tell(made)
    given = {part: resolved(path) for part, path in (("train", train), ("val", val), ("test", test)) if path is not None}
    for part, items in made.split._asdict().items():
        if items and part not in given:
            raise BenchError(f"the split of '{made.card.name}' has {len(items)} {part} images.", f"Give their dump with --{part}.")
    # All are checked before one is written.
    sizes = {part: order_rows(path, read_dump(path), getattr(made.split, part), part).shape[1] for part, path in given.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{part} {size}" for part, size in sizes.items())
        raise BenchError(f"the dumps have features of different lengths: {told}.", "Give dumps of one backbone.")
    for part, path in given.items():
        say(f"{part}: {import_dump(made, chosen, part, path)} images", err=True)
    register(made, chosen)
    say(f"{made.folder / chosen.slug}")
    say("imported features have no augmented views: set views = 0 in the grid", err=True)


@app.command("export")
def export_(
    dataset: str = typer.Argument(help="A dataset (bench datasets), or the path of a card."),
    backbone: str = typer.Option(help="The slug that grids call the backbone."),
    out: Path = path_option(..., "--out", help="The folder that gets train, val and test."),
    form: Literal["npz", "parquet"] = typer.Option("npz", "--format", help="What to write."),
) -> None:
    """Write cached features for other programs. The clean view, with labels, paths and class names."""
    from bench.data.task import features_folder, split_of
    from bench.prepare.dumps import export_dump

    if not features_folder(dataset, backbone).is_dir():
        raise BenchError(
            f"there are no features of '{dataset}' with '{backbone}'.", "`bench doctor DATASET` tells which there are."
        )
    for part, items in split_of(dataset)._asdict().items():
        if items and (features_folder(dataset, backbone) / part).is_dir():
            path = out / f"{part}.{form}"
            number = export_dump(dataset, backbone, part, path)
            say(f"{path}: {number} of {len(items)} images")
        elif items:
            say(f"no {part} features of '{dataset}' with '{backbone}'", err=True)
