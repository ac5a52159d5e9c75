"""Adapters beside prompts, against their formulas in numpy."""

import numpy as np
import pytest
import torch

from methods.registry import create


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_clap_adds_the_distance_from_zero_shot_of_every_class(make_batch, make_task, differences):
    rng = np.random.default_rng(0)
    z, labels = rng.standard_normal((7, 4)), [0, 0, 1, 3, 3, 3, 1]  # no sample of class 2
    method = create("clap")
    method.start(make_task(z, labels))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    hold = np.array([p[:2, 0].mean(), p[[2, 6], 1].mean(), 0.0, p[3:6, 3].mean()])
    images, text = z[:3], unit(np.eye(4) + 0.3 * rng.standard_normal((4, 4)))

    def reference(rows):
        logits = images @ rows.T
        ce = np.log(np.exp(logits).sum(axis=1)) - logits[range(3), labels[:3]]
        return ce + (hold * ((rows - np.eye(4)) ** 2).sum(axis=1)).sum()

    contexts = torch.tensor(text)[None].requires_grad_()
    loss = method.loss(make_batch(images, labels[:3], contexts=contexts))
    np.testing.assert_allclose(loss.detach(), reference(text), rtol=1e-12)
    (gradient,) = torch.autograd.grad(loss.sum(), contexts)
    numeric = differences(lambda rows: reference(rows).sum(), text)
    np.testing.assert_allclose(gradient[0], numeric, atol=1e-7)


@pytest.mark.parametrize("views", [0, 3])
def test_tip_adapter_is_the_template_and_a_cache(views, make_task):
    rng = np.random.default_rng(1)
    images, labels = unit(rng.standard_normal((1 + views, 6, 4))), np.array([0, 1, 1, 2, 3, 0])
    test, text = unit(rng.standard_normal((9, 4))), unit(rng.standard_normal((4, 4)))
    method = create("tip_adapter", alpha=2.0, beta=3.0)
    method.start(make_task(np.zeros((6, 4)), labels.tolist(), features=lambda: torch.tensor(images)))
    keys = unit(images[1:].mean(axis=0)) if views else images[0]
    cache = np.stack([(np.exp(-3.0 * (1 - test @ keys.T)) * (labels == c)).sum(axis=1) for c in range(4)], axis=1)
    found = method.scores(torch.tensor(text)[None], torch.tensor(test), 10.0)
    np.testing.assert_allclose(found, 10 * test @ text.T + 2 * cache, rtol=1e-12)
