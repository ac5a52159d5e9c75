"""Which module holds which command."""

from functools import cache

import typer

from bench.cli import check, data, demo, doctor, export, features, listing, noise, perf, reporting, runs, storing


@cache  # a second `main` of one process, as tests call it, finds them there
def register(app: typer.Typer) -> None:
    """Add all commands to the application, once."""
    app.command("demo")(demo.demo)
    app.command("methods")(listing.methods)
    app.command("datasets")(listing.datasets)
    app.command("backbones")(listing.backbones)
    app.command("report")(reporting.report)
    app.command("perf")(perf.perf)
    app.command("export")(export.export)
    app.command("compare")(reporting.compare)
    app.command("reproduce")(reporting.reproduce)
    app.command("plan")(runs.plan)
    app.command("run")(runs.run)
    app.command("status")(runs.status)
    app.command("check-method")(check.check_method)
    app.command("curves")(check.curves)
    app.add_typer(data.app, name="data")
    app.add_typer(features.app, name="features")
    app.command("doctor")(doctor.doctor)
    app.add_typer(storing.app, name="store")
    app.command("import")(storing.import_csv)
    app.command("noise")(noise.noise)
