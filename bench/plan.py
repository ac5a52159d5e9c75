"""The plan: which runs of a grid are done, failed or stale, which are to run, in which shards, and how long that takes."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from bench.backbones.description import describe as describe_backbone
from bench.data.cards import load_card
from bench.data.noise import kind
from bench.data.replaced import draw_halves
from bench.data.splits import draw_few_shot
from bench.data.task import check_ready, features_version, human_labels, replaces_images, split_of
from bench.engine import ENGINE_VERSION
from bench.engine.outcome import stack_key
from bench.errors import BenchError
from bench.files import sha256
from bench.grid import Grid, split_cells
from bench.results.store import Store
from bench.spec import RunSpec, cell_of, dataset_name, digest
from methods import registry
from methods.declared import Declared

State = Literal["done", "failed", "stale", "new", "excluded", "unavailable"]
Pace = dict[tuple[str, str, str, str], float]  # seconds per step, by (dataset or "", backbone, tunes, method or "")
STACK = 32  # runs per shard: throughput hardly grows beyond, and a killed worker loses at most one shard


@dataclass(frozen=True)
class PlannedRun:
    """A run of the grid, and where it stands."""

    spec: RunSpec
    versions: dict[str, Any]
    run_id: str
    state: State
    reason: str = ""  # why it is stale, excluded or unavailable


class Shard(NamedTuple):
    """Runs that train as one stack in one worker."""

    runs: tuple[PlannedRun, ...]

    @property
    def steps(self) -> int:
        """Training steps of all its runs."""
        return sum(run_steps(run.spec) for run in self.runs)


@dataclass(frozen=True, eq=False)
class Plan:
    """All runs of a grid and the shards that are still to run."""

    runs: list[PlannedRun]
    shards: list[Shard]
    seconds: float | None  # estimate for one worker, from the store's own history; None without one

    @cached_property
    def counts(self) -> dict[str, int]:
        """Runs by state, "total" (all but the excluded) and "to_run"."""
        found = dict.fromkeys(("done", "failed", "stale", "new", "excluded", "unavailable"), 0)
        for run in self.runs:
            found[run.state] += 1
        return {"total": len(self.runs) - found["excluded"], **found, "to_run": sum(len(shard.runs) for shard in self.shards)}

    def reasons(self, state: State) -> dict[str, int]:
        """Why runs are in a state, and how many for each reason."""
        found: dict[str, int] = defaultdict(int)
        for run in self.runs:
            if run.state == state:
                found[run.reason] += 1
        return dict(found)


def versions_of(spec: RunSpec, features: Callable[[str, str], str] = features_version) -> dict[str, Any]:
    """The versions of what computes a run: method (and methods it is composed with), engine and features.

    A plugin file is being worked on, so its content counts as well as the method's own version, with that of its own modules. So do
    the labels that people gave, where a run learns from them.

    Args:
        spec: The run.
        features: Gives the version of a dataset's features by a backbone; a plan remembers those it has asked for.

    Raises:
        BenchError: The run's features are missing or damaged, the method is an oracle and nobody knows the truth there, or it
            compares more augmented views than the run has.
    """
    declared = registry.declared(spec.method.name)
    facts = declared.facts
    if facts["views"] > max(1, spec.views):
        raise BenchError(
            f"'{spec.method.name}' compares {facts['views']} augmented views, the run has {spec.views}.",
            f"Set views = {facts['views']} or more.",
        )
    if (facts["contexts"] > 1 or facts["holds_text"]) and spec.method.tunes in ("clip_adapter", "tip_adapter"):
        raise BenchError(
            f"'{spec.method.name}' learns class features of its own, which a {spec.method.tunes} leaves as they are.",
            "Let it tune a prompt or a probe.",
        )
    if facts["oracle"] and load_card(spec.dataset).train_labels == "human":
        raise BenchError(
            f"'{spec.method.name}' is told the true labels or their noise rate, which nobody knows of '{spec.dataset}'.",
            f'Leave it out: exclude = [{{method = "{spec.method.name}", dataset = "{spec.dataset}"}}].',
        )
    inside = _parts(spec.method.name, spec.method.params)[1:]
    versions = {
        "method": facts["version"],
        "engine": ENGINE_VERSION,
        "features": features(spec.dataset, spec.backbone),
    }
    if source := source_of(spec):
        versions["source"] = source
    if kind(spec.noise.protocol) == "human" and load_card(spec.dataset).train_labels == "true":
        versions["labels"] = digest(human_labels(spec.dataset, spec.noise.protocol))
    return versions | ({"nested": [part.facts["version"] for part in inside]} if inside else {})


def source_of(spec: RunSpec) -> str:
    """The digest of the files of a run's methods, as they are now, that are being worked on; "" where there are none."""
    parts = _parts(spec.method.name, spec.method.params)
    paths = [path for part in parts for path in registry.sources(part.module)]
    return digest([sha256(path) for path in paths]) if paths else ""


