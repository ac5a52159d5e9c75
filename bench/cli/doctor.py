"""`bench doctor`: is everything there, and what to do where it is not."""

import json

import typer

from bench.cli.arguments import JSON
from bench.errors import ENVIRONMENT, BenchError
from bench.output import say


def doctor(
    dataset: str = typer.Argument("", help="Only this dataset, besides the machine."),
    as_json: bool = JSON,
) -> None:
    """Check Python, torch, disk, weights, data and Slurm. Exit code 3 where something is broken."""
    from bench.prepare.doctor import look

    found = []
    for finding in look(dataset):
        found.append(finding)
        if not as_json and not (finding.area in ("cache", "python") and finding.status == "ok"):
            say(f"{finding.status:8} {finding.area:8} {finding.name}: {finding.detail}")
            if finding.do and finding.status != "ok":
                say(f"{'':18}{finding.do}")
    broken = [finding for finding in found if finding.status == "broken"]
    if as_json:
        say(json.dumps([finding._asdict() for finding in found]))
    else:
        counts = {area: sum(f.area == area and f.status == "ok" for f in found) for area in ("python", "cache")}
        say(f"ok       {counts['python']} packages, {counts['cache']} caches of features")
    if broken:
        raise BenchError(f"{len(broken)} of {len(found)} things looked at are broken, as told above.", "", ENVIRONMENT)
