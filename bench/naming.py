"""What runs and methods are called in messages and tables."""

from typing import Any

from bench.grid import fill_nested
from bench.spec import RunSpec, canonical, dataset_name
from methods import registry


def cell_text(spec: RunSpec) -> str:
    """A run in words, for failure lines: `gce(q=0.5) · dtd · symmetric 0.5 · 16 shots · seed 1`."""
    noise = "clean" if spec.noise.rate == 0 else f"{spec.noise.protocol} {spec.noise.rate:g}"
    words = [method_label(spec.method.name, spec.method.params, spec.method.tunes), dataset_name(spec.dataset)]
    return " · ".join([*words, noise, f"{spec.shots} shots", f"seed {spec.seed}"] if spec.sees_shots else words)


def method_label(name: str, params: dict[str, Any], tunes: str = "prompt") -> str:
    """A method, its non-default hyper-parameters, and what it tunes: `gce(q=0.5)`, `clipcleaner(base=gce)`, `gce/task_residual`."""
    usual, nested = registry.defaults(name), registry.declared(name).facts["nested"]
    usual |= {key: fill_nested(usual[key], {}) for key in nested}
    changed = [(key, value) for key, value in sorted(params.items()) if usual.get(key) != value]
    words = [f"{key}={_nested_label(value) if key in nested else _short(value)}" for key, value in changed]
    label = f"{name}({', '.join(words)})" if words else name
    return label if tunes == "prompt" else f"{label}/{tunes}"


def _nested_label(value: dict[str, Any]) -> str:
    return method_label(value["name"], {key: item for key, item in value.items() if key != "name"})


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else canonical(value)
