"""Step 3: train the small CLIP on the pretraining icons.

    python pretrain.py --work DIR --out MODEL_FOLDER --minutes 75 [--threads 1]

Time is the budget: the learning rate follows the share of `--minutes` that has been trained, so the run ends on time on any
machine (and a faster machine simply sees more icons). Every few minutes DIR/pretrain/checkpoint.pt is written and the run goes
on from there when started again. MODEL_FOLDER gets the configuration, the cut merges file, the log and, at each checkpoint, the
weights in half precision.

One epoch does not exist here: every batch draws distinct concepts (a caption that fits two pictures of a batch would be a wrong
negative), an icon that has v variants of its concept in its set with weight v^-.5.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from captions import CONTEXT, SHORT, Captioner, short_caption
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

MERGES = 6000
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 32, "layers": 6, "width": 192, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 256 * 2 + MERGES + 2, "width": 128, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"},
}
PROMPT = "an icon of a {}."


def write_tokenizer(folder: Path) -> SimpleTokenizer:
    """open_clip's merges cut to the first 6,000 (no newline at the end: it would become an empty token)."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode("utf-8").split("\n")[: MERGES + 1]
    path = folder / "bpe_6000.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8"), mtime=0))
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT)


class Icons:
    """The pretraining pictures and their words, with a few (set, concept) groups kept aside to watch the training."""

    def __init__(self, folder: Path, icons_json: Path, seed: int = 0) -> None:
        self.pixels = np.load(folder / "pixels.npy", mmap_mode="r")  # read at random: it should fit in the page cache
        self.facts = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
        sets = json.loads((icons_json / "collections.json").read_text(encoding="utf-8"))
        for fact in self.facts:
            info = sets[fact["set"]]
            fact |= {
                "set_title": info["name"].lower(),
                "author": info["author"]["name"].lower(),
                "coloured": bool(info.get("palette")),
            }
        concepts = {c: i for i, c in enumerate(sorted({f["concept"] for f in self.facts}))}
        self.concept = np.array([concepts[f["concept"]] for f in self.facts])
        self.coloured = np.array([f["coloured"] for f in self.facts])
        groups = Counter((f["set"], f["concept"]) for f in self.facts)
        frequent = Counter(concept for _, concept in groups)
        watched = [
            c for c, n in sorted(frequent.items(), key=lambda item: (-item[1], item[0])) if not any(ch.isdigit() for ch in c)
        ][:200]
        rng = random.Random(seed)
        aside = {group for group in sorted(groups) if group[1] in set(watched) and rng.random() < 0.04}
        is_aside = np.array([(f["set"], f["concept"]) in aside for f in self.facts])
        self.val = np.flatnonzero(is_aside)
        self.val_names = watched
        self.val_labels = np.array([watched.index(self.facts[i]["concept"]) for i in self.val])
        self.train = np.flatnonzero(~is_aside)
        weights = np.array([groups[self.facts[i]["set"], self.facts[i]["concept"]] ** -0.5 for i in self.train])
        self.cumulative = np.cumsum(weights) / weights.sum()

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Rows of `count` icons of distinct concepts."""
        picked = self.train[np.searchsorted(self.cumulative, rng.random(count * 2)).clip(max=len(self.train) - 1)]
        _, first = np.unique(self.concept[picked], return_index=True)
        return picked[np.sort(first)[:count]]

    def plain(self, rows: np.ndarray) -> torch.Tensor:
        """Pictures on white, as the tasks show them."""
        rgba = torch.from_numpy(self.pixels[rows].astype(np.float32) / 255)
        alpha = rgba[..., 3:]
        return ((rgba[..., :3] * alpha + 1 - alpha) * 2 - 1).permute(0, 3, 1, 2)

    def augmented(self, rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Pictures moved, scaled and turned a little, a fifth of them in other colours than black on white; never mirrored."""
        n = len(rows)
        rgba = self.pixels[rows].astype(np.float32) / 255
        dark, light = rng.random((n, 1, 1, 3), np.float32) * 0.6, 1 - rng.random((n, 1, 1, 3), np.float32) * 0.35
        kind = rng.random((n, 1, 1, 1))
        coloured = self.coloured[rows][:, None, None, None]
        ink = np.where(coloured, rgba[..., :3], np.where(kind < 0.8, 0, np.where(kind < 0.93, dark, light)))
        paper = np.where(kind < 0.8, 1, np.where((kind < 0.93) | coloured, light, dark))
        alpha = rgba[..., 3:]
        image = torch.from_numpy((ink * alpha + paper * (1 - alpha)).astype(np.float32) * 2 - 1).permute(0, 3, 1, 2)
        angle, zoom = rng.normal(0, 0.05, n), np.exp(rng.uniform(-0.15, 0.15, n))
        shift = rng.uniform(-0.1, 0.1, (n, 2))
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        theta = np.stack([np.stack([cos, -sin, shift[:, 0]], -1), np.stack([sin, cos, shift[:, 1]], -1)], 1).astype(np.float32)
        grid = F.affine_grid(torch.from_numpy(theta), list(image.shape), align_corners=False)
        return F.grid_sample(image.contiguous(), grid, padding_mode="border", align_corners=False)


def text_features(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """The model's text features; short captions do not pay for the full context (exact, because the tower is causal)."""
    n = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:n]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:n, :n]))
    return F.normalize(x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection, dim=-1)


