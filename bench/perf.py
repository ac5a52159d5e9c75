"""How fast the engine is, against CoOp's own step on the same tower, how far from the floor, and where the time goes.

Every case times its variants in turn, over and over, and gives medians: a machine that slows down slows all of them.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, get_args

import open_clip
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.cards import load_card
from bench.engine.backbone import TextBackbone, load_backbone, text_tower, tokens_of
from bench.engine.plain import PlainPath
from bench.engine.prompts import initial_contexts, make_prompts
from bench.engine.shared import SharedPath
from bench.engine.train import train_stack
from bench.errors import BenchError
from bench.grid import Grid, expand
from bench.spec import TrainSpec, Tunes

BATCH = 32  # images per step
SQUARE = 2048  # side of the large product that gives the machine's best rate
# Parts of an operator's name, and what it is counted as: the first that fits.
KINDS = {
    "bmm": "attention and loss",
    "softmax": "attention and loss",
    "mm": "matrix products",
    "gelu": "activations",
    "layer_norm": "layer norms",
}


class Case(NamedTuple):
    """Class names of a dataset, and how many runs are stacked."""

    dataset: str
    stacked: int


CASES = (Case("caltech101", 4), Case("eurosat", 16), Case("stanford_cars", 4))


@dataclass(frozen=True)
class Timing:
    """Median seconds of one step of one run, and what follows from them."""

    name: str
    classes: int
    stacked: int
    tokens: int  # that the shared path computes per context
    coop: float  # prompts of 77 tokens, torch's fused causal attention
    cut: float  # the same, cut to the longest name
    ours: float  # stacked, per run
    alone: float  # one run
    rate: float  # operations per second of a large square product
    floor: float  # seconds that all distinct tokens through all blocks take at that rate
    shares: dict[str, float]  # of our stacked step's time, by kind of operation

    @property
    def ratios(self) -> dict[str, float]:
        """CoOp's time over ours, and ours over the floor."""
        return {
            "coop / ours": self.coop / self.ours,
            "coop / ours alone": self.coop / self.alone,
            "cut / ours": self.cut / self.ours,
            "ours / floor": self.ours / self.floor,
        }

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return asdict(self) | self.ratios


