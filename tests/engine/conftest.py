"""Small random-weight backbones and a synthetic task for the engine's tests."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

from bench.data.cards import Card
from bench.data.noise import make_noise
from bench.data.task import RunData
from bench.engine.arrays import Arrays
from bench.engine.backbone import TextBackbone, text_tower, tokens_of
from bench.engine.member import Member
from bench.engine.plain import encode_prompts
from bench.engine.text import TextFeatures
from bench.engine.train import Stack
from bench.engine.zero_shot import ZeroShot
from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec

VISION = CLIPVisionCfg(layers=1, width=32, image_size=32, patch_size=16, head_width=16)
TEXT = {"context_length": 32, "width": 32, "heads": 2, "layers": 3}
TRAIN = TrainSpec(epochs=6, n_ctx=4, batch_size=8, lr=0.02)
CLASSES = ("cat", "sea lion", "sea horse", "bee", "dog")


def tiny(kind: str = "clip", dtype: torch.dtype = torch.float32):
    """An open_clip model: CLIP, with quick GELU, of one layer, with a custom text tower, or like SigLIP (not causal)."""
    torch.manual_seed(0)
    if kind == "siglip":
        model = CustomTextCLIP(24, VISION, CLIPTextCfg(**TEXT, no_causal_mask=True, pool_type="last", proj_bias=True))
    elif kind == "padded":
        model = CustomTextCLIP(24, VISION, CLIPTextCfg(**TEXT, no_causal_mask=True, pool_type="first"))
        model.text.use_pad_mask = True
    elif kind == "custom":
        model = CustomTextCLIP(24, VISION, CLIPTextCfg(**TEXT, ls_init_value=0.5))
    else:
        text = CLIPTextCfg(**TEXT | ({"layers": 1} if kind == "shallow" else {}))
        model = CLIP(24, VISION, text, quick_gelu=kind == "quick_gelu")
    return model.to(dtype).eval()


def tokenizer():
    return open_clip.SimpleTokenizer(context_length=32)


def backbone_of(model) -> TextBackbone:
    return TextBackbone(text_tower(model), tokens_of(tokenizer()), 14.0)


@pytest.fixture(scope="session")
def backbone() -> TextBackbone:
    return backbone_of(tiny())


def make_task(zero_shot, rate=0.5, seed=1, shots=8, views=2) -> RunData:
    """A task whose images lie around the classes' zero-shot text features."""
    rng = np.random.default_rng(0)
    centres, classes = zero_shot.numpy(), len(zero_shot)

    def images(labels, *lead):
        x = centres[labels] + 0.2 * rng.standard_normal((*lead, len(labels), centres.shape[1]))
        return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)

    true, val, test = (np.repeat(np.arange(classes), n) for n in (shots, 2, 20))
    card = Card(name="synthetic", title="synthetic", classes=CLASSES, templates=("a {}.",), split="none")
    given = make_noise("symmetric", true, classes, rate, seed) if rate else true.copy()
    table = images(true, 1 + views).swapaxes(0, 1)
    return RunData(card, table, np.arange(len(true)), given, true, images(val), val, val, images(test), test)


def make_spec(method="coop_ce", rate=0.5, seed=1, train=TRAIN, **params) -> RunSpec:
    noise = NoiseSpec(protocol="symmetric", rate=rate) if rate else NoiseSpec()
    return RunSpec(
        method=MethodSpec(name=method, params=params), dataset="synthetic", task="-", backbone="tiny", views=2, shots=8,
        noise=noise, seed=seed, train=train,
    )  # fmt: skip


def zero_shot_of(backbone):
    return encode_prompts(backbone, [f"a {name}." for name in CLASSES])


def make_member(backbone, spec, data=None) -> Member:
    zero_shot = zero_shot_of(backbone)
    data = data or make_task(zero_shot, spec.noise.rate, spec.seed)
    return Member(spec, data, Arrays(ZeroShot(zero_shot, backbone.scale)))


def train(backbone, *members, keep_context=True, progress=None):
    """Train members as one stack."""
    features = TextFeatures(backbone, CLASSES, members[0].spec.train)
    return Stack(members, features, progress).run(keep_context)


def scramble(data: RunData) -> RunData:
    """The same task with other true training labels."""
    return replace(data, true=np.roll(data.true, 7))
