"""Training protocols by name, as the field runs them. A grid names one and may override single fields."""

from bench.spec import TrainSpec

PRESETS: dict[str, TrainSpec] = {
    # CoOp (Zhou et al., IJCV 2022): 50 epochs for 1 shot (and ImageNet), 200 for 8 and 16 shots; batch 32, SGD .002, 16 tokens.
    "coop50": TrainSpec(epochs=50),
    "coop200": TrainSpec(epochs=200),
    # NLPrompt (Pan et al., CVPR 2025): CoOp's optimiser, 16 tokens, 50 epochs.
    "nlprompt": TrainSpec(epochs=50),
    # JoAPR (Guo & Gu, CVPR 2024): CoOp's optimiser, 16 tokens, class token at the end, 200 epochs.
    "joapr": TrainSpec(epochs=200),
    # PTNL (Wu et al., ICCV 2023): 50 epochs; the method there is gce(q=0.5).
    "ptnl": TrainSpec(epochs=50),
    # The embedded tasks, and the demo on four of them: CoOp's protocol, shortened to 30 epochs.
    "embedded": TrainSpec(epochs=30),
    "demo": TrainSpec(epochs=30),
}
