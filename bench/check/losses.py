"""The checks that train nothing."""

import dataclasses
import inspect
import json
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.check.cases import LAST, NotConforming, Step, describe, edge_cases, extreme_case, play, step, task_of, usual_case
from bench.engine.fold import is_plain, row_losses
from methods import registry

SECTIONS = ("Paper", "Reference code", "Tuned", "Deviations")


def check_documented(name: str) -> str:
    """The docstring names paper, code, tuning and deviations."""
    text = inspect.getdoc(registry.load(name)) or ""
    missing = [section for section in SECTIONS if f"{section.lower()}" not in text.lower()]
    if not text or missing:
        raise NotConforming(f"the docstring lacks: {', '.join(missing)} (say 'none' where there is none)")
    return "summary, paper, reference code, tuning and deviations"


def check_hyper_parameters(name: str) -> str:
    """Hyper-parameters have defaults that a run's specification can hold."""
    for field in dataclasses.fields(registry.load(name)):
        if not field.init:
            continue
        if field.default is dataclasses.MISSING:
            raise NotConforming(f"hyper-parameter '{field.name}' has no default")
        try:
            json.dumps(field.default, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise NotConforming(f"the default of '{field.name}', {field.default!r}, cannot be written as JSON") from error
    return "all have defaults that are JSON values"


def check_extreme_logits(name: str) -> str:
    """Loss and gradient are finite at extreme logits, for 2 to 1000 classes."""
    for classes in (2, 3, 10, 100, 1000):
        play(lambda: registry.create(name), extreme_case(classes))
    return "logits ±10,000, 2 to 1000 classes: losses and gradients finite"


def check_class_permutation(name: str) -> str:
    """Renaming the classes changes nothing. They are rotated: a random class drawn as an offset from the label moves along."""
    case = usual_case()
    method, first = play(lambda: registry.create(name), case)
    belief = method.clean_belief()
    for shift in range(1, case.classes):
        method, steps = play(lambda: registry.create(name), replace(case, shift=shift))
        now = method.clean_belief()
        if not _same_samples(steps, first) or (belief is not None and now is not None and not now.allclose(belief, atol=1e-4)):
            raise NotConforming(f"classes renamed by +{shift}: it judges other samples clean; nothing may hang on a class's number")
        for a, b in zip(steps, first, strict=True):
            alike = a.loss.allclose(b.loss, 1e-3, 1e-5) and a.gradient.allclose(b.gradient.roll(shift, dims=1), 1e-3, 1e-5)
            if not alike:
                change = (a.loss - b.loss).abs().max()
                raise NotConforming(
                    f"classes renamed by +{shift}, epoch {a.epoch}: the loss changes by {change:.2g}, or its gradient does; "
                    "draw a random class as an offset from the label, and let nothing hang on a class's number"
                )
    return f"same losses, gradients and beliefs under the rotations of {case.classes} classes"


def _same_samples(steps: list[Step], others: list[Step]) -> bool:
    return len(steps) == len(others) and all(a.samples.equal(b.samples) for a, b in zip(steps, others, strict=True))


def check_random_draws(name: str) -> str:
    """The same seed gives the same losses to the bit, and no global random state is touched."""
    states = _global_states()
    (_, first), (_, again) = (play(lambda: registry.create(name), usual_case()) for _ in range(2))
    same = _same_samples(first, again) and all(a.gradient.equal(b.gradient) for a, b in zip(first, again, strict=True))
    if not same:
        raise NotConforming("two runs of one seed differ; draw from batch.generator and task.generator")
    for library, state in _global_states().items():
        if state != states[library]:
            raise NotConforming(f"it uses {library}'s global generator; use batch.generator, or seed with task.draw_seed()")
    return "same seed, same gradients to the bit; no global random state is used"


def _global_states() -> dict[str, str]:
    """The state of every global random generator, as text."""
    return {
        "torch": str(torch.random.get_rng_state().tolist()),
        "numpy": str(np.random.get_state(legacy=False)["state"]),  # noqa: NPY002 - the global one is what is watched
        "random": str(random.getstate()),
    }


def check_inputs_untouched(name: str) -> str:
    """The method leaves the task's tensors and the text features as they are."""
    method, generator = registry.create(name), torch.Generator().manual_seed(7)
    task, text = task_of(usual_case(), method, generator)
    names = [field.name for field in dataclasses.fields(task) if isinstance(getattr(task, field.name), Tensor)]
    before = {key: getattr(task, key).clone() for key in names}
    method.start(task)
    method.epoch_start(LAST, lambda: task.zero_shot.expand(method.contexts, -1, -1).clone())
    step(method, task, text, torch.arange(8), LAST, generator)
    for key in names:
        if not torch.equal(before[key], getattr(task, key)):
            raise NotConforming(f"it edits task.{key} in place; make a copy first")
    return "features, labels and zero-shot logits are left as they are"


def check_edge_cases(name: str) -> str:
    """No noise, nothing judged noisy or clean, classes without samples, batches of one."""
    for case in edge_cases():
        play(lambda: registry.create(name), case)
    return "; ".join(case.title for case in edge_cases())


def check_scores(name: str) -> str:
    """Evaluation gives a score for every image and class, and does not hang on a class's number."""
    found = []
    for shift in (0, 1):
        method, case = registry.create(name), replace(usual_case(), shift=shift)
        task, text = task_of(case, method, torch.Generator().manual_seed(7))
        if method.train or method.from_shots:
            method.start(task)
        found.append(method.scores(text.expand(method.contexts, -1, -1), case.images, case.scale))
        if found[-1].shape != case.images.shape or not found[-1].isfinite().all():
            raise NotConforming(f"scores() gives {describe(found[-1])}; it is [N, C], finite")
    if not torch.allclose(found[1], found[0].roll(1, dims=1), atol=1e-4):
        raise NotConforming("scores() changes when the classes are renamed")
    return "finite [N, C], the same under renamed classes"


def check_row_wise(name: str) -> str:
    """A loss that the engine computes for many runs at once gives every sample the same as in its own batch."""
    method, case = registry.create(name), usual_case()
    if not is_plain(method):
        return "more than a loss of logits and labels: its runs are computed one by one"
    try:
        rows = row_losses(method, case.scale * case.images, case.labels)
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine meets it too and folds nothing
        return f"its runs are computed one by one, as {type(error).__name__} says: {error}"
    _, steps = play(lambda: registry.create(name), case)
    differs = [not step.loss.allclose(rows[step.samples], 1e-4, 1e-6) for step in steps]
    if differs[0]:
        return "a sample's loss depends on the batch: its runs are computed one by one"
    if any(differs):
        raise NotConforming(
            "a sample's loss depends on the others of its batch, but not in the first, where the engine looks before it computes "
            "many runs at once; judge every sample by itself, or return the batch's mean"
        )
    return "every sample is judged by itself: one call serves all runs of a stack"


ALWAYS: dict[str, Callable[[str], str]] = {
    "documented": check_documented,
    "hyper-parameters": check_hyper_parameters,
    "scores": check_scores,
}
LOSSES: dict[str, Callable[[str], str]] = {
    "extreme logits": check_extreme_logits,
    "class permutation": check_class_permutation,
    "random draws": check_random_draws,
    "inputs untouched": check_inputs_untouched,
    "edge cases": check_edge_cases,
    "row-wise": check_row_wise,
}
