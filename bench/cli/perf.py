"""`bench perf`: the engine's speed on this machine."""

import json

import typer

from bench.cli.arguments import JSON, refuse
from bench.devices import cores
from bench.machine import keep_freed_memory
from bench.output import say


def perf(
    context: typer.Context,
    threads: int = typer.Option(1, "--threads", help="Threads of torch."),
    repeats: int = typer.Option(5, "--repeats", min=1, help="Timed rounds; medians are printed."),
    device: str = typer.Option("cpu", "--device", help="cpu; or cuda, for the embedded tower alone."),
    extraction: bool = typer.Option(False, "--extraction", help="Time the extraction of features instead, on all cores."),
    as_json: bool = JSON,
) -> None:
    """Time the engine against CoOp's own step. On ViT-B-16's text tower with random weights; then on the embedded tower."""
    from bench import perf as timing
    from bench.devices import devices

    if extraction:
        refuse(context, "beside --extraction, which uses all cores and no GPU", "threads", "device")
        _extraction(repeats, as_json=as_json)
        return
    timing.check_threads(threads)
    used = devices(device)[0]
    if used != "cpu":
        refuse(context, f"on {used}: CoOp's step is timed on the CPU alone", "repeats")
    backbone = timing.random_backbone()
    lines = []
    for case in timing.CASES if used == "cpu" else ():
        found = timing.time_case(backbone, case, repeats)
        lines.append(found.as_dict())
        if not as_json:
            ratios = "  ".join(f"{name} {value:.2f}" for name, value in found.ratios.items())
            say(
                f"{found.name:14} {found.classes:4} classes {found.tokens:5} tokens  coop {found.coop:.3f} s  "
                f"ours {found.ours:.4f} s × {found.stacked} stacked  {ratios}  ({found.rate / 1e9:.0f} GFLOP/s)"
            )
            say(_where(found.shares))
    keep_freed_memory()  # as a worker does, which is what trains on the embedded tower
    lines.append(timing.embedded_rate(device=used) | {"threads": threads, "device": used})
    lines[-1]["by_what_is_tuned"] = timing.learner_rates(device=used)
    if as_json:
        say(json.dumps(lines))
    else:
        say(
            "{name}: {classes} classes, {stacked} runs stacked: {run_steps_per_second:.0f} run-steps/s, "
            "{over_floor:.2f} times the tower's floor".format(**lines[-1])
        )
        say(_where(lines[-1]["shares"]))
        say("  run-steps/s by what is tuned: " + ", ".join(f"{n} {rate:.0f}" for n, rate in lines[-1]["by_what_is_tuned"].items()))


def _extraction(repeats: int, *, as_json: bool) -> None:
    from bench.prepare.speed import CASES, time_extraction

    lines = []
    for case in CASES:
        lines.append(time_extraction(case, repeats, cores()))
        if not as_json:
            rates = ", ".join(f"{name} {rate:.1f}" for name, rate in lines[-1]["images_per_second"].items())
            ratios = "  ".join(f"{name} {ratio:.2f}" for name, ratio in lines[-1]["ratios"].items())
            spent = ", ".join(f"{name} {value:.1f}" for name, value in lines[-1]["cpu_milliseconds_per_image"].items())
            say(f"tower {case.tower}, {case.views} views, {cores()} cores: images/s {rates}  {ratios}  (CPU ms per image {spent})")
    if as_json:
        say(json.dumps(lines))


def _where(shares: dict[str, float]) -> str:
    """Where the time goes, as a line."""
    return "  " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
