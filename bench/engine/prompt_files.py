"""A stored run's learned prompt as files that plain open_clip users can load."""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.numpy import load as load_arrays
from safetensors.torch import save_file

from bench.data.cards import load_card
from bench.data.task import task_digest
from bench.engine.backbone import load_backbone
from bench.engine.text import TextFeatures
from bench.errors import BenchError
from bench.files import replacing, sha256, write_json, write_text
from bench.results.store import Store
from bench.spec import RunSpec

README = """# The learned prompt of run {run_id}

{label} on {dataset}, {noise} noise at rate {rate}, seed {seed}; backbone {backbone}.

    import open_clip, torch
    from safetensors.torch import load_file

    made = load_file("classifier.safetensors")
    text = made["text_features"]            # [C, D], L2-normalised, in the order of classes.json
    image = model.encode_image(pixels, normalize=True)   # of the same open_clip backbone
    logits = float(made["logit_scale"]) * image @ text.T

`context` [n_ctx, width] are the learned tokens. They take the place of the first n_ctx token embeddings behind the start token; the
prompt is "[context] class name." (class token at the {position}), with positional embeddings added as usual. `prompts.json` holds
every class's token ids, -1 for a context token.
"""


def write_prompt(store: Store, run_id: str, out: Path, device: str = "cpu") -> list[Path]:
    """Write classifier.safetensors, classes.json, prompts.json and a README.md for a run that kept its context.

    Returns:
        The files written.

    Raises:
        BenchError: No such run, or it did not keep its context, or tuned something else, or what it rests on was altered since.
    """
    folder = store.folder(run_id)
    kept = folder / "context.safetensors"
    if not kept.is_file():
        raise BenchError(f"run {run_id} kept no context.", "Run it again with `bench run … --keep-context` into another folder.")
    record = store.read(run_id)
    try:
        spec = RunSpec.model_validate(record["spec"])
    except ValidationError as error:
        hint = "Run it again with this version, with --keep-context."
        raise BenchError(f"run {run_id} was stored by an earlier version, in a form that this one cannot export.", hint) from error
    if sha256(kept) != record["files"].get(kept.name):
        raise BenchError(f"{kept} is altered or truncated.", f"`bench store verify {store.root}` names all such files.")
    if task_digest(spec.dataset) != spec.task:
        hint = "Bring the card and the split back, or run it again."
        raise BenchError(f"'{spec.dataset}' has other classes, templates or images than run {run_id} was trained on.", hint)
    assert spec.train is not None
    if spec.method.tunes != "prompt":
        raise BenchError(f"run {run_id} learned no prompt, but a {spec.method.tunes}.", f"Its parameters are in {kept}.")
    backbone, card = load_backbone(spec.backbone, device), load_card(spec.dataset)
    contexts = torch.from_numpy(load_arrays(kept.read_bytes())["context"]).to(device)  # [K, n_ctx, W]
    features = TextFeatures(backbone, card.class_names, spec.train, card.templates[0])
    with torch.no_grad():
        text = features(contexts)[0]  # [C, D]; the first context is the one that classifies
    tensors = {"text_features": text, "context": contexts[0], "logit_scale": torch.tensor(backbone.scale)}
    with replacing(out / "classifier.safetensors") as aside:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, aside)
    write_json(out / "classes.json", card.class_names, indent=1)
    write_json(out / "prompts.json", features.prompts.sequences)
    words = README.format(
        run_id=run_id, label=record.get("label", spec.method.name), dataset=spec.dataset, noise=spec.noise.protocol,
        rate=spec.noise.rate, seed=spec.seed, backbone=spec.backbone, position=spec.train.class_position,
    )  # fmt: skip
    write_text(out / "README.md", words)
    return [out / name for name in ("classifier.safetensors", "classes.json", "prompts.json", "README.md")]
