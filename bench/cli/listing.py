"""`bench methods`, `bench datasets` and `bench backbones`: what there is. The first two import neither torch nor a method."""

import inspect
import json
from pathlib import Path

import typer

from bench.cli.arguments import JSON, PLUGIN, load_plugins, refuse
from bench.errors import BenchError, nearest
from bench.output import say


def methods(
    name: str = typer.Argument("", help="Show one method in full: paper, defaults, deviations."),
    plugin: list[Path] = PLUGIN,
    as_json: bool = JSON,
) -> None:
    """List the registered methods, or show one in full."""
    from methods.registry import defaults, listings, load

    load_plugins(plugin)
    known = listings()
    if name:
        if name not in known:
            raise BenchError(f"no method is called '{name}'.", nearest(name, known))
        if as_json:
            found = known[name]._asdict() | {"parameters": defaults(name), "text": inspect.getdoc(load(name))}
            say(json.dumps(found))
            return
        shown = ", ".join(f"{key} = {value!r}" for key, value in defaults(name).items()) or "none"
        say(f"{name}\n\n{inspect.getdoc(load(name))}\n\nHyper-parameters: {shown}")
    elif as_json:
        say(json.dumps([{"name": item.name, "summary": item.summary, "module": item.module} for item in known.values()]))
    else:
        width = max(map(len, known))
        for item in sorted(known.values()):
            say(f"{item.name:{width}}  {item.summary}")


def datasets(as_json: bool = JSON) -> None:
    """List the dataset cards."""
    from bench.data.cards import card_paths, load_card

    cards = [load_card(name) for name in card_paths()]
    if as_json:
        say(json.dumps([card.model_dump() for card in cards]))
        return
    for card in cards:
        counts = "/".join(f"{card.counts.get(part, '-')}" for part in ("train", "val", "test"))
        say(f"{card.name:27} {len(card.classes):5} classes  {counts:22} {card.title}")


def backbones(
    context: typer.Context,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    as_table: bool = typer.Option(False, "--table", help="Print the Markdown table of datasets/README.md."),
) -> None:
    """List on which models prompts can be tuned. Of open_clip's models: by which path, or why not."""
    from bench.prepare.survey import survey, table

    if as_table:
        refuse(context, "beside --table", "as_json")
    found = survey()
    if as_json:
        say(json.dumps([item._asdict() for item in found]))
    elif as_table:
        say(table(found))
    else:
        width = max(len(item.model) for item in found)
        for item in found:
            say(f"{item.model:{width}}  {item.path:8} {item.tokenizer:13} {item.why}".rstrip())
