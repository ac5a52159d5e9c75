"""A grid file (TOML) and the runs it asks for."""

import fnmatch
import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from bench.data.cards import card_paths, find_card
from bench.data.noise import PROTOCOLS
from bench.data.task import task_digest
from bench.errors import BenchError, nearest
from bench.presets import PRESETS
from bench.spec import Frozen, MethodSpec, NoiseSpec, RunSpec, TrainSpec
from methods import registry


class Grid(Frozen):
    """What a grid file may say. Every list multiplies."""

    name: str = "grid"
    preset: str = "coop50"  # a training protocol of `bench.presets`
    train: dict[str, Any] = Field(default_factory=dict)  # overrides single fields of it; a list multiplies (a learning-rate grid)
    methods: list[str | dict[str, Any]] = Field(min_length=1)  # names, globs, or {name = "gce", q = [0.5, 0.7]}
    datasets: list[str] = Field(min_length=1)  # shipped names, globs, or paths of cards
    backbones: list[str] = Field(default=["embedded"], min_length=1)
    views: int = Field(default=8, ge=0)
    shots: list[int] = Field(default=[16], min_length=1)
    noise: dict[str, list[float]] = Field(min_length=1)  # protocol -> rates; rate 0 is clean whatever the protocol
    seeds: list[int] = Field(default=[1, 2, 3], min_length=1)
    exclude: list[dict[str, Any]] = Field(
        default_factory=list
    )  # e.g. {method = "joapr", dataset = "icons_*", noise = "pairflip", rate = 0.5}


EXCLUDABLE = ("method", "dataset", "backbone", "shots", "noise", "rate", "seed")


def read_grid(path: Path) -> Grid:
    """The grid of a file.

    Raises:
        BenchError: The file is missing, is no TOML, or has unknown or ill-typed keys.
    """
    try:
        return Grid.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BenchError(f"grid file {path} cannot be read ({error.strerror}).", "Name an existing TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"grid file {path} is no valid TOML: {error}.", "Correct the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        hint = nearest(key, Grid.model_fields) if first["type"] == "extra_forbidden" else "Correct the value."
        raise BenchError(f"grid file {path}: '{'.'.join(map(str, first['loc']))}': {first['msg']}.", hint) from error


def _products(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of a table whose lists are choices."""
    choices = [value if isinstance(value, list) else [value] for value in options.values()]
    for chosen in itertools.product(*choices):
        yield dict(zip(options, chosen, strict=True))


def _fill(name: str, given: dict[str, Any]) -> MethodSpec:
    """A method with its defaults filled in; a parameter that names another method is filled in likewise."""
    known = registry.defaults(name)
    for key in given:
        if key not in known:
            raise BenchError(f"method '{name}' has no hyper-parameter '{key}'.", nearest(key, known) if known else "It has none.")
    return MethodSpec(name=name, params=known | given)


def expand_methods(entries: list[str | dict[str, Any]]) -> list[MethodSpec]:
    """The methods a grid names, each once.

    Raises:
        BenchError: An unknown name or hyper-parameter, or a glob that matches nothing.
    """
    known, found = registry.names(), []
    for entry in entries:
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        pattern = str(options.pop("name", ""))
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise BenchError(f"no method is called '{pattern}'.", nearest(pattern, known))
        found += [_fill(name, chosen) for name in matches for chosen in _products(options)]
    return list({spec.model_dump_json(): spec for spec in found}.values())


def expand_datasets(entries: list[str]) -> list[str]:
    """The datasets a grid names, each once; globs match shipped cards."""
    known, found = card_paths(), []
    for entry in entries:
        matches = fnmatch.filter(known, entry) if any(mark in entry for mark in "*?[") else [entry]
        if not matches:
            raise BenchError(f"no dataset matches '{entry}'.", nearest(entry, known))
        for match in matches:
            find_card(match)
        found += matches
    return list(dict.fromkeys(found))


def expand_train(preset: str, overrides: dict[str, Any]) -> list[TrainSpec]:
    """The training protocols of a preset and its overrides; a list of values (a learning-rate grid) multiplies."""
    if preset not in PRESETS:
        raise BenchError(f"no preset is called '{preset}'.", nearest(preset, PRESETS))
    for key in overrides:
        if key not in TrainSpec.model_fields:
            raise BenchError(f"[train] has no key '{key}'.", nearest(key, TrainSpec.model_fields))
    try:
        return [TrainSpec.model_validate(PRESETS[preset].model_dump() | chosen) for chosen in _products(overrides)]
    except ValidationError as error:
        first = error.errors()[0]
        raise BenchError(f"[train] '{first['loc'][0]}': {first['msg']}.", "Correct the value.") from error


def expand_noise(noise: dict[str, list[float]]) -> list[NoiseSpec]:
    """Protocol × rate; all zero rates are one clean setting."""
    found = []
    for protocol, rates in noise.items():
        if protocol not in PROTOCOLS:
            raise BenchError(f"no noise protocol is called '{protocol}'.", nearest(protocol, PROTOCOLS))
        for rate in rates:
            if not 0 <= rate <= 1:
                raise BenchError(f"[noise] {protocol}: rate {rate} is outside [0, 1].", "Rates are shares, such as 0.25.")
            found.append(NoiseSpec(protocol=protocol, rate=rate) if rate > 0 else NoiseSpec())
    return list(dict.fromkeys(found))


def _excluded(spec: RunSpec, rules: list[dict[str, Any]]) -> bool:
    have = {"method": spec.method.name, "dataset": spec.dataset, "backbone": spec.backbone, "shots": spec.shots,
            "noise": spec.noise.protocol, "rate": spec.noise.rate, "seed": spec.seed}  # fmt: skip
    return any(all(fnmatch.fnmatch(have[k], v) if isinstance(v, str) else have[k] == v for k, v in rule.items()) for rule in rules)


def expand(grid: Grid) -> list[RunSpec]:
    """The runs of a grid, each cell once.

    A method without training ignores shots, views, noise, seed and protocol: it is one cell per dataset and backbone.

    Raises:
        BenchError: Unknown names or values, or nothing left after the exclusions.
    """
    for rule in grid.exclude:
        for key in rule:
            if key not in EXCLUDABLE:
                raise BenchError(f"[[exclude]] has no key '{key}'.", nearest(key, EXCLUDABLE))
    trains, noises, datasets = (
        expand_train(grid.preset, grid.train),
        expand_noise(grid.noise),
        expand_datasets(grid.datasets),
    )
    runs: dict[str, RunSpec] = {}
    for method in expand_methods(grid.methods):
        learns = registry.load(method.name).train
        for dataset, backbone in itertools.product(datasets, grid.backbones):
            base = {"method": method, "dataset": dataset, "task": task_digest(dataset), "backbone": backbone}
            if not learns:
                spec = RunSpec(**base, views=0, shots=0, noise=NoiseSpec(), seed=0, train=None)
                runs[spec.cell_id] = spec
                continue
            for shots, noise, seed, train in itertools.product(grid.shots, noises, grid.seeds, trains):
                spec = RunSpec(**base, views=grid.views, shots=shots, noise=noise, seed=seed, train=train)
                runs[spec.cell_id] = spec
    left = [spec for spec in runs.values() if not _excluded(spec, grid.exclude)]
    if not left:
        raise BenchError("the grid has no run left after its exclusions.", "Remove an [[exclude]] rule.")
    return left
