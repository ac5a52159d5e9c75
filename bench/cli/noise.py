"""`bench noise`: the wrong labels of a run, to look at or to use elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli.arguments import path_option
from bench.files import write_json
from bench.output import say

if TYPE_CHECKING:
    from bench.engine.zero_shot import ZeroShot


def _zero_shot(dataset: str, backbone: str) -> "ZeroShot":
    from bench.data.cards import load_card
    from bench.engine.backbone import load_backbone
    from bench.engine.zero_shot import zero_shot_of

    return zero_shot_of(load_backbone(backbone), load_card(dataset))


def noise(
    dataset: str = typer.Argument(help="A dataset (bench datasets), or the path of a card."),
    protocol: str = typer.Argument(help="symmetric, pairflip, fp_symmetric, fp_even, fp_pairflip, instance, confusion, human …"),
    rate: float = typer.Argument(help="Share of wrong labels, in [0, 1]."),
    seed: int = typer.Option(1, min=0, max=2**63 - 1, help="The run's seed."),
    shots: int = typer.Option(16, min=0, help="Shots per class; 0: all."),
    backbone: str = typer.Option("embedded", help="Whose features; the labels depend on it under instance and confusion only."),
    out: Path | None = path_option(None, "--out", help="Write the images with their true and given labels here (JSON)."),
) -> None:
    """Show the given labels of a run under a noise. The rate that came out, their hash, and with --out the images."""
    from bench.data.load import load_run
    from bench.data.noise import check_rate, identifiable, protocol_of
    from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec

    check_rate(protocol, rate)
    spec = RunSpec(method=MethodSpec(name=""), dataset=dataset, task="", backbone=backbone, views=0, shots=shots,
                   noise=NoiseSpec(protocol=protocol, rate=rate), seed=seed, train=TrainSpec())  # fmt: skip
    data = load_run(spec, _zero_shot(dataset, backbone) if protocol_of(protocol).needs == "zero_shot" else None)
    say(f"{len(data.true)} images, {100 * data.realised_rate:.2f} % wrong labels, hash {data.noise_digest}")
    if not identifiable(protocol, rate, len(data.card.classes)):
        say("at this rate the true class need not be the most likely label: no method can tell it from the labels alone")
    if out is not None:
        names = data.card.classes
        rows = [
            {"path": path, "true": names[t] if data.true_known else None, "given": names[g]}
            for path, t, g in zip(data.paths, data.true, data.given, strict=True)
        ]
        content = {"dataset": data.card.name, "noise": protocol, "rate": rate, "seed": seed, "shots": shots,
                   "hash": data.noise_digest, "realised_rate": data.realised_rate if data.true_known else None}  # fmt: skip
        write_json(out, content | {"images": rows}, indent=1)