def _parts(name: str, params: dict[str, Any]) -> list[Declared]:
    """What a method and all methods that it is composed with declare."""
    declared = registry.declared(name)
    inner = [params[key] for key in declared.facts["nested"]]
    return [declared, *(part for one in inner for part in _parts(one["name"], one))]


@lru_cache(maxsize=4096)
def training_size(dataset: str, shots: int, halved: bool) -> int:
    """Training samples of a few-shot draw, whichever the seed; `halved` where noise replaces images."""
    split = split_of(dataset)
    return len((draw_halves(split.train, shots, 0) if halved else draw_few_shot(split, shots, 0))[0])


def run_steps(spec: RunSpec) -> int:
    """SGD steps of a run with the engine's own batches."""
    if spec.train is None:
        return 0
    samples, batch = training_size(spec.dataset, spec.shots, replaces_images(spec.noise)), spec.train.batch_size
    whole = spec.train.drop_last and samples >= batch
    return spec.train.epochs * (samples // batch if whole else -(-samples // batch))


def make_plan(
    grid: Grid,
    store: Store,
    *,
    retry_failed: bool = False,
    stack: int = STACK,
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    most_seconds: float = math.inf,
) -> Plan:
    """The plan of a grid on a store.

    Args:
        grid: What is asked.
        store: What there is.
        retry_failed: Whether failed runs are to run again.
        stack: Most runs of a shard.
        workers: Shards are made smaller where that gives every worker one.
        part: (i, n): only the i-th of n parts, i from 1. Parts do not depend on what is done, so they never overlap.
        most_seconds: A shard takes no longer than this, as far as the history tells.

    Raises:
        BenchError: The grid is wrong.
    """
    specs, excluded = split_cells(grid)
    runs = _states(specs, store)
    wanted = {"new", "stale", "failed"} if retry_failed else {"new", "stale"}
    left = [run for run in _part(runs, *part) if run.state in wanted]
    pace = _pace(store) if left else {}
    shards = _shards(left, stack, workers, pace, most_seconds)
    outside = [PlannedRun(item.spec, {}, "", "excluded", item.rule) for item in excluded]
    times = [_seconds(shard.runs, pace) for shard in shards]
    return Plan(runs + outside, shards, None if None in times or not times else sum(filter(None, times)))


def _states(specs: Iterable[RunSpec], store: Store) -> list[PlannedRun]:
    done, failed, features, room = store.done(), store.failures(), cache(features_version), cache(_room)
    cells_done = {cell_of(run_id) for run_id in done}
    known: dict[object, dict[str, Any] | str] = {}  # per method, dataset, backbone and people's labels: versions, or why not
    lacking: dict[object, str] = {}  # per dataset, backbone and whatever else decides what data a run needs
    runs = []
    for spec in specs:
        key = (repr(spec.method), spec.dataset, spec.backbone, kind(spec.noise.protocol) == "human" and spec.noise.protocol)
        if key not in known:
            try:
                known[key] = versions_of(spec, features)
            except BenchError as error:
                known[key] = str(error)
        versions = known[key]
        if isinstance(versions, str):
            runs.append(PlannedRun(spec, {}, "", "unavailable", versions))
            continue
        run_id = spec.run_id(versions)
        state: State = "done" if run_id in done else "failed" if run_id in failed else "new"
        if state == "new" and spec.cell_id in cells_done:
            state = "stale"
        why = "" if state == "done" else _unready(spec, lacking, room)
        runs.append(PlannedRun(spec, {}, "", "unavailable", why) if why else PlannedRun(spec, versions, run_id, state))
    return runs


def _room(backbone: str) -> int:
    """The length of a backbone's prompts, in tokens."""
    return describe_backbone(backbone).context_length


def _unready(spec: RunSpec, known: dict[object, str], room: Callable[[str], int]) -> str:
    """Why a run could not start, for lack of data or of room for its context; "" where it could."""
    length = max(spec.train.n_ctx, len(spec.train.ctx_words.split())) if spec.train else 0  # a word is one token or more
    key = (spec.dataset, spec.backbone, spec.train is None, spec.views, spec.shots, spec.seed, spec.noise, length)
    if key not in known:
        try:
            check_ready(spec)
            whole = room(spec.backbone)
            long = f"a context of {length} tokens is too long: a whole prompt of '{spec.backbone}' has {whole}."
            known[key] = long if length > whole - 2 else ""  # a name and the end token take at least one each
        except BenchError as error:
            known[key] = str(error)
    return known[key]


def _part(runs: Sequence[PlannedRun], i: int, n: int) -> list[PlannedRun]:
    """The i-th of n parts of the available runs: every n-th shard of the whole grid, whatever is done of it."""
    available = [run for run in runs if run.state != "unavailable"]
    return available if n == 1 else [run for shard in _shards(available, STACK, n)[i - 1 :: n] for run in shard.runs]


def _shards(
    runs: Sequence[PlannedRun], stack: int, workers: int, pace: Pace | None = None, most_seconds: float = math.inf
) -> list[Shard]:
    """Runs that can stack, in equal parts of at most `stack`, the longest first.

    Parts are cut from the grid's order, which goes method by method: the runs of a method share one call of its loss.
    """
    size = max(1, min(stack, max(8, -(-len(runs) // workers))))
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        groups[stack_key(run.spec)].append(run)
    shards = []
    for group in groups.values():
        together = _seconds(group, pace or {}) or 0.0
        fitting = most_seconds * len(group) / together if together else math.inf
        parts = -(-len(group) // int(max(1, min(size, fitting))))
        bounds = [len(group) * part // parts for part in range(parts + 1)]
        shards += [Shard(tuple(group[first:last])) for first, last in itertools.pairwise(bounds)]
    return sorted(shards, key=lambda shard: -shard.steps)


def _pace(store: Store) -> Pace:
    """Seconds per training step in the store's finished runs."""
    if not store.done():
        return {}
    from bench.results.frame import pace  # noqa: PLC0415 - Arrow is needed only where there is a history

    return pace(store.root)


def _seconds(runs: Sequence[PlannedRun], pace: Pace) -> float | None:
    """What runs take on one worker: by the pace of their method on their dataset, else of others, else elsewhere; or None."""
    seconds = 0.0
    for spec in (run.spec for run in runs if run.spec.train):
        places = [(where, spec.backbone, spec.method.tunes) for where in (dataset_name(spec.dataset), "")]
        known = (pace.get((*place, method)) for place in places for method in (spec.method.name, ""))
        if (rate := next(filter(None, known), None)) is None:
            return None
        seconds += rate * run_steps(spec)
    return seconds


def describe(plan: Plan) -> dict[str, Any]:
    """The plan for tools: counts, shards, estimate and reasons."""
    return {
        "counts": plan.counts,
        "shards": [
            {"dataset": dataset_name(shard.runs[0].spec.dataset), "runs": len(shard.runs), "steps": shard.steps}
            for shard in plan.shards
        ],
        "seconds": plan.seconds,
        "excluded": plan.reasons("excluded"),
        "unavailable": plan.reasons("unavailable"),
        "to_run": [run.run_id for shard in plan.shards for run in shard.runs],
    }