class _Clock(TorchDispatchMode):
    """Adds up the seconds of every operation while it is on, by kind."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kind = next((kind for part, kind in KINDS.items() if part in func.name()), "")
        started = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        self.seconds[kind] += time.perf_counter() - started
        return result


def shares(work: Callable[[], Any], seconds: float) -> dict[str, float]:
    """How much of `seconds`, which the work takes without a clock, each kind of operation takes, the largest first.

    All others, and Python, are what is left: they are many and small, and the clock would time itself.
    """
    with _Clock() as clock:
        work()
    clock.seconds.pop("", None)
    found = {kind: spent / seconds for kind, spent in sorted(clock.seconds.items(), key=lambda item: -item[1])}
    return found | {"copies, sums and Python": max(0.0, 1 - sum(found.values()))}


class CoOpPath:
    """CoOp's forward pass as it is, with the fastest attention torch offers: all tokens of every prompt, causal fused attention."""

    def __init__(self, plain: PlainPath) -> None:
        self.plain, self.tower = plain, plain.tower
        self.end = plain.ids.argmax(dim=-1)  # [C]

    def __call__(self, contexts: Tensor) -> Tensor:
        """[1, n_ctx, W] to [1, C, D]."""
        (classes, length, width), n_ctx = self.plain.embedded.shape, contexts.shape[1]
        parts = [self.plain.embedded[:, :1], contexts.expand(classes, -1, -1), self.plain.embedded[:, 1 + n_ctx :]]
        x = torch.cat(parts, dim=1) + self.tower.positional_embedding[:length]  # [C, L, W]
        for block in self.tower.transformer.resblocks:
            heads = block.attn.num_heads
            qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
            q, k, v = qkv.view(classes, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(classes, length, width)
            x = x + block.attn.out_proj(attended)
            x = x + block.mlp(block.ln_2(x))
        return self.tower.finish(x[torch.arange(classes), self.end])[None]


def medians(variants: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each variant: one warm-up, then all of them in turn, `repeats` times."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, variant in variants.items():
            started = time.perf_counter()
            variant()
            if repeat:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def random_backbone(model: str = "ViT-B-16") -> TextBackbone:
    """A backbone of open_clip's with random weights: speed does not depend on them."""
    made = open_clip.create_model(model)
    made.visual = nn.Identity()
    return TextBackbone(text_tower(made), tokens_of(open_clip.get_tokenizer(model)), 100.0)


def time_case(backbone: TextBackbone, case: Case, repeats: int) -> Timing:
    """Time a case's variants on a tower."""
    train = TrainSpec()
    names = load_card(case.dataset).class_names
    prompts = make_prompts(backbone, names, train)
    shared = SharedPath(backbone.tower, prompts)
    coop, cut = (CoOpPath(PlainPath(backbone.tower, prompts, full=full)) for full in (True, False))
    context = initial_contexts(backbone, train, 1, 1, len(names))
    images = F.normalize(torch.randn(BATCH, coop(context).shape[-1]), dim=-1)
    labels = torch.arange(BATCH) % len(names)

    def step(path: Callable[[Tensor], Tensor], stacked: int = 1) -> Callable[[], Any]:
        def run() -> None:
            leaf = context.expand(stacked, -1, -1).clone().requires_grad_()
            logits = backbone.scale * torch.einsum("bd,scd->sbc", images, path(leaf))
            loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(stacked))
            torch.autograd.grad(loss, leaf)

        return run

    left, right = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    ours = {"ours": step(shared, case.stacked), "alone": step(shared)}
    taken = medians({"coop": step(coop), "cut": step(cut), **ours, "square": lambda: left @ right}, repeats)
    rate = 2 * SQUARE**3 / taken["square"]
    return Timing(
        case.dataset, len(names), case.stacked, shared.n_tokens, taken["coop"], taken["cut"], taken["ours"] / case.stacked,
        taken["alone"], rate, shared.floor_operations() / rate, shares(ours["ours"], taken["ours"]),
    )  # fmt: skip


def embedded_rate(stacked: int = 32, dataset: str = "icons_arrows", device: str = "cpu") -> dict[str, Any]:
    """Run-steps per second of whole training runs (losses, optimiser and evaluation included) on the embedded tower."""
    grid = Grid(
        methods=["coop_ce", "gce", "mae", "dspt"], datasets=[dataset], noise={"symmetric": [0.5]}, seeds=list(range(stacked // 4)),
        train={"epochs": 10},
    )  # fmt: skip
    specs = expand(grid)
    train_stack(specs, device=device)  # a warm-up: files are read, the paths compared
    counted: list[int] = []
    left, right = torch.randn(2, SQUARE, SQUARE, device=device)

    def product() -> float:
        return float((left @ right)[0, 0])  # a GPU has finished when a value is read

    square = medians({"square": product}, 3)["square"]
    started = time.perf_counter()
    train_stack(specs, device=device, progress=counted.append)
    seconds = time.perf_counter() - started
    backbone, train = load_backbone("embedded"), specs[0].train
    assert train is not None
    path = SharedPath(backbone.tower, make_prompts(backbone, load_card(dataset).class_names, train))
    floor = sum(counted) * path.floor_operations() * square / (2 * SQUARE**3)  # seconds
    return {
        "shares": shares(lambda: train_stack(specs, device=device), seconds),
        "name": f"embedded, {dataset}",
        "classes": len(load_card(dataset).classes),
        "stacked": len(specs),
        "run_steps_per_second": sum(counted) / seconds,
        "over_floor": seconds / floor,  # of all that a run takes: losses, optimiser and evaluation too
    }


def learner_rates(stacked: int = 32, dataset: str = "icons_arrows", device: str = "cpu") -> dict[str, float]:
    """Run-steps per second of whole training runs on the embedded tower, by what is tuned."""
    rates = {}
    for tunes in get_args(Tunes):
        entries: list[str | dict[str, Any]] = [{"name": name, "tunes": tunes} for name in ("coop_ce", "gce", "mae", "dspt")]
        seeds = list(range(stacked // 4))
        specs = expand(Grid(methods=entries, datasets=[dataset], noise={"symmetric": [0.5]}, seeds=seeds, train={"epochs": 10}))
        counted: list[int] = []
        started = time.perf_counter()
        train_stack(specs, device=device, progress=counted.append)
        rates[tunes] = sum(counted) / (time.perf_counter() - started)
    return rates


def check_threads(threads: int) -> None:
    """Set torch's threads.

    Raises:
        BenchError: Fewer than one.
    """
    if threads < 1:
        raise BenchError(f"--threads {threads} is not a number of threads.", "Give 1 or more.")
    torch.set_num_threads(threads)
