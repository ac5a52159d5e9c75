"""A grid file (TOML) and the runs it asks for."""

import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import ConfigDict, Field, ValidationError

from bench.backbones.description import check_name
from bench.data.cards import card_paths, find_card
from bench.data.noise import check_rate
from bench.data.task import task_digest
from bench.errors import BenchError, invalid, nearest
from bench.files import parse_toml, read_text, resolved
from bench.presets import PARAMS, PRESETS
from bench.spec import Frozen, MethodSpec, NoiseSpec, RunSpec, TrainSpec, Tunes, dataset_name
from methods import registry

MOST_CELLS = 200_000  # of a grid: expanding 40,000 takes 8 s and 60 MB, and no published one has as many
Whole = Annotated[int, Field(ge=0, lt=2**63)]  # what the stored columns can hold


class Grid(Frozen):
    """What a grid file may say. Every list multiplies."""

    model_config = ConfigDict(strict=True)  # `rate = true` is not 1, nor `shots = ["16"]` 16

    name: str = Field(default="grid", pattern=r"^[\w-][\w.-]*$")  # names files, so no slashes
    preset: str = "coop50"  # a training protocol of `bench.presets`
    # [train] overrides single fields of it, and a list multiplies (a learning-rate grid); several [[train]] are several protocols
    train: dict[str, Any] | list[dict[str, Any]] = Field(default_factory=dict)
    select: Literal["noisy_val", "clean_val"] | None = None  # how reports choose among learning rates; clean_val is an oracle
    methods: list[str | dict[str, Any]] = Field(min_length=1)  # names, globs, or {name = "gce", q = [0.5, 0.7], tunes = "…"}
    datasets: list[str] = Field(min_length=1)  # shipped names, globs, or paths of cards
    backbones: list[str] = Field(default=["embedded"], min_length=1)
    views: Whole = 8
    shots: list[Whole] = Field(default=[16], min_length=1)
    noise: dict[str, list[float]] = Field(min_length=1)  # protocol -> rates; rate 0 is clean whatever the protocol
    seeds: list[Whole] = Field(default=[1, 2, 3], min_length=1)
    exclude: list[dict[str, Any]] = Field(default_factory=list)  # e.g. {method = "joapr", noise = "pairflip", rate = 0.5}


EXCLUDABLE = ("method", "tunes", "dataset", "backbone", "shots", "noise", "rate", "seed")


class Excluded(NamedTuple):
    """A cell that an [[exclude]] rule of the grid takes out."""

    spec: RunSpec
    rule: str


def read_grid(path: Path) -> Grid:
    """The grid of a file; its relative card paths are relative to the file.

    Raises:
        BenchError: The file is missing, is not TOML, or has unknown or ill-typed keys.
    """
    text = read_text(path, "grid file", "Name an existing TOML file.")
    try:
        grid = Grid.model_validate(parse_toml(text, f"grid file {path}"))
    except ValidationError as error:
        raise invalid(f"grid file {path}", error, Grid.model_fields) from error
    cards = [str(resolved(name, path.parent)) if name.endswith(".toml") else name for name in grid.datasets]
    return grid.model_copy(update={"datasets": cards})


def _limit(cells: int) -> None:
    """Refuse a grid that memory may not hold, before it is expanded."""
    if cells > MOST_CELLS:
        raise BenchError(f"the grid asks for {cells:,} runs; at most {MOST_CELLS:,} fit in one.", "Split it into several files.")


