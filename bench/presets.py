"""Training protocols by name, as the field runs them. A grid names one and may override single fields.

All papers here take CoOp's optimiser (SGD .002, momentum .9, cosine, one epoch at 1e-5, batches of 32) and 16 random tokens before
the class name; they differ in epochs, in shots and noise, which a grid says, and in what they set of a method (`PARAMS`).
"""

from typing import Any

from bench.spec import TrainSpec

PRESETS: dict[str, TrainSpec] = {
    # CoOp (Zhou et al., IJCV 2022): 50 epochs for 1 shot (and ImageNet), 200 for 8 and 16 shots.
    "coop50": TrainSpec(epochs=50),
    "coop200": TrainSpec(epochs=200),
    # NLPrompt (Pan et al., CVPR 2025): scripts/nlprompt/main.sh runs configs/trainers/NLPrompt/rn50.yaml: 200 epochs at .002.
    # Not known: which learning rate the paper's tables had (scripts swept .001, .0006, .0007), and whether all had 200 epochs: one
    # later paper describes the setup so (TecoPrompt, 2026), another takes 50 (NA-MVP).
    "nlprompt": TrainSpec(epochs=200),
    # JoAPR (Guo & Gu, CVPR 2024): scripts/main.sh runs configs/trainers/JoAPR/rn50.yaml, which has 200 epochs at .002. What their
    # tables set of the method changes with data set and noise rate, so it is not set here (see `methods/joapr.py`).
    "joapr": TrainSpec(epochs=200),
    # PTNL (Wu et al., ICCV 2023): scripts/upl_train_exp.sh runs rn50_ep50, 16 tokens, 16 shots; the published configuration of that
    # kind (ViT_B_32_ep50.yaml) has 50 epochs at .002.
    "ptnl": TrainSpec(epochs=50),
    # The embedded tasks, and the demo on four of them: CoOp's optimiser, shortened to 30 epochs, from the words of the card's own
    # template on every task, in domain and out. Why, decided before any method was run from it: the methods under test presume that
    # the model is right when training begins, and the card's template *is* the model that "zero-shot" names in every table. So a
    # run starts at exactly the line it is compared with, by one rule that looks at no task and no result; other words that happen
    # to do better on a task would be a choice made on its test images.
    "embedded": TrainSpec(epochs=30, ctx_init="template", n_ctx=0),
    "demo": TrainSpec(epochs=30, ctx_init="template", n_ctx=0),
}

# What a preset's paper sets of a method, where that is not the method's default. PTNL's code trains with GCE at q = .5
# (trainers/upltrainer.py); the later papers compare with it, but the q of their GCE rows is not in their public code.
PARAMS: dict[str, dict[str, dict[str, Any]]] = {preset: {"gce": {"q": 0.5}} for preset in ("ptnl", "joapr", "nlprompt")}


def title_of(train: TrainSpec | None) -> str:
    """The first preset that equals a protocol, or the nearest and what differs from it: `coop50, lr=0.01`; "" without training.

    It depends on the protocol alone, so that a run which two grids share is called the same whoever asked for it first.
    """
    if train is None:
        return ""
    asked = train.model_dump()
    changes = {
        name: [f"{key}={asked[key]}" for key, usual in preset.model_dump().items() if asked[key] != usual]
        for name, preset in PRESETS.items()
    }
    nearest = min(changes, key=lambda name: len(changes[name]))
    return ", ".join([nearest, *changes[nearest]])
