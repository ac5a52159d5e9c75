"""`bench data get`: fetching the images of a dataset, when asked."""

from pathlib import Path

import typer

from bench.cli.arguments import path_option
from bench.errors import BenchError
from bench.output import say

app = typer.Typer(no_args_is_help=True, help="Fetch images.")


@app.callback()
def data() -> None:
    """Fetch images."""


@app.command()
def get(
    name: str = typer.Argument(help="A dataset, the path of a card, or OWNER/NAME[@REVISION] of Hugging Face's hub."),
    images: Path | None = path_option(None, "--images", help="Where to. Default: below $BENCH_DATA."),
    download: bool = typer.Option(False, "--download", help="Allow the network; without it, only what would be fetched is said."),
) -> None:
    """Fetch a dataset's images. From where its card says; counts and split are checked, and a broken fetch goes on."""
    from bench.data.cards import load_card
    from bench.paths import data_root
    from bench.prepare.dataset import locate
    from bench.prepare.fetch import fetch, place_of
    from bench.prepare.layouts import layout_of
    from bench.prepare.sources import read_source

    hub = "/" in name and not name.endswith(".toml")
    card = None if hub else load_card(name)
    source = card.source if card else None
    hint = 'A card says download = "hub:OWNER/NAME@REVISION" or "torchvision:CLASS" in its [source].'
    hint = f"{card.how_to_get} {hint}".strip() if card else "Name OWNER/NAME or OWNER/NAME@REVISION, as the hub does."
    place = place_of(f"hub:{name}" if hub else source.download if source else "", f"'{name}'", hint)
    root = data_root()
    folder = images or (root and root / (source.images if source else place.name.split("/")[1]))
    if place.kind == "torchvision" and source and source.format != "torchvision":
        folder = None if images else root  # its classes lay files out below a root of their own
    if folder is None:
        hint = "Set BENCH_DATA to the folder of all datasets, or give --images DIR." if hub else "Set BENCH_DATA."
        raise BenchError(f"no folder is known for the images of '{name}'.", hint)
    if not download:
        what = f"{place.kind} {place.name}" + (f" at {place.revision}" if place.kind == "hub" else "")
        raise BenchError(f"nothing is fetched unless asked: {what} would go to {folder}.", "Add --download.")
    say(f"fetched {fetch(place, folder)} to {folder}", err=True)
    if card is None:
        found = layout_of(folder, None)
        say(f"{folder}: {found.format}, {len(found.classes)} classes")
        say(f"extract its features: bench features extract --folder {folder}", err=True)
        return
    where, lists = locate(card, images, None)
    split = read_source(card, where, lists)
    say(f"{where}: " + ", ".join(f"{len(items)} {part}" for part, items in split._asdict().items()))