def _products(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All combinations of a table whose lists are choices."""
    for key, value in options.items():
        if value == []:
            raise BenchError(f"'{key}' is an empty list, so the grid has no run.", "Give at least one value.")
    choices = [value if isinstance(value, list) else [value] for value in options.values()]
    _limit(math.prod(map(len, choices)))
    for chosen in itertools.product(*choices):
        yield dict(zip(options, chosen, strict=True))


Params = Mapping[str, dict[str, Any]]  # hyper-parameters by method


def _fill(name: str, given: dict[str, Any], papers: Params, outer: tuple[str, ...] = ()) -> MethodSpec:
    """A method with its defaults filled in; a parameter that names another method is filled in likewise.

    Args:
        name: The method.
        given: Hyper-parameters that a grid sets.
        papers: What the preset's paper sets of a method, where the grid does not.
        outer: The methods that it is a part of.
    """
    if name in outer:
        raise BenchError(f"method '{name}' cannot be a part of itself.", "Compose it with another one.")
    known, nested = registry.defaults(name), registry.declared(name).facts["nested"]
    for key in given:
        if key not in known:
            raise BenchError(f"method '{name}' has no hyper-parameter '{key}'.", nearest(key, known) if known else "It has none.")
    chosen = {key: value if key in nested else _typed(name, key, known[key], value) for key, value in given.items()}
    params = known | papers.get(name, {}) | chosen
    filled = params | {key: fill_nested(params[key], papers, (*outer, name)) for key in nested}
    if any(key in nested for key in given):  # whether the two go together, the outer one's code knows
        try:
            registry.create(name, **filled)
        except ValueError as error:
            raise BenchError(f"{error}.", "Compose it with another one.") from error
    return MethodSpec(name=name, params=registry.used(name, filled))


def _tuning(spec: MethodSpec, tunes: Any) -> MethodSpec:
    """The method tuning what a grid says; one that trains nothing tunes nothing else either."""
    if tunes not in get_args(Tunes):
        raise BenchError(f"nothing that can be tuned is called {tunes!r}.", nearest(str(tunes), get_args(Tunes)))
    return spec.model_copy(update={"tunes": tunes}) if registry.declared(spec.name).facts["train"] else spec


def fill_nested(value: Any, papers: Params, outer: tuple[str, ...] = ()) -> dict[str, Any]:
    """A method that another's hyper-parameter names, as {"name": …} with all of its own hyper-parameters; else as `_fill`."""
    if not isinstance(value, str | dict):
        raise BenchError(f"{value!r} does not name a method.", 'Write a name, or {name = "gce", q = 0.5}.')
    options = {"name": value} if isinstance(value, str) else dict(value)
    inner = str(options.pop("name", ""))
    if inner not in registry.names():
        raise BenchError(f"no method is called '{inner}'.", nearest(inner, registry.names()))
    spec = _fill(inner, options, papers, outer)
    return {"name": spec.name, **spec.params}


def _typed(method: str, key: str, default: Any, value: Any) -> Any:
    """The value in its default's type, so that 1 and 1.0 are one cell."""
    if isinstance(default, float) and type(value) is int and abs(value) < 2**63:
        value = float(value)
    wrong = registry.out_of_range(method, key, value)
    if isinstance(value, float) and not math.isfinite(value):
        wrong = "is not a finite number"
    elif type(value) is not type(default) and not (default is None and isinstance(value, bool | int | float | str)):
        wrong = f"is not of type {type(default).__name__}"
    if wrong:
        raise BenchError(f"method '{method}': {key} = {value!r} {wrong}.", f"The default is {default!r}.")
    return value


def expand_methods(entries: list[str | dict[str, Any]], preset: str = "") -> list[MethodSpec]:
    """The methods a grid names, each once; what a grid leaves open is as the preset's paper has it, else the method's default.

    Raises:
        BenchError: An unknown name or hyper-parameter, or a glob that matches nothing.
    """
    known, papers, found = registry.names(), PARAMS.get(preset, {}), list[MethodSpec]()
    for entry in entries:
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        pattern = str(options.pop("name", ""))
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise BenchError(f"no method is called '{pattern}'.", nearest(pattern, known))
        for name, chosen in itertools.product(matches, _products(options)):
            tunes = chosen.pop("tunes", "prompt")
            if name == pattern and tunes != "prompt" and not registry.declared(name).facts["train"]:
                raise BenchError(f"method '{name}' trains nothing, so tunes = {tunes!r} has no meaning.", "Leave it out.")
            found.append(_tuning(_fill(name, chosen, papers), tunes))
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


def expand_train(preset: str, overrides: dict[str, Any] | list[dict[str, Any]]) -> list[TrainSpec]:
    """The training protocols of a preset and its overrides; a list of values (a learning-rate grid) multiplies."""
    if preset not in PRESETS:
        raise BenchError(f"no preset is called '{preset}'.", nearest(preset, PRESETS))
    if isinstance(overrides, list):
        return list(dict.fromkeys(train for table in overrides for train in expand_train(preset, table)))
    for key in overrides:
        if key not in TrainSpec.model_fields:
            raise BenchError(f"[train] has no key '{key}'.", nearest(key, TrainSpec.model_fields))
    usual = PRESETS[preset].model_dump()
    try:
        trains = [TrainSpec.model_validate(usual | chosen, strict=True) for chosen in _products(overrides)]
    except ValidationError as error:
        raise invalid("[train]", error, TrainSpec.model_fields) from error
    for train in trains:
        if train.warmup_epochs > train.epochs:
            longer = f"{train.warmup_epochs} epochs is longer than the {train.epochs} epochs of training"
            raise BenchError(f"[train] a warm-up of {longer}.", "Set warmup_epochs to fewer.")
    return trains


def expand_noise(noise: dict[str, list[float]]) -> list[NoiseSpec]:
    """Protocol × rate; all zero rates are one clean setting."""
    found = []
    for protocol, rates in noise.items():
        check_rate(protocol, 0)
        for rate in rates:
            check_rate(protocol, rate)
            found.append(NoiseSpec(protocol=protocol, rate=rate) if rate > 0 else NoiseSpec())
    if not found:
        raise BenchError("[noise] has no rate.", "Give one, such as symmetric = [0.0, 0.25, 0.5].")
    return list(dict.fromkeys(found))


def _check_rules(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        if not rule:
            raise BenchError("an [[exclude]] rule is empty.", f"It names some of: {', '.join(EXCLUDABLE)}.")
        for key in rule:
            if key not in EXCLUDABLE:
                raise BenchError(f"[[exclude]] has no key '{key}'.", nearest(key, EXCLUDABLE))
            if isinstance(rule[key], bool) or not isinstance(rule[key], str | int | float):
                raise BenchError(f"[[exclude]] {key} = {rule[key]!r} is neither a text nor a number.", "Write one rule per value.")


def _matches(rule: dict[str, Any], spec: RunSpec) -> bool:
    """Whether a rule takes the cell out: text matches as a glob, a number by equality."""
    have = {"method": spec.method.name, "tunes": spec.method.tunes, "dataset": dataset_name(spec.dataset),
            "backbone": spec.backbone, "shots": spec.shots, "noise": spec.noise.protocol, "rate": spec.noise.rate,
            "seed": spec.seed}  # fmt: skip
    return all(fnmatch.fnmatch(str(have[k]), v) if isinstance(v, str) else have[k] == v for k, v in rule.items())


def _task(dataset: str) -> str:
    """The digest of a dataset's task; "" where its split is not here: a plan then calls its cells unavailable and says why."""
    try:
        return task_digest(dataset)
    except BenchError:
        return ""


def _cells(grid: Grid) -> Iterator[RunSpec]:
    """Every combination, before exclusions. A method that learns from no shot is one cell per dataset and backbone."""
    trains, noises = expand_train(grid.preset, grid.train), expand_noise(grid.noise)
    methods, datasets = expand_methods(grid.methods, grid.preset), expand_datasets(grid.datasets)
    for backbone in grid.backbones:
        check_name(backbone)
    settings = len(grid.backbones) * len(grid.shots) * len(noises) * len(grid.seeds) * len(trains)
    _limit(len(methods) * len(datasets) * settings)
    for method, dataset, backbone in itertools.product(methods, datasets, grid.backbones):
        base = {"method": method, "dataset": dataset, "task": _task(dataset), "backbone": backbone}
        facts = registry.declared(method.name).facts
        if not (facts["train"] or facts["from_shots"]):
            yield RunSpec(**base, views=0, shots=0, noise=NoiseSpec(), seed=0, train=None)
            continue
        for shots, noise, seed, train in itertools.product(grid.shots, noises, grid.seeds, trains if facts["train"] else [None]):
            yield RunSpec(**base, views=grid.views, shots=shots, noise=noise, seed=seed, train=train, from_shots=not facts["train"])


def split_cells(grid: Grid) -> tuple[list[RunSpec], list[Excluded]]:
    """The runs of a grid and the cells that its [[exclude]] rules take out, each cell once.

    Raises:
        BenchError: Unknown names or values, a learning-rate grid without a selector, or nothing left after the exclusions.
    """
    _check_rules(grid.exclude)
    if grid.select is None and len({train.lr for train in expand_train(grid.preset, grid.train)}) > 1:
        raise BenchError(
            "[train] lr has several values, but the grid does not say how to choose among them.",
            'Add select = "noisy_val" (or "clean_val", which is marked as an oracle).',
        )
    left: dict[str, RunSpec] = {}
    out: dict[str, Excluded] = {}
    texts = [", ".join(f"{key} = {value}" for key, value in rule.items()) for rule in grid.exclude]
    unused = dict.fromkeys(texts)
    for spec in _cells(grid):
        rules = [text for text, rule in zip(texts, grid.exclude, strict=True) if _matches(rule, spec)]
        for rule in rules:
            unused.pop(rule, None)
        if rules:
            out.setdefault(spec.cell_id, Excluded(spec, rules[0]))
        else:
            left.setdefault(spec.cell_id, spec)
    if unused:
        raise BenchError(f"the [[exclude]] rule {next(iter(unused))} matches no cell of the grid.", "Correct or remove it.")
    if not left:
        raise BenchError("the grid has no run left after its exclusions.", "Remove an [[exclude]] rule.")
    return list(left.values()), list(out.values())


def expand(grid: Grid) -> list[RunSpec]:
    """The runs of a grid, each cell once (see `split_cells`)."""
    return split_cells(grid)[0]
