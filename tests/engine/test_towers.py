"""open_clip's real configurations, with random weights: the engine's text features are encode_text's."""

import open_clip
import pytest
import torch

from bench.engine.backbone import TextBackbone, text_tower, tokens_of
from bench.engine.prompts import initial_contexts
from bench.engine.text import TextFeatures
from bench.spec import TrainSpec

NAMES = ["cat", "sea lion", "sea horse", "737-200"]
SMALL = {"image_size": 32, "patch_size": 32, "layers": 1, "width": 64}  # the image tower is not looked at
WORDS = TrainSpec(ctx_init="words", ctx_words="a photo of a", n_ctx=0)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ViT-B-32-quickgelu", "shared"),
        pytest.param("ViT-L-14", "shared", marks=pytest.mark.long),  # the first one's kind, and larger
        ("RN50", "shared"),
        ("ViTamin-S", "shared"),
        ("MobileCLIP-S1", "plain"),
    ],
)
def test_text_features_are_encode_texts(name, path):
    torch.manual_seed(0)
    model = open_clip.create_model(name, vision_cfg=SMALL).eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        expected = model.encode_text(tokenizer([f"a photo of a {word}." for word in NAMES]), normalize=True)
    backbone = TextBackbone(text_tower(model), tokens_of(tokenizer), 100.0)
    features = TextFeatures(backbone, NAMES, WORDS)
    assert features.reason.startswith(path)
    contexts = initial_contexts(backbone, WORDS, 1, 1, len(NAMES)).requires_grad_()
    text = features(contexts)[0]
    torch.testing.assert_close(text.detach(), expected, rtol=0, atol=2e-6)
    (gradient,) = torch.autograd.grad((text * torch.randn_like(text)).sum(), contexts)
    assert bool(gradient.isfinite().all())
    assert float(gradient.norm()) > 0