@torch.no_grad()
def watch(model: torch.nn.Module, icons: Icons, captioner: Captioner) -> float:
    """Zero-shot accuracy over 200 frequent concepts on icons kept aside from the pretraining families."""
    model.eval()
    text = text_features(model, torch.from_numpy(captioner.rows([PROMPT.format(name) for name in icons.val_names], CONTEXT)))
    hits = 0
    for start in range(0, len(icons.val), 500):
        part = slice(start, start + 500)
        hits += int(
            ((model.encode_image(icons.plain(icons.val[part])) @ text.T).argmax(-1).numpy() == icons.val_labels[part]).sum()
        )
    model.train()
    return hits / len(icons.val)


def rate(done: float, peak: float) -> float:
    """Warm-up over 2 % of the time, then a cosine to a hundredth."""
    if done < 0.02:
        return peak * (done / 0.02) + 1e-6
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - 0.02) / 0.98))))


def optimizer_for(model: torch.nn.Module, peak: float, decay: float) -> torch.optim.AdamW:
    """AdamW; gains, biases, positions and the scale are not decayed."""
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.ndim < 2 or "positional" in n or "class_embedding" in n]
    heavy = [p for n, p in named if not (p.ndim < 2 or "positional" in n or "class_embedding" in n)]
    return torch.optim.AdamW(
        [{"params": heavy, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.98), foreach=True
    )


class Run:
    """One training run: what it trains on, the model, the optimiser, and how far it has come."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
        self.captioner = Captioner(write_tokenizer(args.out))
        self.icons = Icons(args.work / "pretrain", args.icons)
        self.model = open_clip.CLIP(**CONFIG["model_cfg"])
        self.opt = optimizer_for(self.model, args.peak, args.decay)
        self.state = {"step": 0, "seconds": 0.0, "seen": 0}
        self.losses: list[float] = []
        self.checkpoint, self.log = args.work / "pretrain" / "checkpoint.pt", args.out / "training_log.jsonl"
        if self.checkpoint.exists():
            saved = torch.load(self.checkpoint, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.opt.load_state_dict(saved["opt"])
            self.state = saved["state"]
        elif self.log.exists():
            self.log.unlink()

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and their captions as tokens; every fourth batch has long captions."""
        rng, words = np.random.default_rng([1, step]), random.Random(step)
        rows = self.icons.draw(self.args.batch, rng)
        facts, long = [self.icons.facts[row] for row in rows], step % 4 == 3
        captions = [self.captioner.long_row(fact, words) if long else short_caption(fact, words) for fact in facts]
        tokens = torch.from_numpy(self.captioner.rows(captions, CONTEXT if long else SHORT))
        return self.icons.augmented(rows, rng), tokens

    def step(self) -> None:
        """One step on one batch."""
        images, tokens = self.batch(self.state["step"])
        for group in self.opt.param_groups:
            group["lr"] = rate(self.state["seconds"] / (self.args.minutes * 60), self.args.peak)
        # torch 2.14's fused attention is 10 times slower than plain matrix products in bfloat16 on a CPU.
        with torch.autocast("cpu", torch.bfloat16, enabled=not self.args.fp32), sdpa_kernel(SDPBackend.MATH):
            a, b = F.normalize(self.model.visual(images), dim=-1), text_features(self.model, tokens)
        logits = self.model.logit_scale.exp() * (a.float() @ b.float().T)
        labels = torch.arange(len(images))
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        self.opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.opt.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self.losses.append(loss.item())
        self.state["step"] += 1
        self.state["seen"] += len(images)

    def save(self) -> str:
        """A line for the log, a checkpoint to go on from, and the weights as the suite ships them (written aside, then renamed)."""
        entry = {
            **self.state,
            "seconds": round(self.state["seconds"], 1),
            "loss": round(float(np.mean(self.losses)), 4),
            "scale": round(self.model.logit_scale.exp().item(), 2),
            "lr": round(self.opt.param_groups[0]["lr"], 7),
            "watched_zero_shot": round(watch(self.model, self.icons, self.captioner), 4),
        }
        line, self.losses = json.dumps(entry), []
        with self.log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        aside = self.checkpoint.with_suffix(".part")
        torch.save({"model": self.model.state_dict(), "opt": self.opt.state_dict(), "state": self.state}, aside)
        aside.rename(self.checkpoint)
        weights = {key: value.half().contiguous() for key, value in self.model.state_dict().items() if key != "attn_mask"}
        part = self.args.out / "open_clip_model.part"
        save_file(weights, part)
        part.chmod(0o644)
        part.rename(part.with_suffix(".safetensors"))
        return line


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=81)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fp32", action="store_true", help="no bfloat16: for processors without bfloat16 matrix units")
    parser.add_argument("--every", type=float, default=4, help="minutes between checkpoints")
    return parser.parse_args()


def main() -> None:
    """Train until the time is up."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    run = Run(args)
    total, last = args.minutes * 60, time.monotonic()
    next_save = run.state["seconds"] + 60
    bar = tqdm(total=round(total), initial=round(run.state["seconds"]), unit="s", mininterval=10)
    while run.state["seconds"] < total:
        run.step()
        now = time.monotonic()
        run.state["seconds"] += now - last
        last = now
        bar.update(round(run.state["seconds"]) - bar.n)
        if run.state["seconds"] >= min(next_save, total):
            bar.write(run.save())
            next_save = run.state["seconds"] + args.every * 60


if __name__ == "__main__":
    main()
