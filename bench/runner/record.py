"""What is stored of a run: one function from the engine's outcome to the store's record."""

import io
import math
import os
import platform
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from bench import __version__
from bench.data.cards import Card, load_card
from bench.data.noise import identifiable
from bench.engine.outcome import Outcome
from bench.naming import cell_text, method_label
from bench.plan import PlannedRun
from bench.presets import title_of
from bench.results.schema import check_declared
from bench.results.store import Record
from bench.spec import RunSpec
from methods import registry

LONGEST = 1000  # characters of an error's line in a record
TAIL = 20_000  # characters of a traceback's or a log's end


def brief(text: str) -> str:
    """The first line of an error, of a length that a record and a terminal can hold."""
    return (text.strip().splitlines() or [""])[0][:LONGEST]


def build_record(run: PlannedRun, outcome: Outcome, environment: Mapping[str, Any], log: str = "") -> Record:
    """The record of a run that ended: what `bench.results.schema` declares, and the specification.

    Args:
        run: The run, with its versions and id.
        outcome: What the engine gave back. Metrics that are not finite are stored as None.
        environment: Where it ran (`environment`).
        log: The worker's log, relative to the store.

    Raises:
        ValueError: Something was measured that the schema does not declare.
    """
    check_declared(outcome.metrics, outcome.history)
    spec, card = run.spec, load_card(run.spec.dataset)
    method = registry.create(spec.method.name, **spec.method.params)
    return {
        "run_id": run.run_id, "cell_id": spec.cell_id, "status": outcome.status, "source": "run",
        "spec": spec.asked, "versions": run.versions, "title": cell_text(spec),
        "label": method_label(spec.method.name, spec.method.params, spec.method.tunes), "method_title": method.title,
        "oracle": method.oracle, "tunes": spec.method.tunes,
        "preset": title_of(spec.train), **_card_columns(card, spec, outcome),
        "noise_digest": outcome.noise_digest,
        "metrics": plain(outcome.metrics), "history": plain(outcome.history),
        "error": brief(outcome.error), "traceback": outcome.traceback[-TAIL:],
        "environment": dict(environment), "finished": round(time.time(), 3), "log": log,
    }  # fmt: skip


def _card_columns(card: Card, spec: RunSpec, outcome: Outcome) -> dict[str, Any]:
    classes, predictions = len(card.classes), outcome.predictions
    return {
        "domain": card.domain,
        "num_classes": classes,
        "num_test": card.counts.get("test") if predictions is None else len(predictions),
        "identifiable": identifiable(spec.noise.protocol, spec.noise.rate, classes),
    }


def files_of(outcome: Outcome, *, keep_context: bool) -> dict[str, bytes]:
    """The files stored beside the record: test predictions, and the learned context where it is asked for."""
    files = {}
    if outcome.predictions is not None:
        buffer = io.BytesIO()
        np.save(buffer, outcome.predictions.astype(np.uint16), allow_pickle=False)
        files["predictions.npy"] = buffer.getvalue()
    if keep_context and outcome.context is not None:
        from safetensors.numpy import save  # noqa: PLC0415 - only where contexts are kept

        files["context.safetensors"] = save(
            {"context": np.ascontiguousarray(outcome.context)}, {"spec": outcome.spec.model_dump_json()}
        )
    return files


def plain(value: Any) -> Any:
    """JSON's own types: NumPy scalars and tensors' items as numbers, not-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def environment(device: str) -> dict[str, Any]:
    """The machine and the libraries a run was made with: nothing that names the user."""
    import torch  # noqa: PLC0415 - the parent process and `bench status` do without

    cuda = device.startswith("cuda") and torch.cuda.is_available()
    return {
        "bench": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a device file
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "cpu"
