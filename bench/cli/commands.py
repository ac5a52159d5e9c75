"""Which module holds which command."""

import typer

from bench.cli import listing


def register(app: typer.Typer) -> None:
    """Add all commands to the application."""
    app.command("methods")(listing.methods)
    app.command("datasets")(listing.datasets)
